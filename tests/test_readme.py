"""What the README and the examples say is so."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rag_chain.cli import COMMANDS, build_parser

if TYPE_CHECKING:
    from tests.fireworks_server import FireworksServer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def provider(fireworks: FireworksServer, monkeypatch: pytest.MonkeyPatch) -> FireworksServer:
    """Let code that makes its own settings find the loopback provider."""
    monkeypatch.setenv("FIREWORKS_API_KEY", fireworks.key)
    monkeypatch.setenv("FIREWORKS_API_BASE", fireworks.base)
    return fireworks


@pytest.mark.usefixtures("provider")
def test_the_python_session_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """The first Python block runs as it stands, in eight lines, and prints a grounded answer."""
    session = blocks("python")[0]
    assert len([line for line in session.splitlines() if line]) <= 8
    exec(session.replace('"examples/corpus"', repr(str(ROOT / "examples" / "corpus"))), {})  # noqa: S102
    printed = capsys.readouterr().out
    assert "verbatim" in printed
    assert printed.endswith("True\n")


@pytest.mark.usefixtures("provider")
def test_the_blocks_for_langchain_run(capsys: pytest.CaptureFixture[str]) -> None:
    """They print what is found in a store of one's own and in what was ingested, by two models."""
    corpus = repr(str(ROOT / "examples" / "corpus"))
    store, own = (block for block in blocks("python") if "Embedding" in block)
    exec(store.replace('"examples/corpus"', corpus), {})  # noqa: S102
    kept, *found = capsys.readouterr().out.splitlines()
    assert kept == "Milvus keeps its data in object storage."
    assert len(found) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32} \S+\.md", line) for line in found)
    exec(own.replace('"examples/corpus"', corpus), {})  # noqa: S102
    count, answer = capsys.readouterr().out.split("\n", 1)
    assert int(count) > len(found)
    assert answer.strip()


def test_the_langserve_block_is_the_example() -> None:
    """What the README shows is the file that the server tests run."""
    example = (ROOT / "examples" / "serve_with_langserve.py").read_text("utf-8")
    assert blocks("python")[1].strip() == example.partition('"""\n\n')[2].strip()
    assert len(blocks("python")[1].splitlines()) <= 10


@pytest.mark.usefixtures("provider")
def test_the_quickstart_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """examples/quickstart.py prints an answer and where it comes from."""
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"))
    assert ": verbatim" in capsys.readouterr().out


def test_the_settings_table_is_current() -> None:
    """Every setting is in the table with its default; scripts/settings_table.py writes it."""
    fill = runpy.run_path(str(ROOT / "scripts" / "settings_table.py"))["fill"]
    assert fill(README) == README


def test_every_command_is_named() -> None:
    """The table of commands has every command and no other."""
    assert set(re.findall(r"^\| `rag-chain (\w+)", README, re.MULTILINE)) == set(COMMANDS)


def test_the_command_lines_parse() -> None:
    """Every rag-chain line of a shell block is right usage."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("rag-chain ")]
    assert lines
    for line in lines:
        arguments = shlex.split(line)[1:]
        assert build_parser(arguments).parse_args(arguments).command in COMMANDS


def test_ci_runs_the_readme_commands() -> None:
    """CI takes its commands from the README, where each stands once on a line of its own."""
    for ending in ("/pytest", "rag-chain demo"):
        found = re.findall(rf"^python3 -m venv .*{ending}$", README, re.MULTILINE)
        assert len(found) == 1
    assert "README.md" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_constraints_hold_names_and_versions_only() -> None:
    """Every line pins one package; there are no addresses, and every dependency is pinned."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert all(re.fullmatch(r"[a-z0-9._-]+==[\w.+!-]+( ; .*)?", line) for line in lines)
    pinned = {line.partition("==")[0] for line in lines}
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    wanted = set(re.findall(r'"([a-z0-9._-]+)[><=]=[^"]*"', project)) - {"hatchling"}
    assert wanted <= pinned, wanted - pinned


def test_the_installed_packages_are_the_pinned_ones() -> None:
    """An environment made with the README's command holds the pinned versions."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    if sys.prefix != str(ROOT / ".venv"):
        pytest.skip("runs in the environment that the README's command makes")
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            try:
                assert requirement.specifier.contains(version(requirement.name), prereleases=True), line
            except PackageNotFoundError:
                continue

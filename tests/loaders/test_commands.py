"""Loaders and splitters from the command line: what is taken, what is refused, and where things are printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain.cli import main
from tests.loaders.inputs import COMMUNITY, make_input

if TYPE_CHECKING:
    from tests.fireworks_server import FireworksServer

ROOT = Path(__file__).parents[2]
# A module beside the caller's work.
MODULE = """
import os
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_text_splitters import TextSplitter

class Wiki(BaseLoader):
    def __init__(self, url: str, token: str, pages: list = (), limit=None, space: str | None = None, render=None):
        if token != "s3cret":
            raise PermissionError("wrong token")
        self.url, self.pages, self.limit, self.space, self.render = url, pages, limit, space, render

    def lazy_load(self):
        print("loading", self.url)
        for page in self.pages:
            text = f"Page {page!r} of {self.url}, {self.limit!r}, {self.space!r}."
            yield Document(self.render(text) if self.render else text, metadata={"key": page, "the space": self.space})

def make_wiki(**options):
    return Wiki("https://wiki.example", "s3cret", **options)

class Halves(TextSplitter):
    def split_text(self, text):
        return [text[: len(text) // 2], text[len(text) // 2 :]]

def shout(text): return text.upper()
number = 3
"""


@pytest.fixture(autouse=True)
def environment(provider: FireworksServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FireworksServer:
    """Let commands find the loopback provider, and the module."""
    (tmp_path / "my_loaders.py").write_text(MODULE, "utf-8")
    monkeypatch.setenv("WIKI_TOKEN", "s3cret")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_loaders", raising=False)
    return provider


def ingest(capsys: pytest.CaptureFixture[str], *options: str, status: int = 0) -> tuple[Any, str]:
    assert main(["ingest", *options, "--json"]) == status
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def texts(capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["search", "Which page?", "--json"]) == 0
    return sorted(source["text"] for source in json.loads(capsys.readouterr().out)["sources"])


WIKI = ("--loader=my_loaders:Wiki", "--loader-option=url=2024", "--loader-option=token=env:WIKI_TOKEN")


def test_options_are_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Text where the parameter is one, also if it looks like a number; secrets from the environment; JSON otherwise."""
    options = [*WIKI, "--loader-option=pages=[1]", "--loader-option=space=null", "--loader-option=limit=7"]
    report, said = ingest(capsys, *options, "--source-key=key", "--loader-name=wiki")
    assert [source["source"] for source in report["sources"]] == ["1"]
    # What a loader prints does not get into the result.
    assert said == "loading 2024\n"
    assert texts(capsys) == ["Page 1 of 2024, 7, 'null'."]
    assert report["notes"] == ["metadata 'the space' is kept as the_space"]


def test_options_can_be_python_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """A function for a parameter, a function that makes the loader, beside paths."""
    (Path.cwd() / "docs").mkdir()
    (Path.cwd() / "docs" / "a.md").write_text("A file.", "utf-8")
    options = ["--loader=my_loaders:make_wiki", '--loader-option=pages=["x"]']
    report, _ = ingest(capsys, "docs", *options, "--source-key=key", "--loader-option=render=import:my_loaders:shout")
    assert report["documents"]["added"] == 2
    assert "PAGE 'X' OF HTTPS://WIKI.EXAMPLE, NONE, NONE." in texts(capsys)


def test_a_plan_and_the_script_do_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """``--plan`` writes nothing; ``scripts/ingest.py`` takes the same options."""
    options = [*WIKI, '--loader-option=pages=["x", "y"]', "--source-key=key"]
    report, _ = ingest(capsys, *options, "--plan")
    assert (report["documents"]["added"], report["chunks"]["embedded"]) == (2, 2)
    command = [sys.executable, str(ROOT / "scripts" / "ingest.py"), *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"]["added"] == 2
    assert ingest(capsys, *options)[0]["documents"]["unchanged"] == 2


def test_notes_are_told_to_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, a line for each; refused documents by name, with status 3."""
    options = [*WIKI, '--loader-option=pages=["x", null]', "--source-key=key"]
    assert main(["ingest", *options, "--loader-name=wiki"]) == 3
    captured = capsys.readouterr()
    assert "metadata 'the space' is left out where it has no value" in captured.err
    assert (
        "refused wiki: document 2: nothing names it: there is no 'key' in its metadata (key, the space)" in captured.err
    )
    assert captured.out.startswith("documents: 1 added")


def test_a_splitter_is_made_likewise(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """For files as for loaders."""
    (tmp_path / "a.txt").write_text("One half. Another half.", "utf-8")
    report, _ = ingest(capsys, "a.txt", "--splitter=my_loaders:Halves", "--splitter-option=chunk_overlap=0")
    assert report["chunks"]["embedded"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--loader=no_such_module:X"], "No module named 'no_such_module': install its package, or mend the name"),
        (["--loader=my_loaders:Nothing"], "there is no Nothing in my_loaders"),
        (["--loader=my_loaders:number"], "it is no class or function"),
        (["--loader=my_loaders:shout", "--loader-option=text=x"], "makes a str, which is no BaseLoader"),
        (["--loader=my_loaders:Wiki"], "needs url: add --loader-option url=..."),
        ([*WIKI, "--loader-option=colour=x"], "takes no 'colour'; its options are: url, token, pages, limit"),
        ([*WIKI[:2], "--loader-option=token=env:NOT_SET"], "the environment has no NOT_SET: export it first"),
        ([*WIKI[:2], "--loader-option=token=x"], "wrong token"),
        (
            ["a.txt", "--splitter=my_loaders:Wiki", *("--splitter-option=" + x for x in ("url=x", "token=s3cret"))],
            "no TextSplitter",
        ),
        (["a.txt", "--splitter=my_loaders:Halves", "--splitter-option=chunk_size=0"], "chunk_size must be > 0"),
        ([f"--loader={COMMUNITY}:ObsidianLoader", "--loader-option=path=void"], "gave no document"),
        (
            [f"--loader={COMMUNITY}:GitLoader", "--loader-option=repo_path=void"],
            "failed: ValueError: Path void does not exist",
        ),
    ],
)
def test_what_is_wrong_is_one_line(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, nothing on stdout, one line on stderr that says what mends it."""
    Path("a.txt").write_text("A file.", "utf-8")
    assert main(["ingest", *options]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert said in captured.err


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--loader=my_loaders"],
        [*WIKI, "--loader-option=pages"],
        ["a.txt", "--loader-option=x=y"],
        ["a.txt", "--source-key=x"],
        ["a.txt", "--splitter-option=x=y"],
        [*WIKI, "--loader-option=render=import:shout"],
    ],
)
def test_wrong_usage(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, with the usage."""
    with pytest.raises(SystemExit) as end:
        main(["ingest", *options])
    assert end.value.code == 2
    assert "usage: rag-chain ingest" in capsys.readouterr().err


def test_a_missing_package_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of the loader, which say what to install."""
    monkeypatch.setitem(sys.modules, "git", None)
    Path("repository").mkdir()
    assert main(["ingest", f"--loader={COMMUNITY}:GitLoader", "--loader-option=repo_path=repository"]) == 1
    assert "Please install it with `pip install GitPython`" in capsys.readouterr().err


def test_each_process_sees_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets, of which Obsidian's tags are made, have another order in each process, and no document has changed."""
    vault = make_input("obsidian", tmp_path)
    vault.write({f"note {number}": f"Note {number} #winter #summer #spring" for number in range(4)})
    reports = []
    for seed in ("1", "2", "3"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        command = [sys.executable, "-m", "rag_chain", "ingest", *vault.options, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        reports.append(json.loads(done.stdout)["documents"])
    assert [report["unchanged"] for report in reports] == [0, 4, 4]

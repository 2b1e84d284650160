"""A server and the commands of a second terminal on one Milvus Lite path."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rag_chain import build_chain
from rag_chain.settings import environment_name
from tests.processes import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rag_chain import Settings
    from tests.fireworks_server import FireworksServer

QUESTION = "Where do rows live?"


@pytest.fixture(autouse=True)
def environment(online: Settings, fireworks: FireworksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let subprocesses find the loopback provider and this test's store."""
    monkeypatch.setenv("FIREWORKS_API_KEY", fireworks.key)
    for name in ("fireworks_api_base", "milvus_uri"):
        monkeypatch.setenv(environment_name(name), getattr(online, name))


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """The address of `rag-chain serve` in a process of its own, which has answered from the folder already."""
    run("ingest", str(folder))
    command = [sys.executable, "-m", "rag_chain", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        assert server.stderr is not None
        lines = iter(server.stderr.readline, "")
        address = next(found[0] for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        try:
            ask(address)
            yield address
        finally:
            server.terminate()
            server.communicate(timeout=30)


def run(*arguments: str) -> Any:
    """Run a command to its end and return the JSON that it prints."""
    command = [sys.executable, "-m", "rag_chain", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ask(address: str, question: str = QUESTION) -> dict[str, Any]:
    """Ask the server."""
    reply = httpx.post(f"{address}/rag/invoke", json={"input": question}, timeout=60)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()["output"]
    return answer


def headings(answer: dict[str, Any]) -> list[str]:
    return [source["heading"] for source in answer["sources"]]


@pytest.mark.slow
def test_the_commands_work_beside_a_server(address: str, folder: Path) -> None:
    """A second terminal ingests, asks, searches and checks; the server answers from what it wrote."""
    (folder / "wine.md").write_text("# Wine\n\nGrapes ferment in oak barrels.\n", "utf-8")
    assert run("ingest", str(folder))["documents"] == {
        "added": 1,
        "changed": 0,
        "unchanged": 3,
        "removed": 0,
        "refused": 0,
    }
    assert run("ask", QUESTION)["grounded"]
    assert run("search", "Where do grapes ferment?")["sources"][0]["source"] == "wine.md"
    assert run("doctor")["ok"]
    assert ask(address, "Where do grapes ferment?")["sources"][0]["source"] == "wine.md"


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--rebuild",)])
def test_questions_are_answered_while_documents_are_ingested(
    address: str, folder: Path, fireworks: FireworksServer, options: tuple[str, ...]
) -> None:
    """50 questions at a time during an ingest and a rebuild: no error, and each finds what was there before."""
    expected = headings(ask(address))[0]
    for number in range(30):
        text = "".join(f"## Part {part}\n\nBook {number} is about pottery and kiln {part}.\n\n" for part in range(20))
        (folder / f"book{number}.md").write_text(f"# Book {number}\n\n{text}", "utf-8")
    fireworks.latency = 0.1
    asked = 0
    with ThreadPoolExecutor(50) as pool:
        job = pool.submit(run, "ingest", str(folder), *options)
        while not job.done():
            answers = list(pool.map(lambda _: ask(address), range(49)))
            assert {headings(answer)[0] for answer in answers} == {expected}
            assert all(answer["grounded"] for answer in answers)
            asked += len(answers)
    assert job.result()["documents"]["added"] == (33 if options else 30)
    assert asked >= 49
    assert headings(ask(address))[0] == expected


HOLD = """
    from rag_chain import Settings
    from rag_chain.store.collection import open_store
    with open_store(Settings()) as store:
        store.open_for(None, writing=False)
        print("ready", flush=True)
        sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["terminate", "kill"])
def test_a_chain_outlives_the_process_that_serves_it(online: Settings, folder: Path, signal: str) -> None:
    """A chain that reads through another process answers also after that one has ended, in whatever way."""
    run("ingest", str(folder))
    with running(HOLD) as holder:
        chain = build_chain(online)
        assert chain.invoke(QUESTION)["grounded"]
        getattr(holder, signal)()
        holder.wait(20)
        assert chain.invoke(QUESTION)["grounded"]

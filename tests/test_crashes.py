"""kill -9 at any moment of an ingest, then the same command: the store ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain import Settings
from rag_chain.cli import main
from rag_chain.store.collection import open_store
from tests.engines import environment_of, settle

if TYPE_CHECKING:
    from rag_chain.store.links import Address
    from tests.engines import Engine
    from tests.fireworks_server import FireworksServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does"),
]

TRIALS, TRIALS_ON_SERVER = 25, 5
BATCH, CONCURRENCY, LATENCY = 8, 2, 0.1
TEXTS_PER_SECOND = BATCH * CONCURRENCY / LATENCY


def write_corpus(folder: Path, *, edition: int, padding: str = "") -> None:
    """Write 40 pages; the second edition changes some, adds some and leaves some out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(40) if edition == 1 else [*range(5, 40), *range(100, 160)]:
        changed = edition == 2 and number % 3 == 0
        again = {2: "again "} if changed else {}
        parts = [
            f"## {part}\n\nPage {number} says {again.get(part, '')}that {part} is here.\n{padding}" for part in range(6)
        ]
        (folder / f"{number}.md").write_text(f"# Page {number}\n\n" + "\n".join(parts), "utf-8")


def read_store(settings: Settings) -> list[dict[str, Any]]:
    """Return every row, vectors rounded to what survives a round trip."""
    with open_store(settings) as store:
        store.open_for(None, writing=False)
        fields = ["id", "text", "source", "version", "position", "chunks", "start", "end", "dense"]
        pages = store.client.query_iterator(store.name, filter='id != ""', output_fields=fields, batch_size=1000)
        rows: list[dict[str, Any]] = []
        while page := pages.next():
            rows.extend(page)
        pages.close()
    for row in rows:
        row["dense"] = [round(float(value), 5) for value in row["dense"]]
    return sorted(rows, key=lambda row: str(row["id"]))


@pytest.fixture
def environment(fireworks: FireworksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let subprocesses find the loopback provider."""
    fireworks.latency = LATENCY
    monkeypatch.setenv("FIREWORKS_API_KEY", fireworks.key)
    monkeypatch.setenv("FIREWORKS_API_BASE", fireworks.base)
    monkeypatch.setenv("RAG_EMBEDDING_BATCH", str(BATCH))
    monkeypatch.setenv("RAG_EMBEDDING_CONCURRENCY", str(CONCURRENCY))


def place_of(database: Path | Address) -> dict[str, str]:
    """Return the environment that names a Milvus Lite path or a place on a server."""
    return {"MILVUS_URI": str(database)} if isinstance(database, Path) else environment_of(database)


def start_ingest(folder: Path, database: Path | Address) -> subprocess.Popen[bytes]:
    """Start the command."""
    command = [sys.executable, "-m", "rag_chain", "ingest", str(folder), "--json"]
    environment = os.environ | place_of(database)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()


def ingest(folder: Path, database: Path | Address) -> None:
    """Run the same command to its end, in this process, which has imported everything already."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in place_of(database).items():
            environment.setenv(name, value)
        assert main(["ingest", str(folder), "--json"]) == 0


def kill(process: subprocess.Popen[bytes], seconds: float, *, with_children: bool = False) -> bool:
    """Kill a process after so many seconds, without or with those it has started; return whether that broke it off."""
    time.sleep(seconds)
    children = find_children(process.pid) if with_children else []
    process.kill()
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    process.communicate()
    return process.returncode != 0


def embedded_texts(fireworks: FireworksServer) -> int:
    return sum(len(request.body["input"]) for request in fireworks.embedding_requests)


@pytest.mark.usefixtures("environment")
def test_the_store_ends_as_after_an_undisturbed_run(fireworks: FireworksServer, tmp_path: Path) -> None:
    """25 kills at random moments of an ingest that adds, changes and removes: same ids, rows and vectors each time.

    Over both runs no more texts are embedded than undisturbed plus what was in flight or not yet written.
    """
    corpus, before, database = tmp_path / "corpus", tmp_path / "before.db", tmp_path / "run.db"
    settings = Settings(milvus_uri=str(database))
    write_corpus(corpus, edition=1)
    ingest(corpus, before)
    write_corpus(corpus, edition=2)
    shutil.copytree(before, database)
    fireworks.requests.clear()
    started = time.monotonic()
    finish(start_ingest(corpus, database))
    seconds, undisturbed = time.monotonic() - started, embedded_texts(fireworks)
    expected = read_store(settings)
    assert len(expected) == 95 * 6
    moments = random.Random(1)  # noqa: S311  no secret depends on it
    broken = 0
    for _ in range(TRIALS):
        shutil.rmtree(database)
        shutil.copytree(before, database)
        fireworks.requests.clear()
        broken += kill(start_ingest(corpus, database), moments.uniform(0.4, 1.0) * seconds)
        ingest(corpus, database)
        assert read_store(settings) == expected
        # Lost are two rounds of requests, and what had come back since the last write a second before.
        lost = embedded_texts(fireworks) - undisturbed
        assert lost <= 2 * CONCURRENCY * BATCH + 1.5 * TEXTS_PER_SECOND
    assert broken > TRIALS / 2, "most runs had ended before they were killed"


@pytest.mark.server
@pytest.mark.usefixtures("environment")
def test_a_collection_on_a_server_ends_as_after_an_undisturbed_run(server_engine: Engine, tmp_path: Path) -> None:
    """The same there, where neither a path nor a process of ours goes with the one that is killed."""
    corpus = tmp_path / "corpus"
    with server_engine.place(tmp_path) as address:
        write_corpus(corpus, edition=1)
        ingest(corpus, address)
        write_corpus(corpus, edition=2)
        started = time.monotonic()
        finish(start_ingest(corpus, address))
        seconds = time.monotonic() - started
        settings = settle(Settings(), address)
        expected = read_store(settings)
        assert len(expected) == 95 * 6
        moments = random.Random(3)  # noqa: S311  no secret depends on it
        broken = 0
        for _ in range(TRIALS_ON_SERVER):
            write_corpus(corpus, edition=1)
            ingest(corpus, address)
            write_corpus(corpus, edition=2)
            broken += kill(start_ingest(corpus, address), moments.uniform(0.4, 1.0) * seconds)
            ingest(corpus, address)
            assert read_store(settings) == expected
    assert broken > TRIALS_ON_SERVER / 2, "most runs had ended before they were killed"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the children in /proc")
@pytest.mark.usefixtures("environment")
def test_a_large_ingest_and_its_processes_can_be_killed(fireworks: FireworksServer, tmp_path: Path) -> None:
    """A large ingest has readers and a host of Milvus Lite; killed without or with them it is completed as well."""
    corpus, before, database = tmp_path / "corpus", tmp_path / "before.db", tmp_path / "run.db"
    settings = Settings(milvus_uri=str(database))
    padding = "\n```\n" + "x" * 2500 + "\n```\n"
    write_corpus(corpus, edition=1, padding=padding)
    ingest(corpus, before)
    write_corpus(corpus, edition=2, padding=padding)
    shutil.copytree(before, database)
    started = time.monotonic()
    finish(start_ingest(corpus, database))
    seconds, expected = time.monotonic() - started, read_store(settings)
    moments = random.Random(2)  # noqa: S311  no secret depends on it
    broken = 0
    for trial in range(8):
        shutil.rmtree(database)
        shutil.copytree(before, database)
        moment = moments.uniform(0.3, 1.0) * seconds
        broken += kill(start_ingest(corpus, database), moment, with_children=bool(trial % 2))
        ingest(corpus, database)
        assert read_store(settings) == expected
    assert broken > 4, "most runs had ended before they were killed"


def find_children(process: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text("utf-8").rpartition(")")[2].split()[1])
            found += [int(stat.parent.name)] if parent == process else []
    return found

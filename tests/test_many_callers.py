"""Eight callers on one Milvus Lite path, and kill -9: what was acknowledged is there, a re-run adds the rest."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain import Settings, ingest
from rag_chain.store.collection import Store
from rag_chain.store.links import Address
from tests.processes import kill, running
from tests.store.chunks import FINGERPRINT
from tests.test_crashes import read_store

if TYPE_CHECKING:
    import subprocess

    from tests.fireworks_server import FireworksServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does"),
]

CALLERS, ROUNDS = 8, 5
DOCUMENTS, SECTIONS = 12, 6
BATCH, LATENCY = 8, 0.03
# Writes so large that they overlap where nothing keeps them apart; few rows, since every query reads them all.
ROWS, DIMENSIONS = 20, 8192

# Everything is imported before the callers start, so that they meet in the store and not in the imports.
INGEST = """
    import os, sys
    from concurrent.futures import ThreadPoolExecutor
    import rag_chain.store.vendor, milvus_lite.adapter.grpc.servicer, milvus_lite.db, milvus_lite.server_manager
    import rag_chain.documents.loading, rag_chain.documents.splitting, rag_chain.ingestion.run, rag_chain.pipeline
    import rag_chain.models.building, rag_chain.models.fireworks.opening, rag_chain.store.writing
    from rag_chain import Settings, ingest

    def call(folder):
        ingest(folder, Settings())
        os.write(1, f"acknowledged {folder}\\n".encode())

    print("ready", flush=True)
"""
IN_THREADS = f"""{INGEST}
    with ThreadPoolExecutor({CALLERS}) as pool:
        list(pool.map(call, sys.argv[1:]))
"""
IN_PROCESSES = f"""{INGEST}
    for folder in sys.argv[1:]:
        if os.fork() == 0:
            call(folder)
            sys.exit()
    for folder in sys.argv[1:]:
        os.wait()
"""
HOLD = """
    import sys
    from rag_chain.store.collection import Store
    from rag_chain.store.links import Address
    with Store(Address(sys.argv[1]), "documents") as store:
        print("ready", flush=True)
        sys.stdin.readline()
"""
WRITE = f"""
    import itertools, os, sys
    from concurrent.futures import ThreadPoolExecutor
    import numpy as np
    from rag_chain.store.collection import Store
    from rag_chain.store.links import Address
    from tests.store.chunks import FINGERPRINT, make_chunks

    def write(caller):
        with Store(Address(sys.argv[1]), "documents") as store:
            store.open_for(FINGERPRINT, writing=True)
            for number in itertools.count():
                source = f"{{caller}}-{{number}}.md"
                vectors = np.random.default_rng([caller, number]).standard_normal(({ROWS}, {DIMENSIONS}), np.float32)
                store.write(make_chunks(source, *map(str, range({ROWS}))), vectors, {{source: {ROWS}}})
                os.write(1, f"acknowledged {{source}}\\n".encode())

    print("ready", flush=True)
    # The main thread must stay: gRPC's server takes no more calls when it ends.
    with ThreadPoolExecutor({CALLERS}) as pool:
        list(pool.map(write, range({CALLERS})))
"""


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """A folder for each caller; no two files have the same name, so that no name depends on who comes first."""
    folders = [tmp_path / f"folder{caller}" for caller in range(CALLERS)]
    for caller, folder in enumerate(folders):
        folder.mkdir()
        for number in range(DOCUMENTS):
            parts = [f"## Part {part}\n\nCaller {caller} says {number} and {part}.\n" for part in range(SECTIONS)]
            (folder / f"{caller}-{number}.md").write_text(f"# Page {number}\n\n" + "\n".join(parts), "utf-8")
    return folders


@pytest.fixture
def settings(fireworks: FireworksServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Let this process and others find the loopback provider and one store."""
    fireworks.latency, fireworks.dimensions = LATENCY, 64
    monkeypatch.setenv("FIREWORKS_API_KEY", fireworks.key)
    monkeypatch.setenv("FIREWORKS_API_BASE", fireworks.base)
    monkeypatch.setenv("MILVUS_URI", str(tmp_path / "test.db"))
    monkeypatch.setenv("RAG_EMBEDDING_BATCH", str(BATCH))
    monkeypatch.setenv("RAG_EMBEDDING_CONCURRENCY", "2")
    return Settings()


def kill_all(process: subprocess.Popen[str]) -> list[str]:
    """Kill a script and all that it started; return what they had acknowledged and nobody has read yet."""
    kill(process, own_group=True)
    return acknowledged(process)


def acknowledged(process: subprocess.Popen[str]) -> list[str]:
    """Return what is acknowledged until all processes that could do so have ended."""
    assert process.stdout is not None
    return [name for line in process.stdout if (name := read_name(line))]


def read_name(line: str) -> str:
    return line.strip().removeprefix("acknowledged ") if line.endswith("\n") else ""


def rows_of(rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    return [row for row in rows if row["source"].startswith(f"{folder.name.removeprefix('folder')}-")]


@pytest.mark.parametrize("code", [IN_THREADS, IN_PROCESSES], ids=["threads", "processes"])
def test_what_an_ingest_acknowledged_outlives_kill_9(
    settings: Settings, folders: list[Path], tmp_path: Path, code: str
) -> None:
    """Of eight ingests that are killed together each that had returned is whole, and a re-run adds the others."""
    arguments = [str(folder) for folder in folders]
    with running(code, *arguments, own_group=True) as process:
        started = time.monotonic()
        assert sorted(acknowledged(process)) == arguments
        seconds = time.monotonic() - started
    expected = read_store(settings)
    assert len(expected) == CALLERS * DOCUMENTS * SECTIONS
    moments = random.Random(code)  # noqa: S311  no secret depends on it
    counts = []
    for number in range(ROUNDS):
        own = settings.with_changes(milvus_uri=str(tmp_path / f"{number}.db"))
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("MILVUS_URI", own.milvus_uri)
            with running(code, *arguments, own_group=True) as process:
                time.sleep(moments.uniform(0.2, 0.95) * seconds)
                returned = kill_all(process)
        counts.append(len(returned))
        found = read_store(own) if returned else []
        for folder in map(Path, returned):
            assert rows_of(found, folder) == rows_of(expected, folder)
        for folder in folders:
            ingest(folder, own)
        assert read_store(own) == expected
    assert 0 < sum(counts) < ROUNDS * CALLERS, "none was killed, or none had returned"


def held_rows(address: Address) -> dict[str, int]:
    """Return how many rows the store has of each source."""
    with Store(address, "documents") as store:
        store.open_for(None, writing=False)
        rows = store.client.query(store.name, filter='id != ""', output_fields=["source"], limit=16_384)
    return Counter(row["source"] for row in rows)


@pytest.fixture
def address(tmp_path: Path) -> Address:
    """A Milvus Lite path with an empty collection."""
    address = Address(str(tmp_path / "test.db"))
    with Store(address, "documents") as store:
        store.create(FINGERPRINT, DIMENSIONS)
    return address


def take(process: subprocess.Popen[str], count: int) -> list[str]:
    """Return the next writes that are acknowledged."""
    assert process.stdout is not None
    names = [read_name(line) for line in islice(process.stdout, count)]
    assert len(names) == count, "the writers have ended"
    return names


@pytest.mark.parametrize("seed", range(3))
def test_no_acknowledged_row_is_lost(address: Address, seed: int) -> None:
    """Eight threads write through a store each, and their process is killed: what was acknowledged is there."""
    with running(WRITE, address.uri, own_group=True) as process:
        names = take(process, random.Random(seed).randrange(20, 90))  # noqa: S311  no secret depends on it
        names += kill_all(process)
    held = held_rows(address)
    assert {name: held.get(name) for name in names} == dict.fromkeys(names, ROWS)


def test_no_acknowledged_row_is_lost_with_the_process_that_serves(address: Address) -> None:
    """Eight threads write through another process, which is killed, and go on without it: nothing is lost."""
    with running(HOLD, address.uri, own_group=True) as holder, running(WRITE, address.uri, own_group=True) as process:
        names = take(process, 40)
        kill_all(holder)
        names += take(process, 40)
        names += kill_all(process)
    assert {name.partition("-")[0] for name in names[-40:]} == {str(caller) for caller in range(CALLERS)}
    held = held_rows(address)
    assert {name: held.get(name) for name in names} == dict.fromkeys(names, ROWS)

"""One Ray for the tests of this folder, and what they kill in it."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_crashes import write_corpus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fireworks_server import FireworksServer

# 2,500 bytes to a section, so that the pages are several parcels.
PADDING = "\n```\n" + "x" * 2500 + "\n```\n"


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray on this machine, with two cores."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'rag-chain[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    context = ray.init(
        "local", num_cpus=2, include_dashboard=False, object_store_memory=200_000_000, logging_level="ERROR"
    )
    session = Path(context.address_info["session_dir"])
    yield ray
    ray.shutdown()
    shutil.rmtree(session, ignore_errors=True)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two processes embed and two write, and small parcels, so that each has some."""
    monkeypatch.setattr("rag_chain.cluster.connection.CORES_PER_PAIR", 1)
    monkeypatch.setattr("rag_chain.cluster.parcels.PARCEL_BYTES", 100_000)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty pages of six sections, 600 kB."""
    folder = tmp_path / "corpus"
    write_corpus(folder, edition=1, padding=PADDING)
    return folder


@contextmanager
def killing(kind: str, fireworks: FireworksServer, *moments: int) -> Iterator[list[int]]:
    """Kill a process of this class each time that so many requests have come; gives the processes that were killed."""
    killed: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        for moment in moments:
            while not ended.is_set() and len(fireworks.embedding_requests) < moment:
                ended.wait(0.01)
            while not ended.is_set() and not (alive := set(find_processes(kind)) - set(killed)):
                ended.wait(0.01)
            if ended.is_set():
                return
            os.kill(min(alive), signal.SIGKILL)
            killed.append(min(alive))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        ended.set()
        watcher.join()


def find_processes(kind: str) -> list[int]:
    """Return the processes that hold an object of this class."""
    from ray._private.state import actors

    found = actors().values()
    return [one["Pid"] for one in found if one["ActorClassName"] == kind and one["State"] == "ALIVE" and one["Pid"]]

"""kill -9 in the middle of an ingest from a loader, then the same command: the store equals a fresh one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain import Settings
from rag_chain.store.collection import open_store
from tests.loaders.inputs import INPUTS, make_input

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fireworks_server import FireworksServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does"),
]

KILLS = 3
LATENCY = 0.15


def texts(edition: int) -> dict[str, str]:
    """Return 60 texts; the second edition changes a third of them, and 10 others stand for 10 that are gone."""
    numbers = range(60) if edition == 1 else range(10, 70)
    again = {number: " again" if edition == 2 and number % 3 == 0 else "" for number in numbers}
    return {f"page {number:03d}": f"Page {number} says{again[number]} that it is page {number}." for number in numbers}


def start(options: list[str], database: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rag_chain", "ingest", *options, "--json"]
    environment = os.environ | {"MILVUS_URI": str(database)}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()


def read_store(database: Path) -> list[dict[str, Any]]:
    """Return every row but its vector."""
    fields = ["id", "text", "source", "version", "position", "chunks", "start", "end", "uri"]
    with open_store(Settings(milvus_uri=str(database))) as store:
        store.open_for(None, writing=False)
        rows: list[dict[str, Any]] = store.client.query(store.name, filter='id != ""', output_fields=fields)
    return sorted(rows, key=lambda row: str(row["id"]))


@pytest.mark.parametrize("kind", INPUTS)
def test_a_killed_ingest_is_completed(
    kind: str, fireworks: FireworksServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Killed three times while 10 are added, 17 changed and 10 removed: ids, texts and counts are a fresh one's."""
    fireworks.latency = LATENCY
    for name, value in {"KEY": fireworks.key, "BASE": fireworks.base}.items():
        monkeypatch.setenv(f"FIREWORKS_API_{name}", value)
    monkeypatch.setenv("RAG_EMBEDDING_BATCH", "2")
    monkeypatch.setenv("RAG_EMBEDDING_CONCURRENCY", "2")
    given = make_input(kind, tmp_path)
    given.write(texts(1))
    finish(start(given.options, tmp_path / "run.db"))
    given.write(texts(2))
    moments = random.Random(4)  # noqa: S311  no secret depends on it
    for _ in range(KILLS):
        # Once it embeds, some requests further.
        moment = len(fireworks.embedding_requests) + moments.randint(1, 5)
        process = start(given.options, tmp_path / "run.db")
        while len(fireworks.embedding_requests) < moment and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert process.returncode != 0, "it had ended before it was killed"
    finish(start(given.options, tmp_path / "run.db"))
    finish(start(given.options, tmp_path / "fresh.db"))
    expected = read_store(tmp_path / "fresh.db")
    assert len({row["source"] for row in expected}) == 60
    assert read_store(tmp_path / "run.db") == expected

"""A provider that fails seven requests of ten: the ingest ends complete and right (how soon: benchmarks/storm.py)."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_chain import Settings, ingest
from rag_chain.documents.splitting import text_to_embed
from rag_chain.models.fireworks.cards import task_prefixes
from rag_chain.store.collection import open_store
from tests.fireworks_faults import (
    Delay,
    Drop,
    Fault,
    Garbage,
    NotFinite,
    Reordered,
    Short,
    Status,
    WrongDimension,
)
from tests.fireworks_replies import embed
from tests.fireworks_server import FireworksServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rag_chain import IngestReport

pytestmark = pytest.mark.slow

DIMENSIONS = 64
BATCH, CONCURRENCY, LATENCY = 4, 8, 0.25
DOCUMENTS, SECTIONS = 100, 10
CHUNKS = DOCUMENTS * SECTIONS
STORM: tuple[tuple[float, Fault], ...] = (
    (0.50, Status(429)),
    (0.04, Status(503)),
    (0.03, Garbage()),
    (0.03, Reordered()),
    (0.03, Short()),
    (0.025, WrongDimension()),
    (0.025, NotFinite()),
    (0.015, Drop()),
    (0.005, Delay(10)),
)


def write_corpus(folder: Path) -> None:
    """Write documents whose sections are one chunk each, every one of its own words."""
    dice = random.Random(0)  # noqa: S311  no secret depends on it
    folder.mkdir()
    for number in range(DOCUMENTS):
        parts = [
            f"## Part {part}\n\n{' '.join(f'word{dice.randrange(10**6)}' for _ in range(40))}.\n"
            for part in range(SECTIONS)
        ]
        (folder / f"{number}.md").write_text(f"# Page {number}\n\n" + "\n".join(parts), "utf-8")


@contextmanager
def stormy_server(seed: int) -> Iterator[FireworksServer]:
    with FireworksServer(dimensions=DIMENSIONS, latency=LATENCY) as server:
        server.faults.randomly("embeddings", STORM, seed)
        yield server


def connect(server: FireworksServer, database: Path) -> Settings:
    return Settings(
        provider="fireworks",
        fireworks_api_key=server.key,
        fireworks_api_base=server.base,
        milvus_uri=str(database),
        embedding_batch=BATCH,
        embedding_concurrency=CONCURRENCY,
    )


def asked_texts(server: FireworksServer) -> set[str]:
    return {text for request in server.embedding_requests for text in request.body["input"]}


def check_vectors(settings: Settings, asked: set[str]) -> None:
    """Assert that every chunk has the vector that the provider gives for its text, and no two have the same."""
    prefix, _ = task_prefixes(settings.embedding_model)
    with open_store(settings) as store:
        store.open_for(None, writing=False)
        assert store.dimensions() == DIMENSIONS
        sources = list(store.catalogue())
        held = [pair for source in sources for pair in store.held([source], [])]
    texts = [prefix + text_to_embed(chunk) for chunk, _ in held]
    assert len(texts) == CHUNKS
    assert set(texts) == asked
    right = np.array([embed(text, DIMENSIONS) for text in texts])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    assert len(np.unique(right.round(5), axis=0)) == CHUNKS, "vectors that were mixed up would not be noticed"
    np.testing.assert_allclose(np.array([vector for _, vector in held]), right, atol=1e-5)


def check_report(report: IngestReport) -> None:
    assert len(report.added) == DOCUMENTS
    assert not report.refused
    assert report.as_planned
    assert (report.chunks_total, report.chunks_embedded) == (CHUNKS, CHUNKS)


def test_an_ingest_comes_through_a_storm(tmp_path: Path) -> None:
    """An ingest is complete and right after a storm.

    Half of the requests are answered 429, a fifth in some other wrong way (reordered ones are right, ten
    seconds late ones too).
    """
    write_corpus(tmp_path / "corpus")
    with stormy_server(1) as server:
        settings = connect(server, tmp_path / "test.db")
        check_report(ingest(tmp_path / "corpus", settings))
        asked = asked_texts(server)
    check_vectors(settings, asked)


def test_a_wrong_first_length_is_not_adopted(tmp_path: Path) -> None:
    """When the very first reply has vectors of a wrong length, the ingest ends with those of the right one."""
    write_corpus(tmp_path / "corpus")
    with FireworksServer(dimensions=DIMENSIONS) as server:
        server.faults.add("embeddings", WrongDimension())
        settings = connect(server, tmp_path / "test.db").with_changes(embedding_concurrency=1)
        report = ingest(tmp_path / "corpus", settings)
        asked = asked_texts(server)
    check_report(report)
    check_vectors(settings, asked)

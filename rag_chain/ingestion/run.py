"""Do what a plan says: load, split, embed and write as a stream; a document's first chunk goes in last."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rag_chain.errors import ModelError
from rag_chain.ingestion.plan import report_plan
from rag_chain.ingestion.reuse import find_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Plan, Work
    from rag_chain.ingestion.reading import Steps
    from rag_chain.ingestion.report import IngestReport
    from rag_chain.ingestion.reuse import ReadDocument
    from rag_chain.models.embedding import EmbeddingModel, Vectors

# Enough for Milvus to write at full speed; from a slow provider no more than this is lost to a crash.
ROWS_PER_WRITE = 512
SECONDS_PER_WRITE = 1.0


class Target(Protocol):
    """Where chunks are written."""

    def write(self, chunks: Sequence[Document], vectors: Vectors, counts: Mapping[str, int]) -> None:
        """Upsert chunks with their vectors."""

    def remove(self, source: str, *, keep_version: str = "") -> int:
        """Delete a document's chunks, except those of one version."""

    def held(self, sources: Sequence[str], versions: Sequence[str]) -> Iterable[tuple[Document, Vectors]]:
        """Return stored chunks of these sources or versions, with their vectors."""

    def close(self, *, complete: bool) -> None:
        """Make durable what was written; ``complete`` says whether that is everything."""


@dataclass(frozen=True)
class Progress:
    """How far an ingest is: ``documents`` of ``total`` are embedded, in so many chunks and tokens."""

    documents: int
    total: int
    chunks: int
    tokens: int


def run_plan(
    plan: Plan,
    steps: Steps,
    *,
    embeddings: EmbeddingModel,
    target: Target,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> IngestReport:
    """Ingest the plan's documents and remove what it says; return what was done.

    Documents that can't be loaded, or hold no text, are refused and the run goes on. What was
    embedded before a failure is written, and a repeated run does not embed it again.
    """
    report = report_plan(plan)
    before = replace(embeddings.usage)
    writer = _Writer(target, report, {work.source for work in plan.changed})
    documents = find_vectors(plan.work, steps, target.held, report.refused)
    complete = False
    try:
        for batch, vectors in _embedded(documents, writer, steps.text_of, embeddings):
            writer.add(batch, vectors)
            on_progress(writer.progress(len(plan.work), embeddings.usage.tokens))
        writer.finish()
        complete = True
    except (ModelError, KeyboardInterrupt):
        writer.save()
        raise
    finally:
        target.close(complete=complete)
    report.requests = embeddings.usage.requests - before.requests
    report.tokens = embeddings.usage.tokens - before.tokens
    return report


def _embedded(
    documents: Iterator[ReadDocument],
    writer: _Writer,
    text_of: Callable[[Document], str],
    embeddings: EmbeddingModel,
) -> Iterator[tuple[list[Document], Vectors]]:
    """Yield batches of new chunks with their vectors, in order; batches run across documents."""
    chunks = (chunk for document in documents for chunk in writer.expect(document))
    waiting: deque[list[Document]] = deque()

    def texts() -> Iterator[list[str]]:
        while batch := list(islice(chunks, embeddings.batch_size)):
            waiting.append(batch)
            yield [text_of(chunk) for chunk in batch]

    for vectors in embeddings.embed_batches(texts()):
        yield waiting.popleft(), vectors


class _Writer:
    """Writes chunks in groups; a document's first chunk, its record, follows when all others are in.

    Old chunks of a changed document are removed only after that.
    """

    def __init__(self, target: Target, report: IngestReport, changed: set[str]) -> None:
        self._target = target
        self._report = report
        self._changed = changed
        self._expected: dict[str, tuple[Work, int]] = {}
        self._missing: dict[str, int] = {}
        self._saved_at = monotonic()
        self._rows: list[tuple[Document, Vectors]] = []
        self._records: list[tuple[Document, Vectors]] = []

    def expect(self, document: ReadDocument) -> list[Document]:
        """Take a document's known vectors, and return the chunks that are still to be embedded."""
        self._expected[document.work.source] = (document.work, len(document.chunks))
        self._missing[document.work.source] = len(document.chunks)
        new = []
        for chunk, vector in zip(document.chunks, document.vectors, strict=True):
            if vector is None:
                new.append(chunk)
            else:
                self._take(chunk, vector)
        self._report.chunks_reused += len(document.chunks) - len(new)
        self._save_when_full()
        return new

    def add(self, chunks: Sequence[Document], vectors: Vectors) -> None:
        """Take newly embedded chunks, and write when there are enough."""
        for chunk, vector in zip(chunks, vectors, strict=True):
            self._take(chunk, vector)
        self._report.chunks_embedded += len(chunks)
        self._save_when_full()

    def finish(self) -> None:
        """Write what is left, then remove the documents that are gone."""
        self.save()
        for source in self._report.removed:
            self._report.chunks_deleted += self._target.remove(source)

    def progress(self, total: int, tokens: int) -> Progress:
        """Return how far the run is."""
        written = len(self._report.added) + len(self._report.changed)
        embedded = sum(not missing for missing in self._missing.values())
        return Progress(written + embedded, total, self._report.chunks_embedded, tokens)

    def save(self) -> None:
        """Write what is there; the records of documents that are not complete yet are kept back."""
        self._send(self._rows)
        complete = [pair for pair in self._records if not self._missing[pair[0].metadata["source"]]]
        self._records = [pair for pair in self._records if self._missing[pair[0].metadata["source"]]]
        self._rows = []
        self._send(complete)
        for chunk, _ in complete:
            self._close(chunk.metadata["source"])
        self._saved_at = monotonic()

    def _save_when_full(self) -> None:
        waiting = len(self._rows) + len(self._records)
        if waiting >= ROWS_PER_WRITE or monotonic() - self._saved_at >= SECONDS_PER_WRITE:
            self.save()

    def _take(self, chunk: Document, vector: Vectors) -> None:
        (self._rows if chunk.metadata["position"] else self._records).append((chunk, vector))
        self._missing[chunk.metadata["source"]] -= 1

    def _send(self, rows: list[tuple[Document, Vectors]]) -> None:
        if rows:
            chunks, vectors = [chunk for chunk, _ in rows], np.stack([vector for _, vector in rows])
            self._target.write(chunks, vectors, {s: count for s, (_, count) in self._expected.items()})

    def _close(self, source: str) -> None:
        """Report a document whose record is written, and remove what it held before."""
        work, _ = self._expected.pop(source)
        del self._missing[source]
        if source in self._changed:
            self._report.chunks_deleted += self._target.remove(source, keep_version=work.version)
            self._report.changed.append(source)
        else:
            self._report.added.append(source)

"""Write chunks in groups beside the embedding; a document's first chunk, its record, goes in last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rag_chain.ingestion.report import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Work
    from rag_chain.ingestion.report import IngestReport
    from rag_chain.ingestion.reuse import ReadDocument
    from rag_chain.models.embedding import Vectors

    Row = tuple[Document, Vectors]

# Enough for Milvus to write at full speed; from a slow provider no more than this is lost to a crash.
ROWS_PER_WRITE = 256
SECONDS_PER_WRITE = 1.0


class Target(Protocol):
    """Where chunks are written."""

    def write(self, chunks: Sequence[Document], vectors: Vectors, counts: Mapping[str, int]) -> None:
        """Upsert chunks with their vectors."""

    def remove(self, versions: Mapping[str, str]) -> int:
        """Delete what these sources hold of other versions than these; return how many chunks."""

    def discard(self, source: str, version: str) -> None:
        """Delete the chunks of one version of a document."""

    def held(self, sources: Sequence[str], versions: Sequence[str]) -> Iterable[tuple[Document, Vectors]]:
        """Return stored chunks of these sources or versions, with their vectors."""

    def close(self, *, complete: bool) -> None:
        """Make durable what was written; ``complete`` says whether that is everything."""


@dataclass
class _Open:
    """A document of which not all chunks are there yet."""

    work: Work
    chunks: int
    missing: int


class Writer:
    """Takes chunks with their vectors and writes them in groups, one group at a time, in a thread of its own.

    The next group is collected meanwhile. Old chunks of a changed document are removed only when
    the new ones are in; of a document that is refused nothing stays but what was there before.
    """

    def __init__(self, target: Target, report: IngestReport, changed: set[str]) -> None:
        self._target = target
        self._report = report
        self._changed = changed
        self._open: dict[str, _Open] = {}
        self._complete = 0
        self._saved_at = monotonic()
        self._rows: list[Row] = []
        self._records: list[Row] = []
        self._thread = ThreadPoolExecutor(1, "rag_chain writer")
        self._writing: Future[None] | None = None

    @property
    def documents(self) -> int:
        """Return how many documents have all their vectors."""
        return self._complete

    def expect(self, document: ReadDocument) -> list[Document]:
        """Take a document's known vectors, and return the chunks that are still to be embedded."""
        self._open[document.work.source] = _Open(document.work, len(document.chunks), len(document.chunks))
        new = []
        for chunk, vector in zip(document.chunks, document.vectors, strict=True):
            if vector is None:
                new.append(chunk)
            else:
                self.add(chunk, vector)
        self._report.chunks_reused += len(document.chunks) - len(new)
        return new

    def wants(self, chunk: Document) -> bool:
        """Return whether the chunk's document has not been refused since."""
        return chunk.metadata["source"] in self._open

    def add(self, chunk: Document, vector: Vectors) -> None:
        """Take a chunk, and write when there are enough."""
        if not self.wants(chunk):
            return
        document = self._open[chunk.metadata["source"]]
        (self._rows if chunk.metadata["position"] else self._records).append((chunk, vector))
        document.missing -= 1
        self._complete += not document.missing
        waiting = len(self._rows) + len(self._records)
        if waiting >= ROWS_PER_WRITE or monotonic() - self._saved_at >= SECONDS_PER_WRITE:
            self.save()

    def refuse(self, chunk: Document, reason: str) -> None:
        """Refuse a chunk's document as a whole, and take back what was written of it."""
        document = self._open.pop(chunk.metadata["source"], None)
        if document is None:
            return
        work = document.work
        self._rows = [row for row in self._rows if row[0].metadata["source"] != work.source]
        self._records = [row for row in self._records if row[0].metadata["source"] != work.source]
        self._report.refused.append(Refused(work.source, f"chunk {chunk.metadata['position'] + 1}: {reason}"))
        self._start(lambda: self._target.discard(work.source, work.version))

    def save(self) -> None:
        """Start writing what is there; the records of documents that are not complete yet are kept back."""
        complete = [row for row in self._records if not self._open[row[0].metadata["source"]].missing]
        self._records = [row for row in self._records if self._open[row[0].metadata["source"]].missing]
        rows, self._rows = self._rows, []
        done = [self._open.pop(chunk.metadata["source"]) for chunk, _ in complete]
        self._start(lambda: self._write(rows, complete, done))
        self._saved_at = monotonic()

    def finish(self) -> None:
        """Write what is left, then remove the documents that are gone."""
        self.save()
        self.wait()
        self._report.chunks_deleted += self._target.remove(dict.fromkeys(self._report.removed, ""))

    def wait(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _start(self, work: Callable[[], None]) -> None:
        self.wait()
        self._writing = self._thread.submit(work)

    def _write(self, rows: list[Row], records: list[Row], done: list[_Open]) -> None:
        self._send(rows, {})
        self._send(records, {document.work.source: document.chunks for document in done})
        self._report_done([document.work for document in done])

    def _send(self, rows: list[Row], counts: Mapping[str, int]) -> None:
        if rows:
            self._target.write([chunk for chunk, _ in rows], np.stack([vector for _, vector in rows]), counts)

    def _report_done(self, works: list[Work]) -> None:
        """Report documents whose records are written, and remove what the changed ones held before."""
        changed = {work.source: work.version for work in works if work.source in self._changed}
        self._report.chunks_deleted += self._target.remove(changed)
        self._report.changed += changed
        self._report.added += [work.source for work in works if work.source not in changed]

"""Do what a plan says: read, embed and write as one stream, each ahead of the next."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rag_chain.errors import ModelError
from rag_chain.ingestion.plan import report_plan
from rag_chain.ingestion.repeats import Repeats
from rag_chain.ingestion.reuse import find_vectors
from rag_chain.ingestion.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Plan
    from rag_chain.ingestion.reading import Read
    from rag_chain.ingestion.report import IngestReport
    from rag_chain.ingestion.reuse import ReadDocument
    from rag_chain.ingestion.writing import Target
    from rag_chain.models.embedding import Embedded, EmbeddingModel, Vectors

# Rather too many than too few: English has about four bytes to a token.
BYTES_PER_TOKEN = 3


@dataclass(frozen=True)
class Progress:
    """How far an ingest is: ``documents`` of ``total`` are embedded, in so many chunks and tokens."""

    documents: int
    total: int
    chunks: int
    tokens: int


def run_plan(
    plan: Plan,
    *,
    read: Read,
    text_of: Callable[[Document], str],
    embeddings: EmbeddingModel,
    target: Target,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> IngestReport:
    """Ingest the plan's documents and remove what it says; return what was done.

    Documents that can't be loaded, hold no text, or a text that the model refuses, are refused and
    the run goes on. What was embedded before a failure is written, and a repeated run does not
    embed it again.
    """
    report = report_plan(plan)
    before = replace(embeddings.usage)
    writer = Writer(target, report, {work.source for work in plan.changed})
    readings = read(plan.work)
    documents = find_vectors(plan.work, readings, text_of, target.held, report.refused)
    repeats = Repeats(plan.work, text_of)
    complete = False
    on_progress(Progress(0, len(plan.work), 0, 0))
    try:
        chunks = _find_new(documents, writer, repeats, report)
        for batch, embedded in _embed(chunks, text_of, embeddings):
            for chunk, vector, reason in _pair(batch, embedded):
                _take(chunk, vector, reason, writer, report)
                for copy in repeats.settle(chunk, vector):
                    _take(copy, vector, reason, writer, report, is_copy=True)
            on_progress(Progress(writer.documents, len(plan.work), report.chunks_embedded, embeddings.usage.tokens))
        writer.finish()
        complete = True
    except (ModelError, KeyboardInterrupt):
        writer.save()
        writer.wait()
        raise
    finally:
        readings.close()
        writer.close()
        target.close(complete=complete)
    report.requests = embeddings.usage.requests - before.requests
    report.tokens = embeddings.usage.tokens - before.tokens
    return report


def _find_new(
    documents: Iterator[ReadDocument], writer: Writer, repeats: Repeats, report: IngestReport
) -> Iterator[Document]:
    """Yield the chunks whose vectors nobody has."""
    for document in documents:
        for chunk in writer.expect(document):
            if not writer.wants(chunk):
                continue
            known = repeats.vector_of(chunk)
            if known is not None:
                _take(chunk, known, "", writer, report, is_copy=True)
            elif repeats.is_new(chunk):
                yield chunk


def _embed(
    chunks: Iterator[Document], text_of: Callable[[Document], str], embeddings: EmbeddingModel
) -> Iterator[tuple[list[Document], Embedded]]:
    """Yield batches of chunks with their vectors, in order; batches run across documents."""
    waiting: deque[list[Document]] = deque()

    def texts() -> Iterator[list[str]]:
        for batch in group_chunks(chunks, text_of, embeddings.batch_size, embeddings.batch_tokens):
            waiting.append([chunk for chunk, _ in batch])
            yield [text for _, text in batch]

    for embedded in embeddings.embed_batches(texts()):
        yield waiting.popleft(), embedded


def group_chunks(
    chunks: Iterable[Document], text_of: Callable[[Document], str], most: int, most_tokens: int
) -> Iterator[list[tuple[Document, str]]]:
    """Yield the chunks with their texts in groups of at most so many, and of about so many tokens."""
    group: list[tuple[Document, str]] = []
    room = most_tokens * BYTES_PER_TOKEN
    for chunk in chunks:
        text = text_of(chunk)
        size = len(text.encode("utf-8", "replace"))
        if group and (len(group) >= most or size > room):
            yield group
            group, room = [], most_tokens * BYTES_PER_TOKEN
        group.append((chunk, text))
        room -= size
    if group:
        yield group


def _pair(batch: list[Document], embedded: Embedded) -> Iterator[tuple[Document, Vectors | None, str]]:
    for number, (chunk, vector) in enumerate(zip(batch, embedded.vectors, strict=True)):
        yield chunk, vector, "" if vector is not None else str(embedded.refused[number])


def _take(
    chunk: Document, vector: Vectors | None, reason: str, writer: Writer, report: IngestReport, *, is_copy: bool = False
) -> None:
    if vector is None:
        writer.refuse(chunk, reason)
        return
    report.chunks_reused += is_copy
    report.chunks_embedded += not is_copy
    writer.add(chunk, vector)

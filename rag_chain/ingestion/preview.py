"""Count what a plan would embed, without asking a model."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from rag_chain.ingestion.plan import report_plan
from rag_chain.ingestion.repeats import Repeats
from rag_chain.ingestion.reuse import find_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Plan
    from rag_chain.ingestion.reading import Read
    from rag_chain.ingestion.report import IngestReport
    from rag_chain.ingestion.reuse import Held


def preview_plan(
    plan: Plan,
    *,
    read: Read,
    text_of: Callable[[Document], str],
    held: Held,
    count_tokens: Callable[[list[str]], int],
    batch_size: int,
) -> IngestReport:
    """Return the report that running the plan would give; documents are loaded and split to count."""
    report = report_plan(plan)
    report.chunks_deleted = sum(plan.held[source].chunks for source in plan.removed)
    kept = sum(stored.chunks for stored in plan.held.values()) - report.chunks_deleted
    changed = {work.source for work in plan.changed}
    readings = read(plan.work)
    repeats = Repeats(plan.work, text_of)
    for document in find_vectors(plan.work, readings, text_of, held, report.refused):
        work = document.work
        (report.changed if work.source in changed else report.added).append(work.source)
        unknown = [c for c, vector in zip(document.chunks, document.vectors, strict=True) if vector is None]
        new = [text_of(chunk) for chunk in unknown if repeats.is_new(chunk)]
        report.chunks_embedded += len(new)
        report.chunks_reused += len(document.chunks) - len(new)
        report.tokens += count_tokens(new)
        kept += len(document.chunks)
        if stored := plan.held.get(work.source):
            kept -= stored.chunks
            # Chunks of the same version have the same ids and are written over.
            report.chunks_deleted += stored.chunks if stored.version != work.version else 0
    report.chunks_total = kept
    report.requests = ceil(report.chunks_embedded / batch_size)
    return report

"""Count what a plan would embed, without asking a model."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from rag_chain.ingestion.plan import report_plan
from rag_chain.ingestion.reading import read_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Plan
    from rag_chain.ingestion.report import IngestReport


def preview_plan(
    plan: Plan,
    *,
    load: Callable[[Any], Document],
    split: Callable[[Document], Iterable[Document]],
    count_tokens: Callable[[list[Document]], int],
    batch_size: int,
) -> IngestReport:
    """Return the report that running the plan would give; documents are loaded and split to count."""
    report = report_plan(plan)
    report.chunks_deleted = sum(plan.held[source].chunks for source in plan.removed)
    kept = sum(stored.chunks for stored in plan.held.values()) - report.chunks_deleted
    for works, state in ((plan.added, report.added), (plan.changed, report.changed)):
        for work, chunks in read_chunks(works, load, split, report.refused):
            state.append(work.source)
            report.chunks_embedded += len(chunks)
            report.tokens += count_tokens(chunks)
            if stored := plan.held.get(work.source):
                kept -= stored.chunks
                # Chunks of the same version have the same ids and are written over.
                report.chunks_deleted += stored.chunks if stored.version != work.version else 0
    report.chunks_total = kept + report.chunks_embedded
    report.requests = ceil(report.chunks_embedded / batch_size)
    return report

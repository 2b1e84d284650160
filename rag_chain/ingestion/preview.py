"""Count what a plan would embed, without asking a model."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from rag_chain.ingestion.reading import read_chunks
from rag_chain.ingestion.report import IngestReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Plan


def preview_plan(
    plan: Plan,
    *,
    load: Callable[[Any], Document],
    split: Callable[[Document], Iterable[Document]],
    count_tokens: Callable[[list[Document]], int],
    batch_size: int,
) -> IngestReport:
    """Return the report that running the plan would give; documents are loaded and split to count."""
    report = IngestReport(
        unchanged=list(plan.unchanged), removed=list(plan.removed), refused=plan.refused, skipped=plan.skipped
    )
    for works, state in ((plan.added, report.added), (plan.changed, report.changed)):
        for work, chunks in read_chunks(works, load, split, report.refused):
            state.append(work.source)
            report.chunks_embedded += len(chunks)
            report.tokens += count_tokens(chunks)
    report.requests = ceil(report.chunks_embedded / batch_size)
    return report

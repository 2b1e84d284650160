"""Do what a plan says on a Ray cluster: parcels of documents to its writers, their reports into one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.cluster.crew import start_crew
from rag_chain.cluster.parcels import divide_plan
from rag_chain.errors import StoreError
from rag_chain.ingestion.plan import Plan, report_plan
from rag_chain.ingestion.run import Progress
from rag_chain.store.auditing import withdraw_unsound

if TYPE_CHECKING:
    from collections.abc import Callable

    from rag_chain.cluster.connection import Cluster
    from rag_chain.cluster.crew import Crew
    from rag_chain.cluster.stages import Stages
    from rag_chain.ingestion.report import IngestReport, Refused
    from rag_chain.store.writing import CollectionWriter

# How often what is stored is held against what was reported, and what is not whole is done again.
AUDITS = 3


def run_plan_on_cluster(
    plan: Plan,
    cluster: Cluster,
    *,
    stages: Stages,
    target: CollectionWriter,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> IngestReport:
    """Ingest the plan's documents and remove what it says, as :func:`rag_chain.ingestion.run.run_plan` does.

    A process that dies is started anew, and what it was doing is done again: ids are digests, and what was written
    is taken over. At the end what is stored is held against what was reported.
    """
    report = report_plan(plan)
    on_progress(Progress(0, len(plan.work), 0, 0))
    complete = False
    try:
        with start_crew(cluster, stages, target) as crew:
            for part in crew.deliver(divide_plan(plan)):
                _add(report, part)
                target.count_written(part.chunks_embedded + part.chunks_reused)
                on_progress(_progress(plan, report))
            _audit(plan, crew, target, report)
        report.chunks_deleted += target.remove(dict.fromkeys(report.removed, ""))
        complete = True
    finally:
        target.close(complete=complete)
    _sort(report, plan)
    return report


def _audit(plan: Plan, crew: Crew, target: CollectionWriter, report: IngestReport) -> None:
    """Ingest once more what is not stored whole, chunk for chunk."""
    works = {work.source: work for work in plan.work}
    versions = {source: works[source].version for source in (*report.added, *report.changed)}
    for _ in range(AUDITS):
        unsound = withdraw_unsound(target.target, versions) if target.target is not None else []
        if not unsound:
            return
        for part in crew.deliver(divide_plan(Plan(added=[works[source] for source in unsound])), again=True):
            _count(report, part)
            _withdraw(report, part.refused, versions)
    raise StoreError(
        f"{len(unsound)} documents are not stored whole, such as {unsound[0]!r}: rag-chain doctor --repair"
    )


def _withdraw(report: IngestReport, refused: list[Refused], versions: dict[str, str]) -> None:
    """Refuse documents after all, which could be read before."""
    for one in refused:
        del versions[one.source]
        report.added = [source for source in report.added if source != one.source]
        report.changed = [source for source in report.changed if source != one.source]
    report.refused += refused


def _add(report: IngestReport, part: IngestReport) -> None:
    """Add the report on some documents to that on all."""
    report.added += part.added
    report.changed += part.changed
    report.refused += part.refused
    _count(report, part)


def _count(report: IngestReport, part: IngestReport) -> None:
    report.chunks_embedded += part.chunks_embedded
    report.chunks_reused += part.chunks_reused
    report.chunks_deleted += part.chunks_deleted
    report.requests += part.requests
    report.tokens += part.tokens


def _sort(report: IngestReport, plan: Plan) -> None:
    """Put the documents in the order of the plan: they came as they were done."""
    place = {work.source: number for number, work in enumerate(plan.work)}
    report.added.sort(key=place.__getitem__)
    report.changed.sort(key=place.__getitem__)
    report.refused.sort(key=lambda refused: place.get(refused.source, -1))


def _progress(plan: Plan, report: IngestReport) -> Progress:
    done = len(report.added) + len(report.changed)
    return Progress(done, len(plan.work), report.chunks_embedded, report.tokens)

"""Divide a plan into parcels, each of which has one writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.cluster.stages import Parcel
from rag_chain.errors import DocumentError
from rag_chain.ingestion.plan import TEXT_DIGITS, Plan
from rag_chain.ingestion.report import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rag_chain.ingestion.plan import Work

# Some 1,000 chunks: a second's work, and what is written once more when a writer dies.
PARCEL_BYTES, PARCEL_DOCUMENTS = 1_000_000, 400
# The first one goes alone, since the length of its vectors is needed to create the collection.
FIRST_BYTES = 50_000


def divide_plan(plan: Plan) -> Iterator[Parcel]:
    """Yield the documents to embed in parcels; those with the same content are in one, so that it is embedded once.

    What lies in an archive is read when its parcel is asked for: a process elsewhere could not. Documents that can't
    be read are among the parcel's refused ones.
    """
    changed = {work.source for work in plan.changed}
    for number, works in enumerate(_pack(_group_copies(plan.work))):
        part = Plan()
        for work in works:
            try:
                portable = work.portable()
            except DocumentError as error:
                part.refused.append(Refused(work.source, str(error)))
                continue
            (part.changed if work.source in changed else part.added).append(portable)
        yield Parcel(number, part)


def _group_copies(works: Iterable[Work]) -> list[list[Work]]:
    groups: dict[str, list[Work]] = {}
    for work in works:
        groups.setdefault(work.version[:TEXT_DIGITS], []).append(work)
    return list(groups.values())


def _pack(groups: Iterable[list[Work]]) -> Iterator[list[Work]]:
    parcel: list[Work] = []
    size, room = 0, FIRST_BYTES
    for group in groups:
        bytes_more = sum(work.size for work in group)
        full = len(parcel) + len(group) > PARCEL_DOCUMENTS or size + bytes_more > room
        if parcel and full:
            yield parcel
            parcel, size, room = [], 0, PARCEL_BYTES
        parcel += group
        size += bytes_more
    if parcel:
        yield parcel

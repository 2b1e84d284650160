"""A plan is divided into parcels: every document in one, copies together."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rag_chain.cluster.parcels import FIRST_BYTES, PARCEL_BYTES, PARCEL_DOCUMENTS, divide_plan
from rag_chain.errors import DocumentError
from rag_chain.ingestion.plan import Plan, Work


@dataclass(frozen=True)
class PlainFile:
    """A file of so many bytes that nobody reads."""

    size: int
    readable: bool = True
    source: str = "page.md"
    uri: str = "file:///page.md"
    root: str = "file:///"
    needs_process: bool = False

    def read(self) -> bytes:
        """Return nothing."""
        return b""

    def portable(self) -> PlainFile:
        """Return itself, or fail as a member of a broken archive does."""
        if not self.readable:
            raise DocumentError("its archive is broken")
        return self


def make_work(number: int, size: int, version: int, *, readable: bool = True) -> Work:
    return Work(PlainFile(size, readable), f"{number}.md", str(version))


@given(st.lists(st.tuples(st.integers(0, 600_000), st.integers(0, 20)), max_size=60), st.integers(0, 60))
def test_every_document_is_in_one_parcel_and_copies_are_together(sizes: list[tuple[int, int]], changed: int) -> None:
    """Added ones stay added and changed ones changed; no parcel is larger than its bounds, but for copies."""
    works = [make_work(number, *size) for number, size in enumerate(sizes)]
    plan = Plan(added=works[changed:], changed=works[:changed])
    parcels = list(divide_plan(plan))
    assert sorted(w.source for p in parcels for w in p.plan.added) == sorted(w.source for w in plan.added)
    assert sorted(w.source for p in parcels for w in p.plan.changed) == sorted(w.source for w in plan.changed)
    assert [parcel.number for parcel in parcels] == list(range(len(parcels)))
    homes = {(work.version, parcel.number) for parcel in parcels for work in parcel.plan.work}
    assert len(homes) == len({version for version, _ in homes})
    for parcel in parcels:
        distinct = {work.version for work in parcel.plan.work}
        bound = PARCEL_BYTES if parcel.number else FIRST_BYTES
        assert len(distinct) == 1 or sum(work.size for work in parcel.plan.work) <= bound


def test_many_small_documents_are_divided_too() -> None:
    """What is written once more when a writer dies is bounded in documents as well."""
    parcels = list(divide_plan(Plan(added=[make_work(number, 1, number) for number in range(1_000)])))
    assert [len(parcel.plan.work) for parcel in parcels] == [PARCEL_DOCUMENTS, PARCEL_DOCUMENTS, 200]


def test_what_can_not_be_sent_is_refused() -> None:
    """A member of a broken archive costs nothing but itself."""
    plan = Plan(added=[make_work(0, 10, 0), make_work(1, 10, 1, readable=False)])
    (parcel,) = divide_plan(plan)
    assert [work.source for work in parcel.plan.work] == ["0.md"]
    assert [(refused.source, refused.reason) for refused in parcel.plan.refused] == [("1.md", "its archive is broken")]

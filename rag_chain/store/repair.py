"""Find what runs that broke off left behind a collection's name, and remove it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rag_chain.store.filters import ALL, RECORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rag_chain.store.collection import Row, Store
    from rag_chain.store.generations import Generation

FIELDS = ["source", "version", "chunks", "modified"]

# Milvus Lite reads 100,000 chunks in 13 s, and the records of their 10,000 documents in 1 s.
READ_ALL_UP_TO = 20_000

ORPHANED, REPLACED, INCOMPLETE, UNFINISHED = KINDS = (
    "orphaned chunks",
    "replaced versions",
    "incomplete documents",
    "unfinished collections",
)
NOUNS = {
    ORPHANED: ("orphaned chunk", "document"),
    REPLACED: ("replaced chunk", "document"),
    INCOMPLETE: ("chunk", "incomplete document"),
    UNFINISHED: ("chunk", "unfinished collection"),
}
OWNERS_SHOWN = 3


@dataclass(frozen=True)
class StoredVersion:
    """What is stored of one version of a document: its chunks, and what its record says; zeros without a record."""

    source: str
    version: str
    ids: list[str]
    recorded: int = 0
    modified: int = 0


@dataclass(frozen=True)
class LeftOver:
    """Everything of one kind: how many chunks of which documents or collections; ``ids`` of the chunks to delete."""

    kind: str
    owners: list[str]
    chunks: int
    ids: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.owners)

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {"chunks": self.chunks, "of": self.owners}

    def __str__(self) -> str:
        """Return it in words: ``12 orphaned chunks of 2 documents (a.md, b.md)``."""
        chunk, owner = NOUNS[self.kind]
        names = [" ".join(name.split()) for name in self.owners[:OWNERS_SHOWN]]
        more = [f"{len(self.owners) - len(names)} more"] if len(self.owners) > len(names) else []
        return f"{many(self.chunks, chunk)} of {many(len(self.owners), owner)} ({', '.join(names + more)})"


@dataclass(frozen=True)
class Inventory:
    """What is behind a name; ``adds_up`` says whether the records account for every chunk, each document once.

    ``left_over`` has each of the kinds, and nothing when it was not looked for.
    """

    collections: list[Generation]
    documents: int = 0
    chunks: int = 0
    adds_up: bool = True
    left_over: tuple[LeftOver, ...] = ()


def take_inventory(store: Store, *, thorough: bool = False) -> Inventory:
    """Return what is behind the store's name and what broken-off runs left there; the caller has the turn.

    In a large collection that adds up the chunks themselves are read only when ``thorough``: as
    many orphans as there are chunks missing elsewhere would not be seen.
    """
    counted = count_contents(store)
    stored = []
    if counted.chunks and (thorough or counted.chunks <= READ_ALL_UP_TO or not counted.adds_up):
        stored = store.read(ALL, FIELDS, gather_versions)
    unfinished = [one for one in counted.collections if one.state == "unfinished"]
    dropped = LeftOver(UNFINISHED, [one.name for one in unfinished], sum(one.chunks for one in unfinished))
    return replace(counted, left_over=(*sort_out(stored), dropped))


def count_contents(store: Store) -> Inventory:
    """Return what is behind the store's name, also while documents are half-written."""
    generations = store.generations.survey()
    if not store.exists():
        return Inventory(generations)
    store.open_for(None, writing=True)
    chunks = store.count()
    records = store.read(RECORDS, FIELDS, gather_versions)
    documents = len({one.source for one in records})
    adds_up = len(records) == documents and sum(one.recorded for one in records) == chunks
    exact = [replace(one, chunks=chunks) if one.state == "current" else one for one in generations]
    return Inventory(exact, documents, chunks, adds_up)


def gather_versions(rows: Iterable[Row]) -> list[StoredVersion]:
    """Return the documents that the rows belong to, each version of its own."""
    ids: dict[tuple[str, str], list[str]] = {}
    records: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        key = row["source"], row["version"]
        ids.setdefault(key, []).append(row["id"])
        if row["chunks"]:
            records[key] = row["chunks"], row["modified"]
    return [StoredVersion(*key, found, *records.get(key, (0, 0))) for key, found in ids.items()]


def sort_out(stored: Sequence[StoredVersion]) -> list[LeftOver]:
    """Return what to remove; of several whole versions of a document the one modified last stays.

    A run writes the new version's record before it removes the old version, so both are whole.
    """
    whole = [one for one in stored if one.recorded == len(one.ids)]
    newest = {one.source: one for one in sorted(whole, key=lambda one: (one.modified, one.version))}
    kinds = {
        ORPHANED: [one for one in stored if not one.recorded],
        REPLACED: [one for one in whole if one is not newest[one.source]],
        INCOMPLETE: [one for one in stored if one.recorded and one.recorded != len(one.ids)],
    }
    return [_left_over(kind, versions) for kind, versions in kinds.items()]


def remove(store: Store, left: LeftOver) -> LeftOver:
    """Delete these chunks or drop these collections, and no others; return them."""
    if left.kind == UNFINISHED:
        store.generations.drop_unfinished()
    store.remove_chunks(left.ids)
    return left


def many(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _left_over(kind: str, versions: Sequence[StoredVersion]) -> LeftOver:
    ids = [chunk for one in versions for chunk in one.ids]
    return LeftOver(kind, sorted({one.source for one in versions}), len(ids), ids)

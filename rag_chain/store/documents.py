"""The documents of a collection, one by one: list them, read them back, remove one."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from rag_chain.store.filters import RECORDS, build_expression

if TYPE_CHECKING:
    from rag_chain.store.collection import Store

# Chunks of a section overlap; between those of two there is white space only.
GAP = "\n\n"


@dataclass(frozen=True)
class Entry:
    """A document that the collection holds completely."""

    source: str
    title: str
    chunks: int
    modified: int


def list_documents(store: Store) -> list[Entry]:
    """Return the documents by name; none before the first ingest."""
    if not _is_open(store):
        return []
    rows = store.read(RECORDS, ["source", "title", "chunks", "modified"], list)
    entries = {row["source"]: Entry(row["source"], row["title"], row["chunks"], row["modified"]) for row in rows}
    return [entries[source] for source in sorted(entries)]


def read_document(store: Store, source: str) -> str | None:
    """Return a document's text as its chunks have it, or None where there is no such document."""
    if not _is_open(store):
        return None
    rows = store.read(build_expression({"source": [source]}), ["text", "start", "end", "position"], list)
    text, end = "", None
    for row in sorted(rows, key=itemgetter("position")):
        # Below zero: a splitter has changed it, and nobody knows what of it was there before.
        if end is None or row["start"] > end or row["start"] < 0:
            text += (GAP if text else "") + row["text"]
        elif row["end"] > end:
            text += row["text"][end - row["start"] :]
        end = max(end or 0, row["end"])
    return text or None


def remove_document(store: Store, source: str) -> int:
    """Remove a document, when no ingest is running; return how many chunks that were."""
    if not _is_open(store):
        return 0
    with store.take_turn():
        removed = store.remove({source: ""})
        if removed:
            store.flush()
    return removed


def _is_open(store: Store) -> bool:
    """Make the collection ready; False before the first ingest."""
    if not store.exists():
        return False
    store.open_for(None, writing=False)
    return True

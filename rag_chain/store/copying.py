"""Copy chunks from one collection into another as they are stored: only what is missing there travels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.documents import Document

from rag_chain.store.filters import ALL, RECORDS, REST, quote
from rag_chain.store.rows import describe_terms
from rag_chain.store.schema import DENSE, KEY, SPARSE, TERMS, TEXT_BYTES
from rag_chain.store.writing import Portions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from rag_chain.store.collection import Row, Store

# Ids without anything else; Milvus Lite looks at the whole collection for each page.
IDS_PER_PAGE = 16_000
ROWS_PER_READ = 500
# Milvus 2.3 takes 64 MB in a message, and gives 100 MB in a reply.
READ_BYTES, WRITE_BYTES = 64 << 20, 32 << 20


@dataclass(frozen=True)
class Step:
    """What one comparison found, and did: chunks sent, found there already, and removed because the source has none."""

    sent: int = 0
    present: int = 0
    removed: int = 0

    @property
    def changed(self) -> bool:
        """Whether the two were not the same."""
        return bool(self.sent or self.removed)


def copy_missing(
    source: Store,
    target: Store,
    language: str,
    on_chunks: Callable[[int], None],
    send: Callable[[list[Row]], None] | None = None,
) -> Step:
    """Make the target's ids those of the source; chunks that it has already are not read.

    ``language`` is that of the terms, for a target that has BM25 when the source has none. ``on_chunks`` is
    told how many more chunks are there. ``send`` is for rows that come there another way than by being written.
    """
    writer = _Writer(target, language, send)
    # What BM25 makes of the terms can't be written, and every Milvus makes it itself.
    fields = [*(name for name in source.fields() if name not in {KEY, SPARSE}), "$meta"]
    sent = present = removed = 0
    # As in an ingest, a document's record comes after its other chunks.
    for condition in (REST, RECORDS):
        for ids, there in compare_ids(source, target, condition):
            missing, surplus = sorted(ids - there), sorted(there - ids)
            present += len(ids & there)
            on_chunks(len(ids & there))
            for rows in read_rows(source, missing, fields):
                writer.write(rows)
                sent += len(rows)
                on_chunks(len(rows))
            target.remove_chunks(surplus)
            removed += len(surplus)
    return Step(sent, present, removed)


def count_differences(source: Store, target: Store) -> tuple[int, int]:
    """Return how many chunks of the source the target lacks, and how many it has that the source does not."""
    missing = surplus = 0
    for ids, there in compare_ids(source, target, ALL):
        missing += len(ids - there)
        surplus += len(there - ids)
    return missing, surplus


def compare_ids(source: Store, target: Store, condition: str) -> Iterator[tuple[set[str], set[str]]]:
    """Yield the ids that both have, in their order: those of a page of the source, and the target's between them."""
    last = ""
    while ids := read_ids(source, condition, last):
        yield set(ids), set(read_ids(target, condition, last, ids[-1]))
        last = ids[-1]
    while beyond := read_ids(target, condition, last):
        yield set(), set(beyond)
        last = beyond[-1]


def read_ids(store: Store, condition: str, after: str, upto: str = "") -> list[str]:
    """Return a page of ids after one, in their order; or all up to another."""
    bounds = f"{KEY} > {quote(after)}" + (f" and {KEY} <= {quote(upto)}" if upto else "")
    most = None if upto else IDS_PER_PAGE
    return store.read(
        f"{bounds} and ({condition})", [KEY], lambda rows: [row[KEY] for row in islice(rows, most)], IDS_PER_PAGE
    )


def read_rows(store: Store, ids: Sequence[str], fields: list[str]) -> Iterator[list[Row]]:
    """Yield the rows of these ids in groups that a message holds; those that are gone are left out."""
    size = max(1, min(ROWS_PER_READ, READ_BYTES // (4 * store.dimensions() + 2 * TEXT_BYTES))) if ids else 1
    for start in range(0, len(ids), size):
        wanted = list(ids[start : start + size])

        def get(client: Any, wanted: list[str] = wanted) -> list[Row]:
            found: list[Row] = client.get(store.name, wanted, fields, timeout=store.address.timeout)
            return found

        yield store.milvus.run("reading chunks", get)


def read_vectors(store: Store, ids: Sequence[str]) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Yield these chunks' ids and vectors of length 1, in groups of shape (chunks, dimensions)."""
    for rows in filter(None, read_rows(store, ids, [DENSE])):
        vectors = np.array([row[DENSE] for row in rows], np.float32).reshape(len(rows), -1)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        yield [row[KEY] for row in rows], (vectors / np.where(lengths, lengths, 1)).astype(np.float32, copy=False)


class _Writer:
    """Writes stored rows as the target wants them; on Milvus Lite it flushes in portions, as an ingest does."""

    def __init__(self, target: Store, language: str, send: Callable[[list[Row]], None] | None = None) -> None:
        self._target = target
        self._send = send or self._upsert
        self._language = language
        self._with_terms = TERMS in target.fields()
        self._portions = Portions()

    def write(self, rows: Iterable[Row]) -> None:
        """Upsert rows as they were read."""
        for batch in split_by_bytes([self._convert(row) for row in rows], WRITE_BYTES):
            self._send(batch)
            self._portions.count(self._target, len(batch))

    def _upsert(self, batch: list[Row]) -> None:
        target = self._target
        # An insert would give a server two rows of one id when a batch is sent again.
        target.milvus.run(
            "writing chunks", lambda client: client.upsert(target.name, batch, timeout=target.address.timeout)
        )

    def _convert(self, row: Row) -> Row:
        terms = row.pop(TERMS, None)
        row[DENSE] = np.asarray(row[DENSE], np.float32)
        if self._with_terms:
            row[TERMS] = describe_terms(Document(row["text"], metadata=row), self._language) if terms is None else terms
        return row


def split_by_bytes(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Yield the rows in groups of at most so many bytes, about; a larger row is a group of its own."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        own = sum(_bytes(value) for value in row.values())
        if batch and size + own > most:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += own
    if batch:
        yield batch


def _bytes(value: object) -> int:
    return value.nbytes if isinstance(value, np.ndarray) else len(str(value).encode("utf-8", "replace"))

"""BM25 over arrays, in place of the index of Milvus Lite 3.2.2, which counts in Python, posting by posting."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from milvus_lite.index.sparse_inverted import SparseInvertedIndex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Mask: TypeAlias = "NDArray[np.bool_] | None"
Terms: TypeAlias = "Mapping[int, float]"

# An entry of a sparse vector as Milvus Lite stores it.
ENTRY = np.dtype([("term", "<u4"), ("count", "<f4")])


class Bm25Index(SparseInvertedIndex):  # type: ignore[misc]  # milvus_lite has no types
    """The postings of one file, term after term: as Milvus Lite's index, in a tenth of the memory."""

    def build(self, sparse_vectors: Sequence[Terms], valid_mask: Mask = None) -> None:
        """Index rows that are mappings of terms to counts; those that are not valid are left out."""
        kept = [row or {} if valid_mask is None or valid_mask[n] else {} for n, row in enumerate(sparse_vectors)]
        entries = np.array([entry for row in kept for entry in row.items()], ENTRY)
        lengths = np.array([len(row) for row in kept], np.int64)
        self._index(entries, lengths, len(kept) if valid_mask is None else int(np.count_nonzero(valid_mask)))

    def build_from(self, column: Any) -> None:
        """Index an Arrow column of sparse vectors as Milvus Lite stores them."""
        rows = column.to_pylist()
        lengths = np.array([len(row or b"") // ENTRY.itemsize for row in rows], np.int64)
        self._index(np.frombuffer(b"".join(row or b"" for row in rows), ENTRY), lengths, len(rows))

    def _index(self, entries: NDArray[Any], entries_per_row: NDArray[np.int64], rows: int) -> None:
        order = np.argsort(entries["term"], kind="stable")
        self._rows = np.repeat(np.arange(len(entries_per_row), dtype=np.int32), entries_per_row)[order]
        self._counts = entries["count"][order]
        self._terms, starts = np.unique(entries["term"][order], return_index=True)
        self._starts = np.append(starts, len(entries))
        sums = np.concatenate([[0.0], np.cumsum(entries["count"], dtype=np.float64)])
        ends = np.cumsum(entries_per_row)
        self._doc_lengths = (sums[ends] - sums[ends - entries_per_row]).astype(np.float32)
        self.doc_count = rows
        self.avgdl = float(self._doc_lengths.sum() / rows) if rows else 0.0

    def find(self, term: int) -> slice:
        """Return where the postings of a term are."""
        place = int(np.searchsorted(self._terms, term))
        if place == len(self._terms) or self._terms[place] != term:
            return slice(0, 0)
        return slice(int(self._starts[place]), int(self._starts[place + 1]))

    def score(self, query: Terms, statistics: Statistics) -> NDArray[np.float64]:
        """Return the BM25 of every row, 0 for those without a term of the query."""
        scores = np.zeros(len(self._doc_lengths))
        norms = self.k1 * (1 - self.b + self.b * self._doc_lengths / (statistics.mean_length or 1.0))
        for term, weight in query.items():
            place = self.find(term)
            rows, counts = self._rows[place], self._counts[place]
            scores[rows] += weight * statistics.rarity(term) * counts * (self.k1 + 1) / (counts + norms[rows])
        return scores

    def search(
        self, query_sparse_vectors: Sequence[Terms], top_k: int, valid_mask: Mask = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows and distances of the best, each of shape (queries, ``top_k``), padded with -1 and infinity."""
        ids = np.full((len(query_sparse_vectors), top_k), -1, np.int64)
        distances = np.full(ids.shape, np.inf, np.float32)
        statistics = Statistics([self])
        for number, query in enumerate(query_sparse_vectors):
            rows, scores = best(self.score(query, statistics), top_k, valid_mask)
            ids[number, : len(rows)], distances[number, : len(rows)] = rows, -scores
        return ids, distances


class Statistics:
    """How rare terms are and how long rows are, over all files of a collection.

    Milvus Lite counts within each file, so that its scores in two files can't be compared.
    """

    def __init__(self, indexes: Sequence[Bm25Index]) -> None:
        self._indexes = indexes
        self._rows = sum(index.doc_count for index in indexes)
        self.mean_length = sum(index.doc_count * index.avgdl for index in indexes) / (self._rows or 1)
        self._rarities: dict[int, float] = {}

    def rarity(self, term: int) -> float:
        """Return the inverse document frequency of a term, counted once for all files that ask."""
        if term not in self._rarities:
            places = [index.find(term) for index in self._indexes]
            frequency = sum(place.stop - place.start for place in places)
            self._rarities[term] = log((self._rows - frequency + 0.5) / (frequency + 0.5) + 1)
        return self._rarities[term]


def best(scores: NDArray[np.float64], k: int, mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ``k`` rows with the highest scores above zero and these, best first, of equals the first."""
    rows = np.flatnonzero(scores if mask is None else scores * mask)
    if len(rows) > k:
        least = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
        rows = rows[scores[rows] >= least]
    rows = rows[np.argsort(-scores[rows], kind="stable")][:k]
    return rows, scores[rows]

"""Compare what a collection's index finds with an exact search over the vectors that it was copied from."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from rag_chain.store.copying import read_ids, read_vectors
from rag_chain.store.filters import ALL
from rag_chain.store.schema import DENSE, KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from pymilvus import MilvusClient

    from rag_chain.store.collection import Store

DEPTH = 10
# Of the draw of chunks that are searched for: the same collection gives the same.
SEED = 10
QUERIES_PER_CALL = 50
# What sums of float32 in another order may differ by; as near as the tenth is as good as the tenth.
TIE = 1e-6

Vectors: TypeAlias = "NDArray[np.float32]"


@dataclass(frozen=True)
class Recall:
    """The share of the exact ten nearest chunks that the index finds: mean and minimum over the queries."""

    mean: float
    minimum: float
    queries: int


def measure_recall(
    source: Store, target: Store, queries: int, on_chunks: Callable[[int], None] = lambda _: None
) -> Recall | None:
    """Search the target for stored vectors drawn at random, as a question does, and the source exactly.

    One pass over the source's vectors, in bounded memory; ``on_chunks`` is told how many more have been
    looked at. None without chunks or queries.
    """
    drawn = _draw_ids(source, queries)
    if not drawn:
        return None
    vectors = np.concatenate([found for _, found in read_vectors(source, drawn)])
    exact, scores = _search_exactly(source, vectors, on_chunks)
    found = _search_index(target, vectors, exact.shape[1])
    shares = [
        _share(source, *one) for one in zip(vectors, exact.tolist(), scores.min(axis=1).tolist(), found, strict=True)
    ]
    return Recall(float(np.mean(shares)), min(shares), len(shares))


def _draw_ids(store: Store, count: int) -> list[str]:
    """Return ids drawn at random, in one pass (reservoir sampling)."""
    drawn = random.Random(SEED)  # noqa: S311  no secret depends on it
    taken: list[str] = []
    seen = 0
    for ids in _pages(store):
        for one in ids:
            seen += 1
            if len(taken) < count:
                taken.append(one)
            elif (place := drawn.randrange(seen)) < count:
                taken[place] = one
    return taken


def _search_exactly(
    store: Store, queries: Vectors, on_chunks: Callable[[int], None]
) -> tuple[NDArray[np.object_], Vectors]:
    """Return ids and cosines of each query's nearest chunks, of shape (queries, at most DEPTH), in no order."""
    ids = np.empty((len(queries), 0), object)
    scores = np.empty((len(queries), 0), np.float32)
    for page in _pages(store):
        for names, vectors in read_vectors(store, page):
            scores = np.hstack([scores, queries @ vectors.T])
            ids = np.hstack([ids, np.broadcast_to(np.array(names, object), (len(queries), len(names)))])
            if scores.shape[1] > DEPTH:
                best = np.argpartition(-scores, DEPTH - 1, axis=1)[:, :DEPTH]
                ids, scores = np.take_along_axis(ids, best, 1), np.take_along_axis(scores, best, 1)
            on_chunks(len(names))
    return ids, scores


def _search_index(store: Store, queries: Vectors, depth: int) -> list[list[str]]:
    """Return the ids that the index finds for each query, with the search parameters that questions are asked with."""
    found: list[list[str]] = []
    parameters = store.layout.search_arguments(store.index.require(), depth)
    for start in range(0, len(queries), QUERIES_PER_CALL):
        some = queries[start : start + QUERIES_PER_CALL].tolist()

        def search(client: MilvusClient, some: list[list[float]] = some) -> list[list[str]]:
            results = client.search(
                store.name,
                data=some,
                anns_field=DENSE,
                search_params=parameters,
                limit=depth,
                output_fields=[KEY],
                consistency_level="Strong",
                timeout=store.address.timeout,
            )
            return [[hit[KEY] for hit in hits] for hits in results]

        found += store.milvus.run("searching", search)
    return found


def _share(source: Store, query: Vectors, exact: list[str], last: float, found: list[str]) -> float:
    """Return the share of the found ones that are right: among the exact, or as near as the last of them."""
    others = [one for one in dict.fromkeys(found) if one not in exact]
    right = len(set(found)) - len(others)
    for _, vectors in read_vectors(source, others):
        right += int((vectors @ query >= last - TIE).sum())
    return right / len(exact)


def _pages(store: Store) -> Iterator[list[str]]:
    last = ""
    while ids := read_ids(store, ALL, last):
        yield ids
        last = ids[-1]

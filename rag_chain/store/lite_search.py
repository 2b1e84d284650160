"""Searching in Milvus Lite 3.2.2 over arrays.

For each search Milvus Lite looks up every row of the collection in dictionaries, to see whether it was written over or
deleted since, and counts BM25 in Python, posting by posting. Here what is alive is found out once for each state of the
files, and postings are arrays: for 10,000 chunks of 768 dimensions a search by words takes 3 ms where it took 55, and
one by vectors 5 ms where it took 14. While there are rows that have not been flushed yet, Milvus Lite searches itself.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rag_chain.store.lite_bm25 import Bm25Index, Statistics, best

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from milvus_lite.engine.collection import Collection
    from milvus_lite.storage.delta_index import DeltaIndex
    from milvus_lite.storage.segment import Segment
    from numpy.typing import NDArray

    from rag_chain.store.lite_bm25 import Mask

# Of a hit: its distance, the number of its file and of the row there.
Hit: TypeAlias = "tuple[float, int, int]"


class Snapshot(tuple):  # type: ignore[type-arg]  # of segments, which have no types
    """The files of a collection as a search sees them, with what is alive in them."""

    collection: Collection

    def living(self, deleted: DeltaIndex) -> list[Mask]:
        """Return for each file which rows are neither written over nor deleted; None when all are alive."""
        state = tuple(segment.file_path for segment in self), deleted._map  # noqa: SLF001
        known = vars(self.collection).get("_living")
        if known is None or known[0] != state:
            known = state, find_living(self, deleted._map)  # noqa: SLF001
            vars(self.collection)["_living"] = known
        masks: list[Mask] = known[1]
        return masks


def find_living(segments: Sequence[Segment], deleted: Mapping[Any, int]) -> list[Mask]:
    """Return for each file which rows are the newest of their key and were not deleted after; None for all."""
    newest: dict[Any, int] = {}
    for segment in segments:
        for key, number in zip(segment.pks, segment.seqs.tolist(), strict=True):
            if newest.get(key, -1) < number:
                newest[key] = number
    masks = []
    for segment in segments:
        rows = zip(segment.pks, segment.seqs.tolist(), strict=True)
        alive = (newest[key] == number and deleted.get(key, -1) <= number for key, number in rows)
        mask = np.fromiter(alive, np.bool_, len(segment.pks))
        masks.append(None if mask.all() else mask)
    return masks


def mend_search() -> None:
    """Have Milvus Lite search over arrays."""
    from milvus_lite.engine import collection
    from milvus_lite.index import sparse_factory

    sparse_factory.SparseInvertedIndex = Bm25Index
    _carry_what_is_alive(collection.Collection)
    _search_words(collection.Collection)
    _search_vectors(collection)


def _carry_what_is_alive(collection: type[Collection]) -> None:
    theirs = collection._read_snapshot  # noqa: SLF001

    @wraps(theirs)
    def read(self: Collection) -> tuple[Snapshot, DeltaIndex]:
        segments, deleted = theirs(self)
        snapshot = Snapshot(segments)
        snapshot.collection = self
        return snapshot, deleted

    collection._read_snapshot = read  # noqa: SLF001


def _search_vectors(module: Any) -> None:
    theirs = module.execute_search_with_index

    @wraps(theirs)
    def search(*, segments: Any, memtable: Any, partition_names: Any = None, **others: Any) -> list[list[Any]]:
        if not isinstance(segments, Snapshot) or partition_names or memtable.size():
            asked = {"segments": segments, "memtable": memtable, "partition_names": partition_names}
            found: list[list[Any]] = theirs(**asked, **others)
            return found
        return search_vectors(segments, **others)

    module.execute_search_with_index = search


def search_vectors(
    segments: Snapshot,
    *,
    query_vectors: NDArray[np.float32],
    delta_index: DeltaIndex,
    top_k: int,
    metric_type: str,
    vector_field: str,
    compiled_filter: Any,
    output_fields: list[str] | None,
    indexed_filter_plan: Any,
    search_params: Any,
    **_: Any,
) -> list[list[dict[str, Any]]]:
    """Search by vectors: in each file by its index, then the best of all."""
    from milvus_lite.index.brute_force import BruteForceIndex

    hits: list[list[Hit]] = [[] for _ in query_vectors]
    for number, (segment, alive) in enumerate(zip(segments, segments.living(delta_index), strict=True)):
        vectors, present = segment.vector_data(vector_field)
        mask = _both(_both(alive, present), _select(segment, compiled_filter, indexed_filter_plan))
        if not segment.num_rows or (mask is not None and not mask.any()):
            continue
        index = segment.indexes.get(vector_field) or BruteForceIndex.build(vectors, metric_type)
        rows, distances = index.search(query_vectors, top_k, valid_mask=mask, params=search_params)
        for found, row, distance in zip(hits, rows.tolist(), distances.tolist(), strict=True):
            found += [(d, number, r) for d, r in zip(distance, row, strict=True) if r >= 0]
    return [_show(segments, sorted(found)[:top_k], output_fields) for found in hits]


def _search_words(collection: type[Collection]) -> None:
    theirs = collection._search_sparse  # noqa: SLF001

    @wraps(theirs)
    def search(self: Collection, *, metric_type: str, partition_names: Any, **others: Any) -> list[list[Any]]:
        if metric_type != "BM25" or partition_names or self._memtable.size():
            found: list[list[Any]] = theirs(self, metric_type=metric_type, partition_names=partition_names, **others)
            return found
        return search_words(self, **others)

    collection._search_sparse = search  # noqa: SLF001


def search_words(
    collection: Collection,
    *,
    query_vectors: list[Any],
    vector_field: str,
    top_k: int,
    expr: str | None,
    output_fields: list[str] | None,
    timezone: str | None,
) -> list[list[dict[str, Any]]]:
    """Search by words: BM25 with the statistics of the whole collection."""
    queries = collection._prepare_sparse_queries(query_vectors, vector_field)  # noqa: SLF001
    chosen = collection._compile_filter(expr, timezone=timezone) if expr else None  # noqa: SLF001
    plan = collection._indexed_filter_plan(chosen)  # noqa: SLF001
    segments, deleted = collection._read_snapshot()  # noqa: SLF001
    indexes = [_index_of(segment, vector_field, collection) for segment in segments]
    statistics = Statistics(indexes)
    hits: list[list[Hit]] = [[] for _ in queries]
    for number, (segment, alive) in enumerate(zip(segments, segments.living(deleted), strict=True)):
        mask = _both(alive, _select(segment, chosen, plan))
        for found, query in zip(hits, queries, strict=True):
            rows, scores = best(indexes[number].score(query, statistics), top_k, mask)
            found += [(-score, number, row) for score, row in zip(scores.tolist(), rows.tolist(), strict=True)]
    return [_show(segments, sorted(found)[:top_k], output_fields) for found in hits]


def _index_of(segment: Segment, field: str, collection: Collection) -> Bm25Index:
    """Return a file's postings, made when they are first asked for."""
    from milvus_lite.index.sparse_factory import create_sparse_index, sparse_index_matches

    specification = collection._index_specs.get(field)  # noqa: SLF001
    parameters = specification.build_params if specification else {}
    index = segment.sparse_indexes.get(field)
    if not sparse_index_matches(index, "BM25", parameters):
        index = create_sparse_index("BM25", parameters)
        index.build_from(segment.table.column(field))
        segment.sparse_indexes[field] = index
    made: Bm25Index = index
    return made


def _select(segment: Segment, compiled_filter: Any, plan: Any) -> Mask:
    """Return which rows of a file satisfy a filter."""
    if compiled_filter is None:
        return None
    from milvus_lite.search.indexed_filter import evaluate_segment_filter

    mask: NDArray[np.bool_] = evaluate_segment_filter(segment, compiled_filter, plan).astype(np.bool_)
    return mask


def _both(one: Mask, other: Mask) -> Mask:
    return other if one is None else one if other is None else one & other


def _show(segments: Snapshot, hits: Sequence[Hit], output_fields: list[str] | None) -> list[dict[str, Any]]:
    """Return the hits with the fields that were asked for, read file by file and only these."""
    from milvus_lite.engine.projection import build_projection_plan

    plan = build_projection_plan(output_fields, segments.collection._schema, api_kind="search")  # noqa: SLF001
    entities: dict[tuple[int, int], dict[str, Any]] = {}
    for number in {number for _, number, _ in hits}:
        rows = [row for _, where, row in hits if where == number]
        read = _read_rows(segments[number].table, rows, plan, segments.collection._schema)  # noqa: SLF001
        entities |= {(number, row): entity for row, entity in zip(rows, read, strict=True)}
    return [
        {"id": segments[number].pks[row], "distance": distance, "entity": entities[number, row]}
        for distance, number, row in hits
    ]


def _read_rows(table: Any, rows: list[int], plan: Any, schema: Any) -> list[dict[str, Any]]:
    """Return the fields of rows, those that are not of the schema, too."""
    from milvus_lite.engine.projection import decode_meta

    keys = {field.name for field in schema.fields if field.is_primary}
    names = [name for name in plan.response_schema_fields if name not in keys]
    free = schema.enable_dynamic_field and (plan.include_all_dynamic or plan.explicit_dynamic_fields)
    # A table without columns has no rows either.
    if not (columns := [*names, *(["$meta"] if free else [])]):
        return [{} for _ in rows]
    found: list[dict[str, Any]] = table.select(columns).take(rows).to_pylist()
    if not free:
        return found
    known = {field.name for field in schema.fields}
    for record in found:
        others = decode_meta(record.pop("$meta"))
        wanted = others if plan.include_all_dynamic else plan.explicit_dynamic_fields
        record.update((name, others[name]) for name in wanted if name in others and name not in known)
    return found

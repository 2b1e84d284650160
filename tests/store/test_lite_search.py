"""A search over arrays finds what Milvus Lite finds, and what BM25 says."""

from __future__ import annotations

from collections import Counter
from math import log
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milvus_lite.analyzer.sparse import bytes_to_sparse
from milvus_lite.engine import collection as engine
from milvus_lite.index.sparse_inverted import SparseInvertedIndex

from rag_chain.store import lite
from rag_chain.store.collection import Store
from rag_chain.store.links import Address
from rag_chain.store.lite_bm25 import Bm25Index
from rag_chain.store.schema import BM25
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")

WORDS = "milvus", "stores", "rows", "files", "index", "vector"
TERMS = st.dictionaries(st.integers(0, 8), st.integers(1, 5).map(float), max_size=6)
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
# What is done to one of five documents: written anew with this text, or removed; and whether all is flushed then.
STEPS = st.lists(st.tuples(st.integers(0, 4), TEXTS | st.none(), st.booleans()), min_size=1, max_size=12)

OUTPUT_FIELDS = ["text", "source", "position", "$meta"]
FIELDS = st.sampled_from([None, [], ["id"], ["*"], ["text"], ["page"], ["source", "topic", "nowhere"], ["id", "$meta"]])


@given(st.lists(TERMS, max_size=12), st.lists(TERMS, min_size=1, max_size=3), st.integers(1, 15), st.data())
def test_bm25_is_that_of_milvus_lite(rows: list[Any], queries: list[Any], k: int, data: st.DataObject) -> None:
    """Same scores, best first, whatever is left out at making and at asking."""
    masks = st.none() | st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)).map(np.array)
    made, asked = (data.draw(masks) if rows else None for _ in range(2))
    ours, theirs = Bm25Index(1.2, 0.75), SparseInvertedIndex(1.2, 0.75)
    ours.build(rows, made)
    theirs.build(rows, made)
    ids, distances = ours.search(queries, k, asked)
    expected_ids, expected = theirs.search(queries, k, asked)
    assert (ids.dtype, distances.dtype) == (expected_ids.dtype, expected.dtype)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    for found, wanted, scores in zip(ids, expected_ids, expected, strict=True):
        # Which of equal rows is named, and at the end taken along, is left open.
        sure = {int(row) for row, score in zip(wanted, scores, strict=True) if score < scores[-1] - 1e-5}
        assert sure <= set(found.tolist())
        assert ((found < 0) == (wanted < 0)).all()
        assert len({*found.tolist()} - {-1}) == np.count_nonzero(found >= 0)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A Milvus Lite path for all examples, each of which begins with a new collection."""
    with Store(Address(str(tmp_path_factory.mktemp("lite") / "test.db")), "documents") as store:
        yield store


@given(STEPS, TEXTS, st.sampled_from(["", 'source != "2.md"', "start == 0 and position >= 0"]), FIELDS)
@settings(max_examples=40, deadline=None)
def test_both_ways_of_searching_agree(
    kept: Store, steps: Any, question: str, expression: str, fields: list[str] | None
) -> None:
    """Whatever was written over, removed and flushed: by vectors the hits of Milvus Lite, by words those of BM25."""
    kept.create(FINGERPRINT, 64)
    alive: dict[str, str] = {}
    for number, text, flushed in [*steps, (5, "milvus", True)]:
        source = f"{number}.md"
        if text is None:
            kept.remove({source: ""})
            alive.pop(source, None)
        else:
            write(kept, make_chunks(source, text, version="v", page=number, topic="the store"))
            alive[source] = text
        if flushed:
            kept.flush()
    wanted = {source: text for source, text in alive.items() if "source" not in expression or source != "2.md"}

    hits, with_fields = search_vectors(kept, expression), search_vectors(kept, expression, fields)
    with as_milvus_lite_does():
        expected = search_vectors(kept, expression, fields)
    assert {hit["id"]: hit for hit in with_fields} == {hit["id"]: hit for hit in expected}
    assert [hit["distance"] for hit in with_fields] == [hit["distance"] for hit in expected]
    assert {hit["entity"]["source"]: hit["entity"]["text"] for hit in hits} == wanted

    found, by_formula = while_files_stay(
        kept,
        lambda: (scores_of(search_words(kept, question, expression)), bm25(kept, question)),
    )
    ids = {make_chunks(source, text, version="v")[0].id for source, text in wanted.items()}
    assert found == pytest.approx({key: score for key, score in by_formula.items() if key in ids}, rel=1e-5)


def test_bm25_has_the_parameters_of_the_schema(kept: Store) -> None:
    """Milvus Lite looks for them where Milvus does not, and says nothing when it finds none."""
    kept.create(FINGERPRINT, 64)
    assert dict(collection_of(kept)._index_specs["sparse"].build_params) == BM25


def test_rows_that_were_not_flushed_are_found(kept: Store) -> None:
    """A search sees what was written and removed just before it, by vectors and by words."""
    kept.create(FINGERPRINT, 64)
    write(kept, make_chunks("a.md", "milvus stores rows"), make_chunks("c.md", "milvus"))
    kept.flush()
    write(kept, make_chunks("b.md", "milvus stores files"))
    kept.remove({"a.md": ""})
    for hits in (search_vectors(kept), search_words(kept, "milvus")):
        assert {hit["entity"]["source"] for hit in hits} == {"b.md", "c.md"}


def search_vectors(store: Store, expression: str = "", fields: list[str] | None = OUTPUT_FIELDS) -> list[Any]:
    vector: list[float] = np.eye(1, 64)[0].tolist()
    asked = {"data": [vector], "anns_field": "dense", "search_params": {"metric_type": "COSINE"}}
    return search(store, expression, fields, **asked)


def search_words(store: Store, words: str, expression: str = "") -> list[Any]:
    asked = {"data": [words], "anns_field": "sparse", "search_params": {"metric_type": "BM25"}}
    return search(store, expression, OUTPUT_FIELDS, **asked)


def search(store: Store, expression: str, fields: list[str] | None, **asked: Any) -> list[Any]:
    options = {"filter": expression, "output_fields": fields, "limit": 10, "timeout": 30}
    return list(store.client.search(store.name, **asked, **options)[0])


def scores_of(hits: list[Any]) -> dict[str, float]:
    return {hit["id"]: -hit["distance"] for hit in hits}


def as_milvus_lite_does() -> AbstractContextManager[Any]:
    theirs = engine.execute_search_with_index.__wrapped__
    return patch.object(engine, "execute_search_with_index", theirs)


def collection_of(store: Store) -> Any:
    """The engine's own object for a collection."""
    return lite._held[store.address.uri]._db.get_collection(store.generations.current())


def while_files_stay(store: Store, act: Callable[[], T]) -> T:
    """Act, once more if Milvus Lite has put files together meanwhile."""
    while True:
        before = list(collection_of(store)._segment_cache)
        done = act()
        if list(collection_of(store)._segment_cache) == before:
            return done


def bm25(store: Store, question: str) -> dict[str, float]:
    """BM25 by its formula of every row in a file that has some; rows that were written over count along."""
    collection = collection_of(store)
    rows = [
        (key, bytes_to_sparse(value))
        for segment in collection._segment_cache.values()
        for key, value in zip(segment.pks, segment.table.column("sparse").to_pylist(), strict=True)
    ]
    mean = sum(sum(counts.values()) for _, counts in rows) / len(rows)
    scores = Counter[str]()
    for term, weight in collection._prepare_sparse_queries([question], "sparse")[0].items():
        having = sum(term in counts for _, counts in rows)
        rarity = log((len(rows) - having + 0.5) / (having + 0.5) + 1)
        # Of a key the newest row comes last.
        for key, counts in dict(rows).items():
            norm = 1.5 * (1 - 0.75 + 0.75 * sum(counts.values()) / mean)
            scores[key] += weight * rarity * counts.get(term, 0) * 2.5 / (counts.get(term, 0) + norm)
    return {key: score for key, score in scores.items() if score}

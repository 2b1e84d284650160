"""What the vector store refuses: to write past the ingest, and to take a caller's text for an expression."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_milvus import Milvus

from rag_chain.errors import QuestionError, SettingsError, StoreError
from rag_chain.store.vectorstore import ChunkStore
from tests.fake_embeddings import FakeEmbeddings
from tests.store.chunks import make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from rag_chain.store.collection import Store

DOCUMENTS = [Document("new", id="1")]
MODEL = FakeEmbeddings()

# Every way to write that langchain-milvus 0.4 and langchain-core 1.7 have, called as their users call them.
WRITES: dict[str, Callable[[Any], Any]] = {
    "add_texts": lambda s: s.add_texts(["new"], ids=["1"]),
    "aadd_texts": lambda s: s.aadd_texts(["new"]),
    "add_documents": lambda s: s.add_documents(DOCUMENTS),
    "aadd_documents": lambda s: s.aadd_documents(DOCUMENTS),
    "add_embeddings": lambda s: s.add_embeddings(["new"], [[1.0] * 64]),
    "aadd_embeddings": lambda s: s.aadd_embeddings(["new"], [[1.0] * 64]),
    "upsert": lambda s: s.upsert(ids=["1"], documents=DOCUMENTS),
    "aupsert": lambda s: s.aupsert(documents=DOCUMENTS),
    "delete": lambda s: s.delete(held(s)),
    "adelete": lambda s: s.adelete(held(s)),
    "drop": lambda s: s.drop(),
    "from_texts": lambda s: type(s).from_texts(["new"], MODEL, collection_name="documents"),
    "afrom_texts": lambda s: type(s).afrom_texts(["new"], MODEL),
    "from_documents": lambda s: type(s).from_documents(DOCUMENTS, MODEL),
    "afrom_documents": lambda s: type(s).afrom_documents(DOCUMENTS, MODEL),
}
# These would take a raw expression.
EXPRESSIONS: dict[str, Callable[[Any], Any]] = {
    "search_by_metadata": lambda s: s.search_by_metadata('id != ""'),
    "asearch_by_metadata": lambda s: s.asearch_by_metadata('id != ""'),
    "get_pks": lambda s: s.get_pks('id != ""'),
    "aget_pks": lambda s: s.aget_pks('id != ""'),
}
SEARCHES = (
    "similarity_search",
    "similarity_search_with_score",
    "similarity_search_with_relevance_scores",
    "max_marginal_relevance_search",
    "similarity_search_by_vector",
    "similarity_search_with_score_by_vector",
    "max_marginal_relevance_search_by_vector",
)
READS = {
    *SEARCHES,
    *(f"a{name}" for name in SEARCHES),
    "search",
    "asearch",
    "as_retriever",
    "get_by_ids",
    "aget_by_ids",
}
# Names of no call that reads or writes.
OTHERS = {"client", "aclient", "col", "embeddings", "vector_fields"}


def held(store: ChunkStore) -> list[str]:
    """Return the ids of the chunks that are there."""
    return [str(chunk.id) for chunk in store.similarity_search("one", k=9)]


def finish(result: Any) -> Any:
    """Await what has to be awaited."""

    async def wait() -> Any:
        return await result

    return asyncio.run(wait()) if inspect.isawaitable(result) else result


@pytest.fixture
def chunks(store: Store) -> ChunkStore:
    write(store, make_chunks("a.md", "one", "two"))
    store.flush()
    return ChunkStore(store, MODEL)


def refusals(chunks: ChunkStore, calls: dict[str, Callable[[Any], Any]], error: type[Exception]) -> dict[str, str]:
    """Return what each call is refused with; the test fails at one that is not."""
    told = {}
    for name, call in calls.items():
        with pytest.raises(error) as caught:
            finish(call(chunks))
        told[name] = str(caught.value)
    return told


def test_what_writes_is_refused(chunks: ChunkStore, store: Store) -> None:
    """Nothing is written or deleted, and each error names the call that does it."""
    told = refusals(chunks, WRITES, StoreError)
    assert all("rag_chain.ingest(" in said for said in told.values()), told
    assert store.count() == 2


def test_raw_expressions_are_refused(chunks: ChunkStore) -> None:
    """Each error names the calls that take a filter or ids."""
    told = refusals(chunks, EXPRESSIONS, SettingsError)
    assert all("filter=" in said and "get_by_ids" in said for said in told.values()), told


def test_every_call_of_the_vendor_is_known() -> None:
    """A method that a newer langchain-milvus or langchain-core brings is looked at before it is there for callers."""
    public = {name for name in dir(Milvus) if not name.startswith("_")}
    assert public - OTHERS == WRITES.keys() | EXPRESSIONS.keys() | READS


def test_a_retriever_and_an_index_can_not_write_either(chunks: ChunkStore, store: Store) -> None:
    """They go the same way."""
    with pytest.raises(StoreError, match=r"rag_chain\.ingest\("):
        chunks.as_retriever().add_documents(DOCUMENTS)
    with pytest.raises(StoreError, match=r"rag_chain\.ingest\("):
        finish(chunks.as_retriever().aadd_documents(DOCUMENTS))
    records = InMemoryRecordManager("documents")
    records.create_schema()
    with pytest.raises(StoreError, match=r"rag_chain\.ingest\("):
        index(DOCUMENTS, records, chunks, key_encoder="sha256")
    assert store.count() == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"expr": 'id != ""'}, "filter={"),
        ({"param": {"ef": 9}}, "param: "),
        ({"filter": callable}, "filter: is a mapping"),
        ({"filter": 'source == "a.md"'}, "filter: is a mapping"),
        ({"filter": {"id == id or id": "x"}}, "not the name of a metadata field"),
        ({"filter": {"tenant": "another"}}, "your own"),
        ({"k": 0, "fetch_k": 0}, "k: must be"),
        ({"k": 20_000}, "k: must be"),
    ],
    ids=str,
)
def test_no_search_takes_more_than_it_says(chunks: ChunkStore, options: dict[str, Any], told: str) -> None:
    """What would be passed on to Milvus, or left out in silence, is refused with what to use, sync and async."""
    vector = MODEL.embed_query("one")
    for name in SEARCHES:
        given = vector if name.endswith("by_vector") else "one"
        known = {key: value for key, value in options.items() if key != "fetch_k" or "max_marginal" in name}
        for prefix in ("", "a"):
            with pytest.raises(SettingsError) as caught:
                finish(getattr(chunks, prefix + name)(given, **known))
            assert told in str(caught.value), prefix + name


def test_a_vector_that_fits_none_is_refused(chunks: ChunkStore) -> None:
    """A wrong length, no direction, no vector: each in one line."""
    wrong: list[Any] = [[0.0] * 64, [float("nan")] * 64, [1.0] * 63, [[1.0] * 64], []]
    for search in (chunks.similarity_search_by_vector, chunks.max_marginal_relevance_search_by_vector):
        for vector in wrong:
            with pytest.raises(QuestionError, match="vector to search by"):
                search(vector)

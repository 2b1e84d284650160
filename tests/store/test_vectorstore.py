"""Reading the collection through LangChain's vector store, from any event loop, before and after the first ingest."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from langchain_core.vectorstores import VectorStore

from rag_chain.errors import ConnectionLostError, EmptyStoreError, FingerprintError, SettingsError, StoreError
from rag_chain.store.chunk_index import ChunkIndex
from rag_chain.store.collection import Store
from rag_chain.store.vectorstore import ChunkStore
from tests.fake_embeddings import FakeEmbeddings
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.documents import Document

    from rag_chain.store.links import Address
    from tests.store.conftest import OpenStore

QUESTION = "where do brown bears sleep"


@pytest.fixture
def embeddings() -> FakeEmbeddings:
    return FakeEmbeddings()


@pytest.fixture
def chunks(store: Store, embeddings: FakeEmbeddings) -> ChunkStore:
    """A collection with three documents, one of which answers the question."""
    write(
        store,
        make_chunks("bears.md", "brown bears sleep in winter", "salmon swim in rivers", heading="Animals", page=2),
        make_chunks("tides.md", "the moon pulls the ocean"),
        make_chunks("stars.txt", "stars shine at night"),
    )
    store.flush()
    return ChunkStore(store, embeddings)


@pytest.fixture
def index(address: Address, embeddings: FakeEmbeddings) -> Iterator[ChunkIndex]:
    """An index over a collection that may not exist yet."""
    opened: list[Store] = []

    def open_store() -> Store:
        opened.append(Store(address, "documents"))
        return opened[-1]

    yield ChunkIndex(open_store, FINGERPRINT, embeddings)
    for store in opened:
        store.close()


def texts(found: list[tuple[Document, float]]) -> list[str]:
    return [document.page_content for document, _ in found]


def test_the_nearest_come_first(chunks: ChunkStore, embeddings: FakeEmbeddings) -> None:
    """Chunks come in the order of their raw cosines, of which 1 is the best."""
    found = chunks.nearest(embeddings.embed_query("brown bears sleep in winter"), 4)
    scores = [score for _, score in found]
    assert texts(found)[0] == "brown bears sleep in winter"
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert scores == sorted(scores, reverse=True)
    assert len(found) == 4


def test_k_is_the_most_that_is_returned(chunks: ChunkStore, embeddings: FakeEmbeddings) -> None:
    """Fewer come only when there are no more."""
    vector = embeddings.embed_query(QUESTION)
    assert [len(chunks.nearest(vector, k)) for k in (1, 3, 10)] == [1, 3, 4]


def test_chunks_bring_their_place_and_metadata(chunks: ChunkStore, embeddings: FakeEmbeddings) -> None:
    """All that an answer cites is there, and no vector."""
    (document, _), *_ = chunks.nearest(embeddings.embed_query(QUESTION), 1)
    known = document.metadata
    assert (known["source"], known["heading"], known["page"]) == ("bears.md", "Animals", 2)
    assert (known["start"], known["end"], known["position"], known["version"]) == (0, 27, 0, "v1")
    assert not {"dense", "sparse", "text"} & known.keys()


def test_a_filter_narrows_the_search(chunks: ChunkStore, embeddings: FakeEmbeddings) -> None:
    """Only chunks that satisfy it are returned, the nearest of them first."""
    vector = embeddings.embed_query(QUESTION)
    assert texts(chunks.nearest(vector, 5, {"source": "*.txt"})) == ["stars shine at night"]
    assert len(chunks.nearest(vector, 5, {"page": 2})) == 2
    assert chunks.nearest(vector, 5, {"source": "nowhere/*"}) == []


def test_what_wildcards_select_too_much_does_not_cost_results(store: Store, embeddings: FakeEmbeddings) -> None:
    """Where many nearer chunks only seem to match, the search looks further."""
    decoys = [make_chunks(f"aXb{number}", "brown bears sleep") for number in range(60)]
    write(store, *decoys, make_chunks("a_b", "the moon pulls the ocean"))
    store.flush()
    found = ChunkStore(store, embeddings).nearest(embeddings.embed_query(QUESTION), 2, {"source": "a_b*"})
    assert texts(found) == ["the moon pulls the ocean"]


def test_a_filter_that_makes_no_sense_is_refused(chunks: ChunkStore, embeddings: FakeEmbeddings) -> None:
    """It is refused before Milvus sees it."""
    with pytest.raises(SettingsError, match="filter"):
        chunks.nearest(embeddings.embed_query(QUESTION), 1, {"id == id or id": "x"})


def test_it_is_a_langchain_vector_store(chunks: ChunkStore) -> None:
    """The searches of LangChain's interface work, and so does its retriever."""
    assert isinstance(chunks, VectorStore)
    expected = "brown bears sleep in winter"
    assert chunks.similarity_search(QUESTION, k=1)[0].page_content == expected
    assert chunks.similarity_search_with_score(QUESTION, k=1)[0][0].page_content == expected
    assert chunks.max_marginal_relevance_search(QUESTION, k=2)[0].page_content == expected
    assert chunks.as_retriever(search_kwargs={"k": 1}).invoke(QUESTION)[0].page_content == expected


def test_one_store_serves_several_event_loops(chunks: ChunkStore, embeddings: FakeEmbeddings) -> None:
    """Asynchronous searches work in two loops one after the other, many at once."""

    async def search() -> list[str]:
        vector = await embeddings.aembed_query(QUESTION)
        found = await asyncio.gather(*(chunks.asimilarity_search(QUESTION, k=1) for _ in range(5)))
        scored = await chunks.asimilarity_search_with_score(QUESTION, k=1)
        by_vector = await chunks.asimilarity_search_with_score_by_vector(vector, k=1)
        diverse = await chunks.amax_marginal_relevance_search(QUESTION, k=1)
        retrieved = await chunks.as_retriever(search_kwargs={"k": 1}).ainvoke(QUESTION)
        documents = [*(one for many in found for one in many), *diverse, *retrieved, scored[0][0], by_vector[0][0]]
        return [document.page_content for document in documents]

    assert asyncio.run(search()) == asyncio.run(search()) == ["brown bears sleep in winter"] * 9


def test_searching_many_times_changes_nothing(chunks: ChunkStore) -> None:
    """A search leaves nothing behind in the store object."""
    first = chunks.similarity_search(QUESTION, k=4)
    for _ in range(20):
        chunks.similarity_search(QUESTION, k=4)
    assert chunks.similarity_search(QUESTION, k=4) == first


def test_chunks_can_not_be_added_past_the_ingest(chunks: ChunkStore, store: Store) -> None:
    """Ids, versions and records stay in step, since only an ingest writes."""
    with pytest.raises(StoreError, match="ingest"):
        chunks.add_texts(["new"])
    with pytest.raises(StoreError, match="ingest"):
        chunks.aadd_texts(["new"])
    assert store.count() == 4


def test_a_reader_follows_a_rebuild(chunks: ChunkStore, store: Store, embeddings: FakeEmbeddings) -> None:
    """An open vector store answers from the new collection once it is published."""
    vector = embeddings.embed_query(QUESTION)
    with store.rebuild(FINGERPRINT, 64) as new:
        write(new, make_chunks("new.md", "brown bears sleep in caves"))
        new.flush()
        assert texts(chunks.nearest(vector, 1)) == ["brown bears sleep in winter"]
        store.publish(new)
    assert texts(chunks.nearest(vector, 5)) == ["brown bears sleep in caves"]


def test_an_index_can_be_built_before_the_first_ingest(
    index: ChunkIndex, open_store: OpenStore, embeddings: FakeEmbeddings
) -> None:
    """It says that there is nothing yet, keeps nothing open, and answers once there is something."""
    vector = embeddings.embed_query(QUESTION)
    for _ in range(2):
        with pytest.raises(EmptyStoreError, match="rag-chain ingest"):
            index.nearest(vector, 1)
    store = open_store()
    store.create(FINGERPRINT, 64)
    assert index.nearest(vector, 1) == []
    write(store, make_chunks("a.md", "brown bears"))
    store.flush()
    assert texts(index.nearest(vector, 1)) == ["brown bears"]
    assert texts(index.nearest(vector, 1, {"source": "a.*"})) == ["brown bears"]


@pytest.mark.usefixtures("chunks")
def test_an_index_is_opened_once_more_when_its_server_ends_meanwhile(
    open_store: OpenStore, embeddings: FakeEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that serves the path may end between two of the steps of opening it."""
    lost: list[Store] = []

    class Losing(ChunkStore):
        def __init__(self, store: Store, embeddings: FakeEmbeddings) -> None:
            if not lost:
                lost.append(store)
                raise ConnectionLostError("lost the connection to Milvus while opening the collection")
            super().__init__(store, embeddings)

    monkeypatch.setattr("rag_chain.store.chunk_index.ChunkStore", Losing)
    index = ChunkIndex(open_store, FINGERPRINT, embeddings)
    assert texts(index.nearest(embeddings.embed_query(QUESTION), 1)) == ["brown bears sleep in winter"]
    assert len(lost) == 1


def test_an_index_refuses_another_model(store: Store, open_store: OpenStore, embeddings: FakeEmbeddings) -> None:
    """A collection that another model made is not searched with this one's vectors."""
    index = ChunkIndex(partial(open_store, "documents"), FINGERPRINT | {"model": "other"}, embeddings)
    with pytest.raises(FingerprintError, match="model 'fake', the settings say 'other'"):
        index.nearest(embeddings.embed_query(QUESTION), 1)


def test_an_index_ignores_the_splitter(store: Store, open_store: OpenStore, embeddings: FakeEmbeddings) -> None:
    """How documents were cut does not matter to a question."""
    index = ChunkIndex(partial(open_store, "documents"), FINGERPRINT | {"splitter": "other"}, embeddings)
    assert index.nearest(embeddings.embed_query(QUESTION), 1) == []

"""The collection as a LangChain vector store: every search, sync and async, with ids, filters and scores as it says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore

from rag_chain.store.vectorstore import ChunkStore
from tests.fake_embeddings import FakeEmbeddings
from tests.store.chunks import make_chunks, write

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag_chain.store.collection import Store

QUESTION = "where do brown bears sleep"
MODEL = FakeEmbeddings()
TEXTS = (
    "brown bears sleep in winter",
    "brown bears sleep long in deep caves",
    "salmon swim in rivers",
    "the moon pulls the ocean",
)


@pytest.fixture
def chunks(store: Store) -> ChunkStore:
    """Two documents; one of them is about bears."""
    write(store, make_chunks("animals.md", *TEXTS[:3], heading="Animals", page=2), make_chunks("tides.txt", TEXTS[3]))
    store.flush()
    return ChunkStore(store, MODEL)


async def every_search(chunks: ChunkStore, *, is_async: bool, **options: Any) -> dict[str, list[Document]]:
    """Return what each search finds; those that score without the scores."""
    vector = MODEL.embed_query(QUESTION)
    given = {"": QUESTION, "_by_vector": vector}
    calls = {
        f"{name}{ending}": (f"{name}{ending}", given[ending])
        for name in ("similarity_search", "similarity_search_with_score", "max_marginal_relevance_search")
        for ending in given
    }
    calls["relevance"] = "similarity_search_with_relevance_scores", QUESTION
    found: dict[str, list[Document]] = {}
    for kind, (name, question) in calls.items():
        result = getattr(chunks, f"{'a' if is_async else ''}{name}")(question, **options)
        result = await result if is_async else result
        found[kind] = [item[0] if isinstance(item, tuple) else item for item in result]
    return found


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_every_result_is_a_stored_chunk_with_its_id(chunks: ChunkStore, *, is_async: bool) -> None:
    """Each search gives whole documents, equal to those that ``get_by_ids`` gives."""
    for kind, found in asyncio.run(every_search(chunks, is_async=is_async, k=2)).items():
        ids = [document.id for document in found]
        assert len(set(ids)) == 2, kind
        assert None not in ids, kind
        assert chunks.get_by_ids([str(number) for number in ids]) == found, kind


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_every_search_takes_a_filter(chunks: ChunkStore, *, is_async: bool) -> None:
    """Names with wildcards, numbers, ranges, and what matches nothing."""
    for conditions, number in (
        ({"source": "*.txt"}, 1),
        ({"page": 2}, 3),
        ({"position": {"gte": 1}, "source": "animals.md"}, 2),
        ({"source": []}, 0),
        ({"tenant": "default"}, 4),
        ({}, 4),
        (None, 4),
    ):
        found = asyncio.run(every_search(chunks, is_async=is_async, k=9, filter=conditions))
        assert {kind: len(documents) for kind, documents in found.items()} == dict.fromkeys(found, number)


@pytest.mark.parametrize("k", [1, 2, 9])
@pytest.mark.parametrize("lambda_mult", [0.0, 0.5, 1.0])
def test_it_finds_what_langchains_own_store_finds(chunks: ChunkStore, k: int, lambda_mult: float) -> None:
    """In the same order, by nearness and by maximal marginal relevance."""
    reference = InMemoryVectorStore(MODEL)
    reference.add_texts(list(TEXTS))

    def texts(documents: list[Document]) -> list[str]:
        return [document.page_content for document in documents]

    assert texts(chunks.similarity_search(QUESTION, k=k)) == texts(reference.similarity_search(QUESTION, k=k))
    diverse = chunks.max_marginal_relevance_search(QUESTION, k=k, lambda_mult=lambda_mult)
    assert texts(diverse) == texts(reference.max_marginal_relevance_search(QUESTION, k=k, lambda_mult=lambda_mult))


def test_scores_are_cosines_and_relevance_is_from_0_to_1(chunks: ChunkStore) -> None:
    """The score is the cosine of the vectors, the relevance half of one more than it; never above 1."""
    question = np.array(MODEL.embed_query(QUESTION))
    scored = chunks.similarity_search_with_score(QUESTION, k=4)
    for document, score in scored:
        assert score == pytest.approx(float(question @ np.array(MODEL.embed_query(document.page_content))), abs=1e-5)
    relevant = chunks.similarity_search_with_relevance_scores(QUESTION, k=4)
    assert [score for _, score in relevant] == pytest.approx([(1 + score) / 2 for _, score in scored])
    for text in TEXTS:
        ((_, relevance),) = chunks.similarity_search_with_relevance_scores(text, k=1)
        assert 0.99999 < relevance <= 1


def test_a_vector_of_any_length_is_searched_by(chunks: ChunkStore) -> None:
    """A list, an array, not of length 1: its direction counts, and scores stay cosines."""
    vector = MODEL.embed_query(QUESTION)
    expected = chunks.similarity_search_with_score_by_vector(vector, k=4)
    for other in ([9 * number for number in vector], np.array(vector, np.float32) / 7):
        found = chunks.similarity_search_with_score_by_vector(other, k=4)  # type: ignore[arg-type]
        assert [document for document, _ in found] == [document for document, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-5)


@pytest.mark.parametrize(
    ("search_type", "options", "number"),
    [
        ("similarity", {"k": 3}, 3),
        ("mmr", {"k": 3, "fetch_k": 4, "lambda_mult": 0.5}, 3),
        ("similarity_score_threshold", {"k": 4, "score_threshold": 0.7}, 2),
        ("similarity", {"k": 4, "filter": {"source": "tides.*"}}, 1),
        ("mmr", {"k": 4, "filter": {"source": "tides.*"}}, 1),
        ("similarity_score_threshold", {"k": 4, "score_threshold": 0.1, "filter": {"source": "tides.*"}}, 1),
    ],
)
def test_it_is_a_retriever(chunks: ChunkStore, search_type: str, options: dict[str, Any], number: int) -> None:
    """With each of LangChain's search types; also asked with a filter of the question's own."""
    retriever = chunks.as_retriever(search_type=search_type, search_kwargs=options)
    found = retriever.invoke(QUESTION)
    assert len(found) == number
    assert asyncio.run(retriever.ainvoke(QUESTION)) == found
    assert [document.metadata["source"] for document in retriever.invoke("sleep", filter={"source": "nowhere"})] == []


def test_the_same_search_by_its_name(chunks: ChunkStore) -> None:
    """``search`` and ``asearch`` take LangChain's search types."""
    for search_type in ("similarity", "mmr"):
        found = chunks.search(QUESTION, search_type, k=1)
        assert found == asyncio.run(chunks.asearch(QUESTION, search_type, k=1))
        assert found[0].page_content == TEXTS[0]


def test_chunks_are_read_by_their_ids(chunks: ChunkStore) -> None:
    """In the order asked, each once, without those that are not there; many more than fit into one call."""
    ids = [str(document.id) for document in chunks.similarity_search(QUESTION, k=4)]
    asked = [ids[3], "missing", ids[0], ids[3], *(f"missing {number}" for number in range(2500)), ids[1]]
    found = chunks.get_by_ids(asked)
    assert [document.id for document in found] == [ids[3], ids[0], ids[1]]
    assert asyncio.run(chunks.aget_by_ids(asked)) == found
    assert found[2].metadata["source"] == "animals.md"
    assert not {"dense", "sparse", "text", "terms"} & found[2].metadata.keys()
    assert chunks.get_by_ids([]) == asyncio.run(chunks.aget_by_ids(["missing"])) == []


def test_async_searches_use_the_models_own_method(store: Store) -> None:
    """A model that waits for a network takes no thread."""

    class Async(FakeEmbeddings):
        async def aembed_query(self, text: str) -> list[float]:
            self.queries.append(f"async: {text}")
            return FakeEmbeddings.embed_query(FakeEmbeddings(), text)

    model = Async()
    write(store, make_chunks("a.md", *TEXTS))
    chunks = ChunkStore(store, model)

    async def ask() -> None:
        await chunks.asimilarity_search(QUESTION)
        await chunks.asimilarity_search_with_score(QUESTION)
        await chunks.asimilarity_search_with_relevance_scores(QUESTION)
        await chunks.amax_marginal_relevance_search(QUESTION)

    asyncio.run(ask())
    assert model.queries == [f"async: {QUESTION}"] * 4

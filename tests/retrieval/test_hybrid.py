"""Search by vectors and by words in one collection of Milvus Lite."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain.retrieval.bm25 import Bm25Retriever
from rag_chain.retrieval.dense import DenseRetriever
from rag_chain.retrieval.hybrid import HybridRetriever
from rag_chain.store.chunk_index import ChunkIndex
from rag_chain.store.collection import Store
from rag_chain.store.links import Address
from tests.fake_embeddings import FakeEmbeddings
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.documents import Document


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChunkIndex]:
    """Five documents; one holds a code that no other has, one is Korean."""
    address = Address(str(tmp_path_factory.mktemp("hybrid") / "test.db"))
    with Store(address, "documents") as store:
        store.create(FINGERPRINT, 64)
        write(
            store,
            make_chunks("bears.md", "brown bears sleep in winter", "salmon swim in rivers"),
            make_chunks("tides.md", "the moon pulls the ocean"),
            make_chunks("errors.md", "ERR_4711: the disk is full"),
            make_chunks("ko.md", "데이터는 세그먼트에 저장됩니다"),
            make_chunks("stars.md", "stars shine at night"),
        )
        store.flush()
        yield ChunkIndex(partial(Store, address, "documents"), FINGERPRINT, FakeEmbeddings())


@pytest.fixture
def hybrid(index: ChunkIndex) -> HybridRetriever:
    return HybridRetriever(embeddings=FakeEmbeddings(), index=index, k=3)


def sources(found: list[Document]) -> list[str]:
    return [chunk.metadata["source"] for chunk in found]


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("where do bears sleep?", "bears.md"),
        ("What does ERR_4711 mean?", "errors.md"),
        ("a sleeping bear", "bears.md"),
        ("데이터 저장", "ko.md"),
    ],
)
def test_the_right_chunk_comes_first(hybrid: HybridRetriever, question: str, source: str) -> None:
    """By meaning, by a rare word, by another form of a word, in a script without blanks."""
    assert sources(hybrid.invoke(question))[0] == source
    assert sources(asyncio.run(hybrid.ainvoke(question)))[0] == source


def test_every_chunk_says_why_it_was_found(hybrid: HybridRetriever) -> None:
    """The raw cosine always, ranks and BM25 where that search found it (in a title, too), fused scores in order."""
    found = hybrid.invoke("where do bears sleep?", k=6)
    assert len(found) == 6
    assert all(-1.001 <= chunk.metadata["score"] <= 1.001 for chunk in found)
    assert [chunk.metadata.get("bm25_rank") for chunk in found] == [1, 2, None, None, None, None]
    assert found[0].metadata["bm25"] > 0
    fused = [chunk.metadata["fused"] for chunk in found]
    assert fused == sorted(fused, reverse=True)


def test_what_only_words_bring_up_has_its_cosine(index: ChunkIndex) -> None:
    """It is reckoned from the stored vector."""
    embeddings = FakeEmbeddings()
    shallow = HybridRetriever(embeddings=embeddings, index=index, k=2, depth=1, dense_weight=0.0)
    dense = {
        c.metadata["id"]: c.metadata["score"]
        for c in DenseRetriever(embeddings=embeddings, index=index, k=6).invoke("ERR_4711 bears sleep winter brown")
    }
    for chunk in shallow.invoke("ERR_4711 bears sleep winter brown"):
        assert chunk.metadata["score"] == pytest.approx(dense[chunk.metadata["id"]], abs=1e-5)


def test_a_filter_holds_for_both_searches(hybrid: HybridRetriever, index: ChunkIndex) -> None:
    """Neither vectors nor words bring up what it leaves out."""
    only = {"source": "tides*"}
    assert sources(hybrid.invoke("where do bears sleep?", filter=only)) == ["tides.md"]
    assert sources(Bm25Retriever(index=index).invoke("bears sleep", filter=only)) == []


def test_the_question_is_embedded_once(index: ChunkIndex) -> None:
    """However many searches there are."""
    embeddings = FakeEmbeddings()
    HybridRetriever(embeddings=embeddings, index=index).invoke("where do bears sleep?")
    assert embeddings.queries == ["where do bears sleep?"]


def test_a_question_without_terms_is_searched_by_vector(hybrid: HybridRetriever, index: ChunkIndex) -> None:
    """There is nothing to look for by words, and that is no error."""
    assert Bm25Retriever(index=index).invoke("where is it?") == []
    assert len(hybrid.invoke("where is it?")) == 3


def test_a_model_that_cannot_read_the_question_weighs_less(index: ChunkIndex) -> None:
    """Then words decide."""

    class Foreign(FakeEmbeddings):
        def reads(self, text: str) -> bool:
            return False

    question = "stars shine at night ERR_4711 ERR_4711"
    weights: dict[str, Any] = {"dense_weight": 1.0, "foreign_weight": 0.0}
    read = HybridRetriever(embeddings=FakeEmbeddings(), index=index, **weights)
    unread = HybridRetriever(embeddings=Foreign(), index=index, **weights)
    assert [sources(r.invoke(question))[0] for r in (read, unread)] == ["stars.md", "stars.md"]
    assert [r.weigh(question) for r in (read, unread)] == [1.0, 0.0]

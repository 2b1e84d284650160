"""Any LangChain ``Embeddings`` through the whole flow: ingested with, searched with, and told from others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings

from rag_chain import (
    EmbeddingsAdapter,
    FireworksEmbeddings,
    Settings,
    build_chain,
    build_retriever,
    build_retriever_tool,
    ingest,
    plan_ingest,
)
from rag_chain.errors import FingerprintError, ModelError, SettingsError
from rag_chain.store.collection import open_store
from tests.engines import settle
from tests.fake_embeddings import FakeEmbeddings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines import Engine
    from tests.fireworks_server import FireworksServer

QUESTION = "Where do brown bears sleep?"


class Words(Embeddings):
    """A bag of words that is nobody's subclass but LangChain's; its vectors are of any length but 1."""

    def __init__(self, model: str = "words-1", trouble: BaseException | None = None, at: str = "") -> None:
        self.model = model
        self.trouble = trouble
        self.at = at
        self.calls: list[list[str]] = []
        self._words = FakeEmbeddings()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(texts)
        if self.trouble is not None and any(self.at in text for text in texts):
            raise self.trouble
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [7 * number for number in self._words.embed_query(text)]


@pytest.fixture
def settings(engine: Engine, tmp_path: Path) -> Iterator[Settings]:
    """A place for collections, and no provider."""
    with engine.place(tmp_path) as address:
        yield settle(Settings(provider="local", embedding_batch=2), address)


def test_the_whole_flow_works_with_it(settings: Settings, folder: Path) -> None:
    """Planned, ingested, nothing the second time, found, answered; sync and async."""
    model = Words()
    planned = plan_ingest(folder, settings, embeddings=model)
    assert (planned.chunks_embedded, planned.dollars, planned.limited_by) == (4, None, "")
    assert model.calls == []
    report = ingest(folder, settings, embeddings=model)
    assert (len(report.added), report.chunks_embedded, report.requests, report.dollars) == (3, 4, 2, None)
    assert [len(call) for call in model.calls] == [2, 2]
    again = ingest(folder, settings, embeddings=Words())
    assert (len(again.unchanged), again.chunks_embedded) == (3, 0)
    retriever = build_retriever(settings, embeddings=model)
    found = [retriever.invoke(QUESTION)[0], asyncio.run(retriever.ainvoke(QUESTION))[0]]
    assert {chunk.metadata["source"] for chunk in found} == {"bears.txt"}
    assert all(-1 <= chunk.metadata["score"] <= 1 for chunk in found)
    assert "bears.txt" in build_retriever_tool(settings, embeddings=model).invoke({"query": QUESTION})
    chain = build_chain(settings, embeddings=model)
    for answer in (chain.invoke(QUESTION), asyncio.run(chain.ainvoke(QUESTION))):
        assert answer["sources"][0]["source"] == "bears.txt"
        assert answer["grounded"]


def test_vectors_in_the_store_have_unit_length(settings: Settings, folder: Path) -> None:
    """Whatever the model gives."""
    ingest(folder, settings, embeddings=Words())
    with open_store(settings) as store:
        store.open_for(None, writing=False)
        vectors = [vector for _, vector in store.held(["bears.txt", "tides.html"], [])]
    assert len(vectors) == 2
    assert all(abs(float(vector @ vector) - 1) < 1e-5 for vector in vectors)


@pytest.mark.parametrize(
    "other",
    [Words("words-2"), DeterministicFakeEmbedding(size=64), EmbeddingsAdapter(Words(), identity="mine"), None],
    ids=["model", "class", "identity", "settings"],
)
def test_another_model_is_refused(settings: Settings, folder: Path, other: Embeddings | None) -> None:
    """A collection that one model made is neither added to nor searched with another."""
    ingest(folder, settings, embeddings=Words())
    with pytest.raises(FingerprintError, match="words-1"):
        ingest(folder, settings, embeddings=other)
    with pytest.raises(FingerprintError, match="words-1"):
        plan_ingest(folder, settings, embeddings=other)
    with pytest.raises(FingerprintError, match="words-1"):
        build_retriever(settings, embeddings=other).invoke(QUESTION)


def test_an_identity_that_was_said_is_kept(settings: Settings, folder: Path) -> None:
    """The model may be renamed or wrapped, as long as its user says that it is the same."""
    ingest(folder, settings, embeddings=EmbeddingsAdapter(Words("a"), identity="mine"))
    again = ingest(folder, settings, embeddings=EmbeddingsAdapter(Words("b"), identity="mine"))
    assert len(again.unchanged) == 3


def test_a_text_that_it_fails_at_costs_its_document(settings: Settings, folder: Path) -> None:
    """It is refused by name and the reason names the model; the others are ingested, and a later run takes it up."""
    report = ingest(folder, settings, embeddings=Words(trouble=ValueError("too sad"), at="salmon"))
    (refused,) = report.refused
    assert refused.source == "bears.txt"
    assert "Words failed: ValueError: too sad" in refused.reason
    assert sorted(report.added) == ["guide/storage.md", "tides.html"]
    assert ingest(folder, settings, embeddings=Words()).added == ["bears.txt"]


@pytest.mark.parametrize(
    ("trouble", "raised", "said"),
    [
        (ConnectionError("no route"), ModelError, "Words failed: ConnectionError: no route"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
    ids=["down", "interrupted"],
)
def test_a_model_that_is_down_ends_the_ingest(
    settings: Settings, folder: Path, trouble: BaseException, raised: type[BaseException], said: str
) -> None:
    """What is wrong is told, an interrupt is one, and the next run does it all."""
    with pytest.raises(raised, match=said):
        ingest(folder, settings, embeddings=Words(trouble=trouble))
    assert len(ingest(folder, settings, embeddings=Words()).added) == 3


def test_fireworks_embeddings_of_ones_own_are_those_of_the_settings(
    online: Settings, fireworks: FireworksServer, folder: Path
) -> None:
    """The same model is the same collection, whoever made the object."""
    ingest(folder, online)
    own = FireworksEmbeddings(api_key=online.fireworks_api_key, base_url=fireworks.base)  # type: ignore[arg-type]
    assert len(ingest(folder, online, embeddings=own).unchanged) == 3
    assert build_retriever(online, embeddings=own).invoke(QUESTION)[0].metadata["source"] == "bears.txt"


def test_a_cluster_takes_no_model(settings: Settings, folder: Path) -> None:
    """Its processes build their own from the settings; that is told before anything is started."""
    with pytest.raises(SettingsError, match=r"embeddings: .* Ray"):
        ingest(folder, settings, engine="ray", embeddings=Words())

"""``FireworksEmbeddings`` as LangChain users have it: made by itself, in any vector store, sync and async."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import TYPE_CHECKING, Any

import langchain_fireworks
import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import SecretStr, ValidationError

from rag_chain import FireworksEmbeddings, build_chain, build_retriever
from rag_chain.errors import AuthenticationError, SettingsError
from rag_chain.models.building import build_embedding_client, build_embeddings
from rag_chain.models.embedding import EmbeddingModel
from tests.fireworks_client import EMBEDDING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rag_chain import Settings
    from tests.fireworks_server import FireworksServer

TEXTS = ["apples and pears", "the moon and the tides", "object storage", "sealed segments", "a quorum of nodes"]


@pytest.fixture
def alone(fireworks: FireworksServer) -> FireworksEmbeddings:
    """The class made by itself, two texts in a request."""
    return make(fireworks, batch_size=2)


def make(fireworks: FireworksServer, **fields: Any) -> FireworksEmbeddings:
    return FireworksEmbeddings(**{"model": EMBEDDING, "api_key": fireworks.key, "base_url": fireworks.base, **fields})


def test_it_is_langchains_class(alone: FireworksEmbeddings) -> None:
    """It is ``langchain_fireworks.FireworksEmbeddings``, and what an ingest takes."""
    assert isinstance(alone, langchain_fireworks.FireworksEmbeddings)
    assert isinstance(alone, EmbeddingModel)


def test_it_works_alone_in_a_vector_store(fireworks: FireworksServer, alone: FireworksEmbeddings) -> None:
    """Texts go in batches with their prefixes, a question with its own."""
    store = InMemoryVectorStore(alone)
    store.add_texts(TEXTS)
    (found,) = store.similarity_search("tides of the moon", k=1)
    assert found.page_content == "the moon and the tides"
    *batches, question = [request.body["input"] for request in fireworks.embedding_requests]
    assert sorted(map(len, batches)) == [1, 2, 2]
    assert sorted(text for batch in batches for text in batch) == sorted(f"search_document: {text}" for text in TEXTS)
    assert question == ["search_query: tides of the moon"]


def test_it_works_alone_in_any_event_loop(alone: FireworksEmbeddings) -> None:
    """Async calls work in one loop after the other, beside sync ones."""

    async def ask() -> str:
        store = InMemoryVectorStore(alone)
        await store.aadd_texts(TEXTS)
        (found,) = await store.asimilarity_search("tides of the moon", k=1)
        return found.page_content

    assert [asyncio.run(ask()), asyncio.run(ask())] == ["the moon and the tides"] * 2
    assert alone.embed_query(TEXTS[0]) == asyncio.run(alone.aembed_query(TEXTS[0]))
    assert alone.embed_documents(TEXTS) == asyncio.run(alone.aembed_documents(TEXTS))


@pytest.mark.parametrize("name", ["api_key", "fireworks_api_key"])
def test_the_key_has_two_names(fireworks: FireworksServer, name: str) -> None:
    """``api_key`` is the short one; a text or a secret."""
    for key in (fireworks.key, SecretStr(fireworks.key)):
        fields: dict[str, Any] = {name: key, "base_url": fireworks.base}
        assert len(FireworksEmbeddings(**fields).embed_query("where?")) == 768


@pytest.mark.usefixtures("provider")
def test_key_and_address_come_from_the_environment() -> None:
    """Without arguments it uses ``FIREWORKS_API_KEY`` and ``FIREWORKS_API_BASE``, and LangChain's model."""
    embeddings = FireworksEmbeddings()
    assert embeddings.model == EMBEDDING
    assert len(embeddings.embed_query("where?")) == 768


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("name", ["base_url", "fireworks_api_base"])
def test_the_address_ends_with_the_version_or_without(fireworks: FireworksServer, name: str, ending: str) -> None:
    """Clients of this API disagree on who appends it."""
    fields: dict[str, Any] = {"api_key": fireworks.key, name: fireworks.base + ending}
    FireworksEmbeddings(**fields).embed_query("where?")
    assert {request.path for request in fireworks.requests} == {"/inference/v1/embeddings"}


def test_an_empty_address_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable means Fireworks' own address, as in the settings."""
    monkeypatch.setenv("FIREWORKS_API_BASE", "")
    assert FireworksEmbeddings(api_key=SecretStr("k")).fireworks_api_base == "https://api.fireworks.ai/inference"


def test_a_missing_key_is_langchains_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of error and its words are the same; an empty key is a missing one."""
    with pytest.raises(ValueError, match="api key") as ours:
        FireworksEmbeddings()
    with pytest.raises(ValueError, match="api key") as theirs:
        langchain_fireworks.FireworksEmbeddings()
    assert (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))
    monkeypatch.setenv("FIREWORKS_API_KEY", " ")
    with pytest.raises(ValueError, match="key is empty"):
        FireworksEmbeddings()


def test_a_wrong_key_is_told(fireworks: FireworksServer) -> None:
    """A provider that refuses the key is an error of rag_chain's."""
    with pytest.raises(AuthenticationError):
        make(fireworks, api_key="wrong").embed_query("where?")


def test_no_client_of_the_vendor_is_opened(fireworks: FireworksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent would open one of OpenAI's, which nothing here uses."""

    def refuse(**_: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("langchain_fireworks.embeddings.OpenAI", refuse)
    assert len(make(fireworks).embed_query("where?")) == 768
    with pytest.raises(ValidationError, match="opened"):
        langchain_fireworks.FireworksEmbeddings(api_key=SecretStr("k"))


def test_a_shorter_length_is_asked_for(fireworks: FireworksServer) -> None:
    """``dimensions`` goes with the request; vectors have unit length."""
    vector = make(fireworks, dimensions=256).embed_query("where?")
    assert len(vector) == 256
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert fireworks.embedding_requests[0].body["dimensions"] == 256


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"dimension": 256}, ValidationError, "dimension"),
        ({"client": object()}, ValidationError, "client"),
        ({"batch_size": 0}, ValidationError, "batch_size"),
        ({"dimensions": 100_000}, SettingsError, "768"),
        ({"api_key": "kéy"}, SettingsError, "FIREWORKS_API_KEY"),
    ],
)
def test_what_makes_no_sense_is_refused(
    fireworks: FireworksServer, fields: dict[str, Any], error: type[Exception], named: str
) -> None:
    """A misspelt field, a client that would not be used, and impossible values are told when they are given."""
    with pytest.raises(error, match=named):
        make(fireworks, **fields)


def test_a_field_is_not_assigned_to(alone: FireworksEmbeddings) -> None:
    """A change that would have no effect is an error."""
    with pytest.raises(ValidationError, match="frozen"):
        alone.dimensions = 256


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda one: one.model_copy(), lambda one: pickle.loads(pickle.dumps(one))],  # noqa: S301
    ids=["copy", "deepcopy", "model_copy", "pickle"],
)
def test_copies_work(alone: FireworksEmbeddings, copied: Callable[[FireworksEmbeddings], FireworksEmbeddings]) -> None:
    """Each opens a client of its own and gives the same vectors."""
    vector = alone.embed_query("where?")
    other = copied(alone)
    assert other.embed_query("where?") == vector
    assert (alone.usage.texts, other.usage.texts) == (1, 1)


def test_a_copy_with_changes_has_them(alone: FireworksEmbeddings) -> None:
    """What was opened for the old fields is not used for the new ones."""
    alone.embed_query("where?")
    assert len(alone.model_copy(update={"dimensions": 256}).embed_query("where?")) == 256


def test_the_key_is_not_shown(alone: FireworksEmbeddings, fireworks: FireworksServer) -> None:
    """Neither in words nor in JSON, nor in what a collection records."""
    assert fireworks.key not in f"{alone!r} {alone} {alone.model_dump_json()} {alone.identity}"


def test_the_settings_make_the_same_model(online: Settings, fireworks: FireworksServer) -> None:
    """What an ingest uses and what a chain carries are interchangeable, to the last number."""
    settings = online.with_changes(embedding_dimensions=256, embedding_batch=3)
    light, full = build_embedding_client(settings), build_embeddings(settings)
    assert not isinstance(light, langchain_fireworks.FireworksEmbeddings)
    assert isinstance(full, FireworksEmbeddings)
    assert (light.identity, light.batch_size, light.batch_tokens) == (full.identity, full.batch_size, full.batch_tokens)
    assert light.embed_documents(TEXTS) == full.embed_documents(TEXTS)
    sizes = sorted(len(request.body["input"]) for request in fireworks.embedding_requests)
    assert sizes == [2, 2, 3, 3]


def test_the_retriever_and_the_chain_carry_it(online: Settings) -> None:
    """What LangChain's users look for in them is LangChain's class."""
    assert isinstance(build_retriever(online).search.embeddings, FireworksEmbeddings)  # type: ignore[attr-defined]
    assert "FireworksEmbeddings" in repr(build_retriever(online))
    assert build_chain(online) is not None

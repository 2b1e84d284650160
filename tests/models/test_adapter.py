"""Any LangChain ``Embeddings`` in the place of ours: checked, named, and with errors of ours."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings, FakeEmbeddings
from pydantic import BaseModel, SecretStr

from rag_chain import EmbeddingsAdapter, Settings
from rag_chain.errors import BadReplyError, ModelError, SettingsError
from rag_chain.models.building import choose_embeddings
from rag_chain.models.embedding import as_lists

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEXTS = [f"text number {number}" for number in range(10)]


class Foreign(Embeddings):
    """A model that remembers what it was asked, and does at a text what it was told."""

    def __init__(self, **fields: Any) -> None:
        self.calls: list[list[str]] = []
        self.asked_in: list[str] = []
        self.troubles: dict[str, Callable[[], list[float]]] = {}
        self.__dict__.update(fields)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(texts)
        return [self._vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.asked_in.append(threading.current_thread().name)
        return self._vector(text)

    async def aembed_query(self, text: str) -> list[float]:
        self.asked_in.append("its own async method")
        return self._vector(text)

    def _vector(self, text: str) -> list[float]:
        for part, trouble in self.troubles.items():
            if part in text:
                return trouble()
        return [3.0, float(len(text)), 4.0]


class Wrapper(Embeddings):
    """A model around another one."""

    def __init__(self, inner: Embeddings) -> None:
        self._inner = inner

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return self._inner.embed_query(text)


class Hosted(BaseModel, Embeddings):
    """A model of a provider, with the fields that such classes have."""

    model: str = "small"
    dimensions: int | None = None
    api_key: SecretStr = SecretStr("s3cret")
    token: str = "s3cret"
    base_url: str = "https://user:s3cret@example.org"
    chunk_size: int = 1000
    max_retries: int = 2
    model_kwargs: dict[str, Any] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0]


class TooLongError(Exception):
    """What a provider's package raises."""


def fail(error: BaseException) -> Callable[[], list[float]]:
    def trouble() -> list[float]:
        raise error

    return trouble


def embed(model: EmbeddingsAdapter, texts: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the texts that got a vector, and why the others got none."""
    batches = [texts[start : start + model.batch_size] for start in range(0, len(texts), model.batch_size)]
    held, refused = [], {}
    for batch, embedded in zip(batches, model.embed_batches(batches), strict=True):
        for number, (text, vector) in enumerate(zip(batch, embedded.vectors, strict=True)):
            if vector is None:
                refused[text] = str(embedded.refused[number])
            else:
                held.append(text)
    return held, refused


@pytest.mark.parametrize("model", [DeterministicFakeEmbedding(size=16), FakeEmbeddings(size=16), Foreign()])
def test_vectors_have_unit_length(model: Embeddings) -> None:
    """Whatever length the model gives them: the store compares by cosine."""
    adapted = EmbeddingsAdapter(model)
    vectors = [*adapted.embed_documents(TEXTS), adapted.embed_query("where?")]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_vectors_keep_their_direction_and_order() -> None:
    """Each text has its own."""
    model = DeterministicFakeEmbedding(size=16)
    expected = np.array(model.embed_documents(TEXTS))
    found = np.array(EmbeddingsAdapter(model, batch_size=3).embed_documents(TEXTS))
    assert np.allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


def test_texts_go_in_batches() -> None:
    """The model's own method is called with as many as the settings say, one batch after the other."""
    model = Foreign()
    chosen = choose_embeddings(Settings(provider="local", embedding_batch=4), model)
    chosen.embed_documents(TEXTS)
    assert [len(call) for call in model.calls] == [4, 4, 2]
    assert (chosen.usage.requests, chosen.usage.texts) == (3, 10)


def test_our_own_models_stay_as_they_are() -> None:
    """They need no adapter, and neither does an adapter."""
    adapted = EmbeddingsAdapter(Foreign())
    assert choose_embeddings(Settings(provider="local"), adapted) is adapted


def test_async_calls_use_the_models_own_methods() -> None:
    """No thread is taken where the model needs none."""
    model = Foreign()
    adapted = EmbeddingsAdapter(model, batch_size=4)
    assert asyncio.run(adapted.aembed_query("where?")) == adapted.embed_query("where?")
    assert model.asked_in[0] == "its own async method"
    assert asyncio.run(adapted.aembed_documents(TEXTS)) == adapted.embed_documents(TEXTS)


@pytest.mark.parametrize(
    "bad",
    [[1.0, 2.0], [1.0, float("nan"), 2.0], [float("inf"), 1.0, 1.0], [0.0, 0.0, 0.0], [None, 1.0, 1.0], ["x"] * 3, []],
    ids=["shorter", "nan", "infinite", "zeros", "none", "words", "empty"],
)
def test_a_bad_vector_is_told_with_the_models_name(bad: list[Any]) -> None:
    """In sync and async calls, for questions and documents; where others are sound, its text alone is refused."""
    model = Foreign(troubles={"bad": lambda: bad})
    adapted = EmbeddingsAdapter(model)
    adapted.embed_query("how long are vectors?")
    for ask in (adapted.embed_query, lambda text: asyncio.run(adapted.aembed_query(text))):
        with pytest.raises(BadReplyError, match="Foreign"):
            ask("bad")
    with pytest.raises(BadReplyError, match="Foreign"):
        adapted.embed_documents(["good", "bad"])
    with pytest.raises(BadReplyError, match="Foreign"):
        asyncio.run(adapted.aembed_documents(["good", "bad"]))
    held, refused = embed(adapted, ["good", "bad", "fine"])
    assert held == ["good", "fine"]
    assert list(refused) == ["bad"]


@pytest.mark.parametrize("given", [[], [[1.0]] * 3, None, 1.0], ids=repr)
def test_another_number_of_vectors_is_an_error(given: Any) -> None:
    """No vector is given to the wrong text."""
    model = Foreign()
    model.embed_documents = lambda texts: given  # type: ignore[method-assign]
    with pytest.raises(BadReplyError, match="Foreign"):
        EmbeddingsAdapter(model).embed_documents(["one", "two"])


def test_a_text_that_the_model_fails_at_is_refused_alone() -> None:
    """The others of its batch get their vectors, and the reason names the class and what it raised."""
    model = Foreign(troubles={"7": fail(TooLongError("more than 512 tokens"))})
    held, refused = embed(EmbeddingsAdapter(model), TEXTS)
    assert held == [text for text in TEXTS if "7" not in text]
    (reason,) = refused.values()
    assert all(part in reason for part in ("Foreign", "TooLongError", "more than 512 tokens"))


def test_a_model_that_is_down_is_asked_once_more() -> None:
    """It fails at any text, so no batch is taken apart."""
    model = Foreign(troubles={"": fail(ConnectionError("refused"))})
    with pytest.raises(ModelError, match=r"Foreign failed: ConnectionError: refused"):
        EmbeddingsAdapter(model).embed_documents(TEXTS)
    assert len(model.calls) == 2


def test_a_model_that_fails_at_every_text_is_at_fault() -> None:
    """When text after text fails alone it is not the texts."""
    texts = [f"text {number}" for number in range(40)]
    with pytest.raises(ModelError, match="Foreign failed: TooLongError"):
        embed(EmbeddingsAdapter(Foreign(troubles={"text": fail(TooLongError())})), texts)


def test_a_batch_that_fails_once_is_embedded_whole() -> None:
    """A mishap costs a few requests and no text."""
    once = iter([TooLongError("for once")])

    def trouble() -> list[float]:
        for error in once:
            raise error
        return [1.0, 2.0, 3.0]

    assert embed(EmbeddingsAdapter(Foreign(troubles={"3": trouble})), TEXTS) == (TEXTS, {})


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_interrupt_passes(interrupt: type[BaseException]) -> None:
    """Who stops the process, or a task, is not told of a model's error."""
    adapted = EmbeddingsAdapter(Foreign(troubles={"": fail(interrupt())}))
    with pytest.raises(interrupt):
        adapted.embed_documents(TEXTS)
    with pytest.raises(interrupt):
        adapted.embed_query("where?")


def test_the_identity_says_which_model_it_is() -> None:
    """The class with its module, and the fields that vectors depend on."""
    assert EmbeddingsAdapter(DeterministicFakeEmbedding(size=16)).identity == {
        "model": "langchain_core.embeddings.fake.DeterministicFakeEmbedding(size=16)"
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (DeterministicFakeEmbedding(size=16), DeterministicFakeEmbedding(size=32)),
        (DeterministicFakeEmbedding(size=16), FakeEmbeddings(size=16)),
        (Hosted(), Hosted(model="large")),
        (Hosted(), Hosted(dimensions=256)),
        (Hosted(), Hosted(model_kwargs={"revision": "b"})),
        (Hosted(model="x" * 400), Hosted(model="x" * 401)),
        (Foreign(model_name="a"), Foreign(model_name="b")),
        (Foreign(_model_name="a"), Foreign(_model_name="b")),
        (Foreign(query_instruction="a"), Foreign(query_instruction="b")),
        (Wrapper(Hosted()), Wrapper(Hosted(model="large"))),
        (Wrapper(Hosted()), Hosted()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_two_models_have_two_identities(one: Embeddings, other: Embeddings) -> None:
    """So that a collection of the one is not asked with the other."""
    assert EmbeddingsAdapter(one).identity != EmbeddingsAdapter(other).identity


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": SecretStr("another")},
        {"base_url": "https://example.com"},
        {"chunk_size": 1},
        {"max_retries": 9},
        {"token": "another"},
        {"model_kwargs": {"token": "s3cret", "device": "cuda"}},
    ],
    ids=str,
)
def test_the_way_to_a_model_is_not_its_identity(changes: dict[str, Any]) -> None:
    """Another key or address, and other sizes of requests, give the same vectors."""
    assert EmbeddingsAdapter(Hosted(**changes)).identity == EmbeddingsAdapter(Hosted()).identity


def test_no_secret_is_in_the_identity() -> None:
    """It is written into the collection, and shown by ``doctor``."""
    model = Hosted(model="https://user:s3cret@example.org/e5?key=s3cret", model_kwargs={"model_token": "s3cret"})
    text = str(EmbeddingsAdapter(Wrapper(model)).identity)
    assert "s3cret" not in text
    assert "example.org/e5" in text


def test_an_identity_can_be_said() -> None:
    """For a model whose class and fields do not tell, or may change."""
    models = [EmbeddingsAdapter(Foreign(model=name), identity="house model, version 3") for name in ("a", "b")]
    assert [model.identity for model in models] == [{"model": "house model, version 3"}] * 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: EmbeddingsAdapter("all-minilm"),  # type: ignore[arg-type]
        lambda: EmbeddingsAdapter(Foreign(), identity=" "),
        lambda: EmbeddingsAdapter(Foreign(), batch_size=0),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object]) -> None:
    """A name is no model, an empty identity tells nothing."""
    with pytest.raises(SettingsError, match=r"embeddings|identity|batch_size"):
        make()


def test_no_texts_ask_for_nothing() -> None:
    """An empty list gives an empty list."""
    model = Foreign()
    adapted = EmbeddingsAdapter(model)
    assert adapted.embed_documents([]) == asyncio.run(adapted.aembed_documents([])) == []
    assert [as_lists(embedded) for embedded in adapted.embed_batches([[]])] == [[]]
    assert model.calls == []

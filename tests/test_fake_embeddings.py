"""The fake embedding model is quick, repeatable and remembers."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from rag_chain.errors import ModelError
from tests.fake_embeddings import FakeEmbeddings


def cosine(one: list[float], other: list[float]) -> float:
    return float(np.dot(one, other))


def test_vectors_have_length_one_and_the_dimensions_asked_for() -> None:
    """Every vector is a unit vector, that of a text without words too."""
    vectors = np.array(FakeEmbeddings(dimensions=16).embed_documents(["sun and moon", "", "?!", "日本語"]))
    assert vectors.shape == (4, 16)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_the_same_text_has_the_same_vector() -> None:
    """Two models agree, documents and questions alike, whatever the case."""
    (document,) = FakeEmbeddings().embed_documents(["The Moon"])
    assert document == FakeEmbeddings().embed_query("the moon")


def test_texts_that_share_words_are_near() -> None:
    """A text is nearer to one that shares its words than to one that does not."""
    near, far = FakeEmbeddings().embed_documents(["brown bears sleep", "tides follow moons"])
    question = FakeEmbeddings().embed_query("where do bears sleep")
    assert cosine(question, near) > cosine(question, far)


def test_it_remembers_batches_queries_and_counts() -> None:
    """Every batch and question is kept in order; requests, texts and words are counted."""
    model = FakeEmbeddings(batch_size=2)
    model.embed_documents(["a b", "c", "d"])
    model.embed_query("e")
    assert (model.batches, model.texts, model.queries) == ([["a b", "c"], ["d"]], ["a b", "c", "d"], ["e"])
    assert (model.usage.requests, model.usage.texts, model.usage.tokens) == (2, 3, 4)


def test_it_takes_batches_as_they_are_needed() -> None:
    """An endless stream of batches is not exhausted first."""
    model = FakeEmbeddings()
    endless = iter(lambda: ["again"], [])
    assert [len(embedded.vectors) for embedded in islice(model.embed_batches(endless), 3)] == [1] * 3
    assert len(model.batches) == 3


def test_it_fails_when_told_and_works_again() -> None:
    """It gives as many batches as it was told, then raises; without the order it goes on."""
    model = FakeEmbeddings(batch_size=1)
    model.fails_after = 2
    with pytest.raises(ModelError, match="after 2 batches"):
        model.embed_documents(["a", "b", "c"])
    assert model.texts == ["a", "b"]
    model.fails_after = None
    assert len(model.embed_documents(["c"])) == 1


def test_its_identity_names_what_its_vectors_depend_on() -> None:
    """Models of other dimensions are told apart."""
    assert FakeEmbeddings().identity == FakeEmbeddings(batch_size=1).identity
    assert FakeEmbeddings().identity != FakeEmbeddings(dimensions=32).identity

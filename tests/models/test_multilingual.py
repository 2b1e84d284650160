"""The local model for other languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_chain import Settings, build_chain, ingest
from rag_chain.errors import InvalidRequestError, SettingsError
from rag_chain.models import multilingual
from rag_chain.models.building import build_embeddings
from rag_chain.models.multilingual import MultilingualEmbeddings

if TYPE_CHECKING:
    from pathlib import Path

    from rag_chain.models.embedding import EmbeddingModel

SENTENCES = ["Milvus stores data in object storage.", "The cat sleeps on the sofa.", "Tickets must be paid in advance."]
QUESTIONS = {
    "de": "Wo speichert Milvus die Daten?",
    "fr": "Où Milvus stocke-t-il les données ?",
    "es": "¿Dónde almacena Milvus los datos?",
    "zh": "Milvus 将数据存储在哪里？",
    "ja": "Milvus はデータをどこに保存しますか？",
    "ko": "Milvus는 데이터를 어디에 저장하나요?",
}


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    """The model, read once."""
    return build_embeddings(Settings(provider="local", embedding_model="multilingual"))


@pytest.mark.parametrize("language", QUESTIONS)
def test_a_question_is_nearest_to_its_answer_in_another_language(model: EmbeddingModel, language: str) -> None:
    """Without a word in common but a name."""
    nearness = np.array(model.embed_documents(SENTENCES)) @ np.array(model.embed_query(QUESTIONS[language]))
    assert nearness.argmax() == 0
    assert nearness[0] > 0.3 + nearness[1:].max()


def test_vectors_have_unit_length_and_do_not_depend_on_the_batch(model: EmbeddingModel) -> None:
    """A text's vector is its own, whatever it is embedded with."""
    together = np.array(model.embed_documents([*SENTENCES, "", "x" * 5000]))
    assert together.shape == (5, 512)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1)
    for text, vector in zip(SENTENCES, together, strict=False):
        assert model.embed_query(text) == pytest.approx(vector, abs=1e-5)
    assert model.identity["model"] != build_embeddings(Settings(provider="local")).identity["model"]


def test_a_text_that_is_not_unicode_is_refused_alone(model: EmbeddingModel) -> None:
    """The others of its batch have their vectors."""
    (embedded,) = model.embed_batches([["good", "\ud800", "as well"]])
    assert isinstance(embedded.refused[1], InvalidRequestError)
    assert [vector is None for vector in embedded.vectors] == [False, True, False]


def test_a_file_that_is_not_the_one_we_measured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of other weights would not fit those in the store."""
    monkeypatch.setitem(multilingual.DIGESTS, "sp.model", "0" * 64)
    with pytest.raises(SettingsError, match="reinstall"):
        MultilingualEmbeddings().embed_query("anything")


def test_shorter_vectors_are_refused() -> None:
    """The front of its vectors finds little."""
    with pytest.raises(SettingsError, match="unset it"):
        build_embeddings(Settings(provider="local", embedding_model="multilingual", embedding_dimensions=256))


def test_a_german_question_is_answered_from_english_documents(tmp_path: Path) -> None:
    """With a citation that holds, and a question about something else is not."""
    (tmp_path / "docs").mkdir()
    for number, sentence in enumerate(SENTENCES):
        (tmp_path / "docs" / f"{number}.md").write_text(f"# Part {number}\n\n{sentence}\n", "utf-8")
    settings = Settings(provider="local", embedding_model="multilingual", milvus_uri=tmp_path / "m.db")
    ingest(tmp_path / "docs", settings)
    answer = build_chain(settings).invoke(QUESTIONS["de"])
    assert answer["answer"].startswith(SENTENCES[0])
    assert answer["citations"][0]["verdict"] == "verbatim"
    assert build_chain(settings).invoke("Wie hoch ist der Eiffelturm?")["refused"]

"""How good retrieval and answers are on test collections; the figures are in benchmarks/."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain import Settings, build_chain
from rag_chain.evaluation.datasets import Dataset, read_dataset
from rag_chain.measuring import evaluate, ingest_dataset

if TYPE_CHECKING:
    from rag_chain.evaluation.datasets import JudgedQuestion

DATA = Path(__file__).parents[2] / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.exists(), reason="the test collections are not beside this checkout"),
]
# Every so manieth question of SQuAD: some from each article.
STEP = 20


@pytest.fixture
def local(tmp_path: Path) -> Settings:
    return Settings(provider="local", milvus_uri=str(tmp_path / "quality.db"))


def measure(dataset: Dataset, settings: Settings) -> dict[str, float]:
    """Return nDCG@10 of each search."""
    ways = ("hybrid", "dense", "bm25")
    return {way: evaluate(dataset, settings.with_changes(retriever=way)).metrics["ndcg@10"] for way in ways}


def test_hybrid_search_is_better_than_either(local: Settings) -> None:
    """On the abstracts and questions of Cranfield."""
    found = measure(read_dataset(DATA / "cranfield"), local)
    assert found["hybrid"] >= 0.40
    assert found["hybrid"] > max(found["dense"], found["bm25"])


@pytest.mark.parametrize("language", ["ko", "ja", "zh", "de", "fr", "es"])
def test_other_languages_are_not_below_their_words(local: Settings, language: str) -> None:
    """Questions about the English FAQ; one question's place more or less is a hundredth."""
    found = measure(read_dataset(DATA / "milvus-faq", [f"test_{language}"]), local)
    assert found["hybrid"] >= found["bm25"] - 0.015


def test_the_multilingual_model_reads_other_languages(local: Settings) -> None:
    """Questions in six languages about the English FAQ, with hardly a word in common."""
    settings = local.with_changes(embedding_model="multilingual")
    for language in ("ko", "ja", "zh", "de", "fr", "es"):
        found = measure(read_dataset(DATA / "milvus-faq", [f"test_{language}"]), settings)
        assert found["hybrid"] >= 0.75
        assert found["hybrid"] > 0.1 + found["bm25"]


@pytest.fixture
def squad() -> Dataset:
    """A twentieth of the questions, with and without an answer."""
    dataset = read_dataset(DATA / "squad2-dev-half")
    return replace(dataset, questions=dataset.questions[::STEP])


def test_citations_hold_when_somebody_else_checks_them(local: Settings, squad: Dataset) -> None:
    """Each sentence stands word for word in the source that it names, and so does each quote at its place."""
    chain = build_chain(ingest_dataset(squad, local))
    texts = {source: text.strip() for source, _, text in squad.corpus or []}
    answers = [(question, chain.invoke(question.text)) for question in squad.questions]
    cited = [pair for _, answer in answers for pair in recheck(answer)]
    assert len(cited) > 60
    assert sum(cited) >= 0.95 * len(cited)
    quotes = [
        citation["quote"] in texts[answer["sources"][citation["number"] - 1]["source"]]
        for _, answer in answers
        for citation in answer["citations"]
    ]
    assert all(quotes)
    refused = {question.id: answer["refused"] for question, answer in answers}
    assert (
        share(refused, squad.questions, unanswerable=True) > share(refused, squad.questions, unanswerable=False) + 0.1
    )


def share(refused: dict[str, bool], questions: list[JudgedQuestion], *, unanswerable: bool) -> float:
    """Return how many of these questions were refused."""
    asked = [question.id for question in questions if question.unanswerable is unanswerable]
    return sum(refused[question] for question in asked) / len(asked)


def recheck(answer: dict[str, Any]) -> list[bool]:
    """Check citations without the package's code: paragraph by paragraph, letters and digits only."""
    sources = {source["number"]: letters(source["text"]) for source in answer["sources"]}
    found = []
    for paragraph in answer["answer"].split("\n\n"):
        marks = [int(number) for number in re.findall(r"\[(\d+)\]", paragraph)]
        said = letters(re.sub(r"\s*\[\d+\]", "", paragraph))
        found += [said in sources.get(number, "") for number in marks]
    return found


def letters(text: str) -> str:
    """Return the letters and digits of a text, folded."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in plain if character.isalnum())

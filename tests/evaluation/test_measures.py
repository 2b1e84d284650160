"""What the measures say, by hand and against other implementations."""

from __future__ import annotations

import math
from typing import Any

import pytest
from langchain_core.documents import Document

from rag_chain.evaluation.answers import exact_match, holds_answer, measure_answers, token_f1
from rag_chain.evaluation.datasets import JudgedQuestion
from rag_chain.evaluation.ranking import measure_rankings, rank_documents
from rag_chain.evaluation.statistics import compare, confidence, mean


def test_a_document_stands_where_its_best_chunk_does() -> None:
    """And once."""
    chunks = [Document("", metadata={"source": source}) for source in ("b", "a", "b", "c")]
    assert rank_documents(chunks) == ["b", "a", "c"]


def test_the_measures_are_those_of_their_definitions() -> None:
    """NDCG discounts by the logarithm of the rank, recall counts, MRR takes the first; a miss is 0."""
    relevant = {"hit": {"a": 2, "b": 1, "c": 0}, "miss": {"a": 1}, "nothing": {"a": 0}}
    values = measure_rankings(relevant, {"hit": ["c", "a", "x", "b"], "miss": ["x"]})
    ideal = 2 + 1 / math.log2(3)
    assert values["ndcg@10"]["hit"] == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert (values["recall@5"]["hit"], values["mrr@10"]["hit"]) == (1.0, 0.5)
    assert {measure: of["miss"] for measure, of in values.items()} == dict.fromkeys(values, 0.0)
    assert "nothing" not in values["ndcg@10"]


def test_more_than_ten_are_kept_in_order() -> None:
    """The eleventh is no hit at ten; ids that sort otherwise change nothing."""
    ranking = [f"d{number * 37 % 101}" for number in range(50)]
    values = measure_rankings({"q": {ranking[10]: 1}}, {"q": ranking})
    assert (values["ndcg@10"]["q"], values["recall@10"]["q"], values["recall@100"]["q"]) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("answer", "gold", "em", "f1", "holds"),
    [
        ("The Moon. [1]", ["moon"], 1.0, 1.0, 1.0),
        ("It is the moon [2][3]", ["moon", "the sun"], 0.0, 0.5, 1.0),
        ("mooning", ["moon"], 0.0, 0.0, 0.0),
        ("", ["moon"], 0.0, 0.0, 0.0),
    ],
)
def test_answers_are_compared_as_in_squad(answer: str, gold: list[str], em: float, f1: float, holds: float) -> None:
    """Without articles, punctuation, case and citations."""
    assert (exact_match(answer, gold), holds_answer(answer, gold)) == (em, holds)
    assert token_f1(answer, gold) == pytest.approx(f1)


def answer(text: str, *verdicts: str, refused: bool = False) -> dict[str, Any]:
    citations = [{"verdict": verdict} for verdict in verdicts]
    grounded = bool(verdicts) and "unsupported" not in verdicts
    return {"answer": text, "refused": refused, "citations": citations, "grounded": grounded}


def test_refusals_and_citations_are_counted_where_they_can_be_right() -> None:
    """Each measure over the questions that it is defined for."""
    questions = [
        JudgedQuestion("a", "?", answers=("moon",), unanswerable=False),
        JudgedQuestion("b", "?", answers=("sun",), unanswerable=False),
        JudgedQuestion("c", "?", unanswerable=True),
        JudgedQuestion("d", "?", unanswerable=True),
    ]
    given = [
        answer("The moon [1]. The sun [2].", "verbatim", "unsupported"),
        answer("I don't know", refused=True),
        answer("I don't know", refused=True),
        answer("sun [1]", "supported"),
    ]
    means = {measure: mean(list(of.values())) for measure, of in measure_answers(questions, given).items()}
    assert means == {
        "false_refusal": 0.5,
        "refusal_recall": 0.5,
        "refusal_precision": 0.5,
        "f1": pytest.approx(1 / 3),
        "exact_match": 0.0,
        "holds_answer": 0.5,
        "citation_precision": 0.75,
        "citation_recall": 0.75,
        "grounded": 0.5,
    }


def test_an_interval_holds_the_mean_and_narrows() -> None:
    """With more questions it is narrower; without spread it is a point; it is the same each time."""
    few, many = [0.0, 1.0] * 10, [0.0, 1.0] * 200
    (low, high), (lower, higher) = confidence(many), confidence(few)
    assert lower < low < 0.5 < high < higher
    assert confidence(many) == (low, high)
    assert confidence([0.5] * 5) == (0.5, 0.5)
    assert confidence([]) == (0.0, 0.0)


def test_a_difference_has_a_p() -> None:
    """A steady gain is significant, noise is not, and only shared questions count."""
    one = {str(number): 0.5 for number in range(50)}
    better = {name: 0.6 + (int(name) % 5) / 100 for name in one} | {"other": 1.0}
    found = compare(one, better)
    assert found["questions"] == 50
    assert found["difference"] == pytest.approx(0.12)
    assert found["p"] < 0.01
    mixed = {name: 0.5 + (0.1 if int(name) % 2 else -0.1) for name in one}
    assert compare(one, mixed)["p"] > 0.5
    assert compare(one, one)["p"] == 1.0

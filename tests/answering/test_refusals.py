"""Tell an answer from "I don't know"."""

from __future__ import annotations

import pytest

from rag_chain.answering.refusals import is_refusal
from rag_chain.models.extractive import REFUSAL


@pytest.mark.parametrize(
    "answer",
    [
        REFUSAL,
        f"  **{REFUSAL}**",
        "I don't know.",
        "I don’t know: the documents do not answer this question",
        "I cannot answer this from the documents.",
        "The sources do not mention the price.",
        "The provided context doesn't contain that information.",
        "There is no information about prices.",
        "Ich weiß es nicht: die Dokumente beantworten diese Frage nicht.",
        "Je ne sais pas.",
        "No lo sé.",
        "わかりません。",
        "모르겠습니다.",
        "我不知道。",
    ],
)
def test_a_refusal_is_known_for_one(answer: str) -> None:
    """In the words that the prompt asks for, and in others."""
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Milvus stores rows in segments [1].",
        "The sources do not mention prices, but rows live in segments [1].",
        "Rows that I do not know of are dropped [2].",
        "I don't know much more than this: rows live in segments [1].",
        "The documents do not answer this. From general knowledge: " + "Paris is in France. " * 30,
    ],
)
def test_an_answer_is_no_refusal(answer: str) -> None:
    """Also one that says first what it does not know."""
    assert not is_refusal(answer)

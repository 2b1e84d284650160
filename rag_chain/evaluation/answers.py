"""Measure answers: against known ones, as refusals, and by their citations."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import TYPE_CHECKING, Any

from rag_chain.claims import split_claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rag_chain.evaluation.datasets import JudgedQuestion

_MARK = re.compile(r"\[\d+(?:\s*,\s*\d+)*\]")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Return a text as SQuAD's official script compares it: lower case, no punctuation, articles or citations."""
    plain = _MARK.sub(" ", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", plain).split())


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """Return 1 if an answer is one of the right ones, else 0."""
    return float(any(normalize(answer) == normalize(right) for right in gold))


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """Return the best F1 of the answer's words and those of a right one, as in SQuAD."""
    return max((_f1(normalize(answer).split(), normalize(right).split()) for right in gold), default=0.0)


def _f1(found: list[str], right: list[str]) -> float:
    shared = sum((Counter(found) & Counter(right)).values())
    return 2 * shared / (len(found) + len(right)) if found or right else 1.0


def holds_answer(answer: str, gold: Sequence[str]) -> float:
    """Return 1 if the answer holds the words of a right one next to each other, else 0."""
    return float(any(f" {normalize(right)} " in f" {normalize(answer)} " for right in gold))


def measure_answers(
    questions: Sequence[JudgedQuestion], given: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Return each measure's value for each question that it is defined for.

    ``refusal_recall`` is the share of unanswerable questions that are refused, ``false_refusal`` that of
    answerable ones, ``refusal_precision`` the share of refusals that are right. ``citation_precision`` is the
    share of an answer's citations that hold, ``citation_recall`` that of its sentences that are backed, and
    ``grounded`` is 1 where all are; refusals have none of these. ``f1``, ``exact_match`` and ``holds_answer``
    are taken over answerable questions, where a refusal counts 0.
    """
    values: dict[str, dict[str, float]] = {}

    def note(measure: str, question: JudgedQuestion, value: float) -> None:
        values.setdefault(measure, {})[question.id] = value

    for question, answer in zip(questions, given, strict=True):
        refused, text = bool(answer["refused"]), "" if answer["refused"] else str(answer["answer"])
        if question.unanswerable is not None:
            note("refusal_recall" if question.unanswerable else "false_refusal", question, float(refused))
            if refused:
                note("refusal_precision", question, float(question.unanswerable))
        if question.answers:
            note("f1", question, token_f1(text, question.answers))
            note("exact_match", question, exact_match(text, question.answers))
            note("holds_answer", question, holds_answer(text, question.answers))
        verdicts = [citation["verdict"] for citation in answer["citations"]]
        if verdicts:
            note("citation_precision", question, sum(v != "unsupported" for v in verdicts) / len(verdicts))
        if not refused:
            note("citation_recall", question, _share_backed(text, verdicts))
            note("grounded", question, float(answer["grounded"]))
    return values


def _share_backed(answer: str, verdicts: Sequence[str]) -> float:
    """Return the share of an answer's sentences that name a source, and of which each source named holds."""
    left = iter(verdicts)
    backed = [
        bool(found) and all(verdict != "unsupported" for verdict in found)
        for found in ([next(left, "unsupported") for _ in claim.numbers] for claim in split_claims(answer))
    ]
    return sum(backed) / len(backed) if backed else 0.0

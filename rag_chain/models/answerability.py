"""Judge whether a sentence answers a question, or only looks like it."""

from __future__ import annotations

import math
import re
from dataclasses import astuple, dataclass

from rag_chain.words import WORD, content_words, is_negated, is_opposed

_NUMBER = re.compile(r"\d")


@dataclass(frozen=True)
class Evidence:
    """What speaks for a sentence of a source as the answer to a question, and what against it."""

    source: float
    """Cosine of the question and the nearest source."""
    coverage: float
    """Cosine of the question's least covered word and its nearest in the sentence."""
    missing_names: int
    """Names in the question that the sentence's source does not hold."""
    missing_numbers: int
    denied: int
    """Whether the question asks for what is not so."""
    opposed: int
    """Whether the question has the opposite of a word in the sentence."""


# Logistic regression on the 3,033 questions of half of SQuAD 2.0's development set, see benchmarks/answers.md.
WEIGHTS = Evidence(2.96, 1.56, -0.59, -1.35, -1.75, -2.45)  # type: ignore[arg-type]
INTERCEPT = -2.15
# At this 15 % of the questions there that have an answer are refused, and 41 % of those that have none; with the
# sentence's nearness alone it would be 27 %. The others there were written to look answerable.
LIKELY = 0.38


def weigh(question: str, sentence: str, source: str, *, nearest: float, coverage: float) -> Evidence:
    """Return the evidence for a sentence of a source; ``nearest`` is the nearest source's cosine."""
    words = WORD.findall(question)
    held = {word.lower() for word in WORD.findall(source)}
    names = {word.lower() for word in words[1:] if word[:1].isupper() and content_words(word)}
    numbers = {word.lower() for word in words if _NUMBER.search(word)}
    return Evidence(
        nearest, coverage, len(names - held), len(numbers - held), is_negated(question), is_opposed(question, sentence)
    )


def judge(evidence: Evidence) -> float:
    """Return how likely it is that the sentence answers the question, 0 to 1, as far as such evidence tells."""
    weighed = sum(weight * value for weight, value in zip(astuple(WEIGHTS), astuple(evidence), strict=True))
    return 1 / (1 + math.exp(-INTERCEPT - weighed))

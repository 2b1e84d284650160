"""Check an answer's citations against its sources, without asking a model again."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_chain.sentences import split_sentences

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Share of a sentence's content words that one sentence of the source must hold to stand behind it.
SUPPORT = 0.6

_MARK = re.compile(r"\s*\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_WORD = re.compile(r"\w+(?:[.,:/-]\w+)*")
_NUMBER = re.compile(r"\d")
_STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "after",
        "all",
        "also",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "but",
        "by",
        "can",
        "could",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "may",
        "more",
        "most",
        "no",
        "not",
        "of",
        "on",
        "one",
        "only",
        "or",
        "other",
        "our",
        "out",
        "over",
        "so",
        "some",
        "such",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "to",
        "under",
        "up",
        "use",
        "used",
        "uses",
        "using",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "why",
        "will",
        "with",
        "would",
        "yes",
        "you",
        "your",
    ]
)


@dataclass(frozen=True)
class Claim:
    """A sentence of the answer without its marks, and the numbers of the sources that it names."""

    text: str
    numbers: tuple[int, ...]


def check_answer(answer: str, sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``citations``, one for each source named by a sentence, and ``grounded``.

    ``verbatim``: the sentence stands in the source, up to white space, case and typography.
    ``supported``: one sentence of the source holds its numbers and most of its content words.
    ``unsupported``: neither, or there is no such source. The answer is ``grounded`` when each of
    its sentences has a citation that holds and none that does not.
    """
    by_number = {source["number"]: source for source in sources}
    claims = list(split_claims(answer))
    checked = [[_check(claim.text, number, by_number.get(number)) for number in claim.numbers] for claim in claims]
    holds = [bool(found) and all(c["verdict"] != "unsupported" for c in found) for found in checked]
    return {"citations": [c for found in checked for c in found], "grounded": bool(claims) and all(holds)}


def split_claims(answer: str) -> Iterator[Claim]:
    """Yield the sentences of an answer with the marks that stand in or right after them.

    A sentence without a content word, such as "Yes.", claims nothing and is left out.
    """
    # A mark after the full stop belongs to the sentence before it.
    moved = re.sub(r"([.!?。！？])((?:\s*\[\d[\d\s,]*\])+)", r"\2\1", answer)
    for start, end in split_sentences(moved):
        sentence = moved[start:end]
        numbers = [int(n) for mark in _MARK.findall(sentence) for n in mark.split(",")]
        text = _MARK.sub("", sentence).strip().lstrip("-*• ").strip()
        if content_words(text):
            yield Claim(text, tuple(dict.fromkeys(numbers)))


def _check(claim: str, number: int, source: Mapping[str, Any] | None) -> dict[str, Any]:
    if source is None:
        return {"number": number, "quote": "", "start": 0, "end": 0, "verdict": "unsupported"}
    text = source["text"]
    verdict, span = "verbatim", find_verbatim(claim, text)
    if span is None:
        verdict, span = "supported", find_support(claim, text)
    if span is None:
        return {
            "number": number,
            "quote": "",
            "start": source["start"],
            "end": source["start"],
            "verdict": "unsupported",
        }
    start, end = span
    place = {"start": source["start"] + start, "end": source["start"] + end}
    return {"number": number, "quote": text[start:end], **place, "verdict": verdict}


def find_verbatim(claim: str, text: str) -> tuple[int, int] | None:
    """Return where the claim stands in the text, letters and digits compared only, or None."""
    wanted, _ = _letters(claim)
    held, places = _letters(text)
    at = held.find(wanted) if wanted else -1
    return None if at < 0 else (places[at], places[at + len(wanted) - 1] + 1)


def find_support(claim: str, text: str) -> tuple[int, int] | None:
    """Return the sentence of the text that holds the claim's numbers and most of its content words, or None."""
    wanted = content_words(claim)
    numbers = {word for word in wanted if _NUMBER.search(word)}
    best, best_share = None, 0.0
    for start, end in split_sentences(text):
        held = content_words(text[start:end])
        share = len(wanted & held) / len(wanted) if wanted else 0.0
        if numbers <= held and share > best_share:
            best, best_share = (start, end), share
    return best if best_share >= SUPPORT else None


def content_words(text: str) -> set[str]:
    """Return the words that carry meaning, in lower case and without a plural's s."""
    words = (word.lower() for word in _WORD.findall(unicodedata.normalize("NFKC", text)))
    return {word.removesuffix("s") if len(word) > 3 else word for word in words if word not in _STOP_WORDS}


def _letters(text: str) -> tuple[str, list[int]]:
    """Return the letters and digits of a text, folded, and the offset of each."""
    folded, places = [], []
    for offset, character in enumerate(text):
        for part in unicodedata.normalize("NFKC", character).casefold():
            if part.isalnum():
                folded.append(part)
                places.append(offset)
    return "".join(folded), places

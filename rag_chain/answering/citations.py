"""Check an answer's citations against its sources, without asking a model again."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_chain.markup import blank_unread
from rag_chain.sentences import split_sentences
from rag_chain.words import WORD, content_words, is_negated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Share of a sentence's content words that one sentence of the source must hold to stand behind it.
SUPPORT = 0.6

_MARK = re.compile(r"\s*\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_MARKS_AFTER_STOP = re.compile(
    r"([.!?…。！？][.!?…。！？\"'”’)*_`」』）]*)"
    # In the same paragraph, or alone on a line below it.
    r"((?:[^\S\n]*(?:\n[^\S\n]*)?\[\d[\d\s,]*\])+|(?:\s*\[\d[\d\s,]*\])+(?=[^\S\n]*$))",
    re.MULTILINE,
)
_LIST_MARK = re.compile(r"\s*(?:[-*+•]\s+)?(?:\d{1,3}[.)]\s+)?")
_NUMBER = re.compile(r"\d")


@dataclass(frozen=True)
class Claim:
    """A sentence of the answer without its marks, and the numbers of the sources that it names."""

    text: str
    numbers: tuple[int, ...]


def check_answer(answer: str, sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``citations``, one for each source named by a sentence, and ``grounded``.

    ``verbatim``: the sentence stands in the source, up to white space, case and typography.
    ``supported``: one sentence of the source holds its numbers and most of its content words, and
    denies as much as it does.
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
    moved = _MARKS_AFTER_STOP.sub(lambda found: f" {' '.join(found[2].split())}{found[1]}", answer)
    for start, end in split_sentences(moved):
        sentence = moved[start:end]
        numbers = [int(n) for mark in _MARK.findall(sentence) for n in mark.split(",")]
        text = _LIST_MARK.sub("", _MARK.sub("", sentence), count=1).strip()
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
    """Return where the claim's words stand in the text, one after the other, or None.

    White space, case, punctuation and Markdown's marks do not count.
    """
    wanted = [word for word, _, _ in _words(claim)]
    held = list(_words(text))
    for first in range(len(held) - len(wanted) + 1 if wanted else 0):
        if all(word == held[first + number][0] for number, word in enumerate(wanted)):
            return held[first][1], held[first + len(wanted) - 1][2]
    return None


def find_support(claim: str, text: str) -> tuple[int, int] | None:
    """Return the sentence of the text that holds the claim's numbers and most of its content words, or None."""
    wanted = content_words(claim)
    numbers = {word for word in wanted if _NUMBER.search(word)}
    negated = is_negated(claim)
    best, best_share = None, 0.0
    for start, end in split_sentences(text):
        held = content_words(text[start:end])
        share = len(wanted & held) / len(wanted) if wanted else 0.0
        if numbers <= held and share > best_share and is_negated(text[start:end]) == negated:
            best, best_share = (start, end), share
    return best if best_share >= SUPPORT else None


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the words of a text, folded, with their offsets; addresses of links and tags are no words."""
    for match in WORD.finditer(blank_unread(text)):
        yield unicodedata.normalize("NFKC", match[0]).casefold(), match.start(), match.end()

"""Find what stands behind a claim in a source: the same words in a row, or a sentence that says as much."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from rag_chain.markup import blank_unread
from rag_chain.sentences import split_sentences
from rag_chain.words import NUMBER_WORDS, WORD, content_words, find_names, is_negated, is_opposed, stem_words

if TYPE_CHECKING:
    from collections.abc import Iterator

# Texts of sources, and claims, that are kept as they were read; more than the answers checked at one time have.
READ_SOURCES, READ_CLAIMS = 256, 2048
# Share of a claim's content words that one sentence of the source must hold to stand behind it, and the share
# with which it may, if the embedding model finds the two alike.
SUPPORT, LIKELY = 0.6, 0.35
# Of these, at least so many must be the sentence's own and not only its heading's.
OWN = 0.3

# No word holds it.
BETWEEN = "\0"

_NUMBER = re.compile(r"\d")
_POINTS_BACK = re.compile(r"\W*(?:it|they|this|that|these|those|he|she|its|their|his|her|such)\b", re.IGNORECASE)
# Sentences in a document that are meant for a model; what they say is no fact.
_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instructions?|prompts?|(?:everything|all|anything) "
    r"(?:above|before|previous))\b"
    r"|\b(?:new|real|following) instructions?\s*:|\byou are now\b|\bpretend (?:to be|that you)\b"
    r"|\b(?:reply|respond|answer)\b.{0,20}\b(?:only with|exactly|with the words?)\b"
    r"|\b(?:assistant|chatbot)s?\s*[:,]?\s+(?:must|shall|please|you)\b"
    r"|\binstead,? (?:say|reply|respond|answer)\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Support:
    """A sentence of a source, and the share of a claim's words that it holds."""

    start: int
    end: int
    share: float


def find_verbatim(claim: str, text: str) -> tuple[int, int] | None:
    """Return where the claim's words stand in the text, one after the other, or None.

    White space, case, punctuation and Markdown's marks do not count. What stands in an instruction to a
    model is no statement and is not found.
    """
    wanted = BETWEEN.join(_folded(blank_unread(claim)))
    held = _words_of_source(text)
    place = held.joined.find(f"{BETWEEN}{wanted}{BETWEEN}") if wanted else -1
    while place >= 0:
        first = bisect_left(held.places, place)
        start, end = held.spans[first][0], held.spans[first + wanted.count(BETWEEN)][1]
        if not _is_instruction(text, start, end):
            return start, end
        place = held.joined.find(f"{BETWEEN}{wanted}{BETWEEN}", place + 1)
    return None


def find_support(claim: str, text: str, context: str = "") -> tuple[int, int] | None:
    """Return the sentence of the text that stands behind the claim by its words, or None."""
    best = find_nearest(claim, text, context)
    return (best.start, best.end) if best is not None and best.share >= SUPPORT else None


@lru_cache(READ_CLAIMS)
def find_nearest(claim: str, text: str, context: str = "") -> Support | None:
    """Return the sentence that may stand behind the claim and holds most of its words, or None."""
    return max(_find_candidates(claim, text, context), key=lambda found: found.share, default=None)


def _find_candidates(claim: str, text: str, context: str) -> Iterator[Support]:
    """Yield the sentences of the text that may stand behind the claim.

    Each holds the claim's numbers and, with the headings in ``context`` and the sentence that it points back
    to, its names; it denies as much as the claim does, says the opposite of none of its words, and is no
    instruction to a model.
    """
    said = _read_sentence(claim)
    names, headings = stem_words(content_words(" ".join(find_names(claim, text)))), content_words(context)
    numbers, wanted = {word for word in said.words if _NUMBER.search(word)}, said.stems
    context_stems = stem_words(headings)
    before: frozenset[str] = frozenset()
    for start, end, sentence in _read_source(text):
        around = sentence.stems | context_stems | (before if sentence.points_back else frozenset())
        before = sentence.stems
        fits = numbers <= sentence.words and said.counted <= sentence.counted
        if not (fits and names <= around and sentence.denies == said.denies):
            continue
        own = len(wanted & sentence.stems) / len(wanted) if wanted else 0.0
        share = len(wanted & around) / len(wanted) if wanted else 0.0
        passage = text[start:end]
        if own >= OWN and not is_opposed(claim, passage) and not _INSTRUCTION.search(passage):
            yield Support(start, end, share)


@dataclass(frozen=True)
class _Sentence:
    """What a sentence says, as far as words tell."""

    words: frozenset[str]
    stems: frozenset[str]
    counted: frozenset[str]
    denies: bool
    points_back: bool


@lru_cache(READ_CLAIMS)
def _read_sentence(text: str) -> _Sentence:
    words = content_words(text)
    return _Sentence(
        frozenset(words),
        frozenset(stem_words(words)),
        frozenset(_count_words(text)),
        is_negated(text),
        _POINTS_BACK.match(text) is not None,
    )


@lru_cache(READ_SOURCES)
def _read_source(text: str) -> tuple[tuple[int, int, _Sentence], ...]:
    """Return a source's sentences; every claim of an answer is held against the same few sources."""
    return tuple((start, end, _read_sentence(text[start:end])) for start, end in split_sentences(text))


def _count_words(text: str) -> set[str]:
    """Return the numbers that are written as words."""
    return {word.lower() for word in WORD.findall(text)} & NUMBER_WORDS


def _is_instruction(text: str, start: int, end: int) -> bool:
    """Return whether a passage lies in sentences of which one is an instruction to a model."""
    touched = [text[first:last] for first, last in split_sentences(text) if first < end and last > start]
    return any(_INSTRUCTION.search(sentence) for sentence in touched)


@dataclass(frozen=True)
class _Words:
    """A source's words in one text, each between two marks, and where each begins there and stands in the source."""

    joined: str
    places: list[int]
    spans: list[tuple[int, int]]


@lru_cache(READ_SOURCES)
def _words_of_source(text: str) -> _Words:
    words = list(_words(text))
    joined = BETWEEN.join(["", *(word for word, _, _ in words), ""])
    places = [0, *accumulate(len(word) + 1 for word, _, _ in words)]
    return _Words(joined, places, [(start, end) for _, start, end in words])


def _words(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the words of a text, folded, with their offsets; addresses of links and tags are no words."""
    for match in WORD.finditer(blank_unread(text)):
        yield _fold(match[0]), match.start(), match.end()


def _folded(text: str) -> list[str]:
    return WORD.findall(text.lower()) if text.isascii() else [_fold(word) for word in WORD.findall(text)]


def _fold(word: str) -> str:
    return word.lower() if word.isascii() else unicodedata.normalize("NFKC", word).casefold()

"""The words that carry a sentence's meaning: for choosing sentences and for comparing a claim with its source."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A number keeps its point and sign; an underscore inside a name belongs to it, one around it is emphasis.
WORD = re.compile(r"(?<![\w.])[-−]?\d[\d.,]*\d|(?<![\w.])[-−]\d|[^\W_]+(?:_+[^\W_]+)*")
_STOP_WORDS = frozenset(
    "a about after all also an and any are as at be because been but by can could do does for from had has have how "
    "if in into is it its may more most of on one only or other our out over so some such than that the their them "
    "then there these they this those through to under up use used uses using was we were what when where which while "
    "who why will with would yes you your".split()
)
_NEGATION = re.compile(r"\b(?:not|no|never|none|neither|nor|without|cannot)\b|n['’]t\b", re.IGNORECASE)
NUMBER_WORDS = frozenset(
    "two three four five six seven eight nine ten eleven twelve hundred thousand million billion second third fourth "
    "half twice double triple".split()
)
# Pairs of stems of which a claim holds one where its source holds the other only when it says the opposite.
OPPOSITES = tuple(
    tuple(pair.split("/"))
    for pair in (
        "increas/decreas rise/fall rais/lower high/low higher/lower larg/small larger/smaller more/less most/least "
        "befor/after first/last begin/end start/stop enabl/disabl support/unsupport allow/forbid accept/reject "
        "includ/exclud posit/negat upper/lower inner/outer left/right north/south east/west maximum/minimum max/min "
        "success/fail true/fals open/close add/remov insert/delet read/write win/lose won/lost male/femal old/new "
        "best/worst intern/extern public/privat cheap/expens fast/slow faster/slower"
    ).split()
)
_CAPITAL = re.compile(r"[^\W\d_a-z][\w]*|\w*[a-z][A-Z]\w*")


def content_words(text: str) -> set[str]:
    """Return the words that carry meaning, in lower case and without a plural's s."""
    words = (word.lower() for word in WORD.findall(unicodedata.normalize("NFKC", text)))
    return {word.removesuffix("s") if len(word) > 3 else word for word in words if word not in _STOP_WORDS}


def says_something(text: str) -> bool:
    """Return whether a text has a word that carries meaning."""
    words = WORD.finditer(unicodedata.normalize("NFKC", text))
    return any(word[0].lower() not in _STOP_WORDS for word in words)


def is_negated(text: str) -> bool:
    """Return whether a sentence denies something, as far as a word can tell."""
    return _NEGATION.search(text) is not None


def is_latin(text: str) -> bool:
    """Return whether at least half of a text's letters, if it has any, are Latin."""
    letters = [character for character in text if character.isalpha()]
    return 2 * sum("LATIN" in unicodedata.name(letter, "") for letter in letters) >= len(letters)


def is_opposed(one: str, other: str) -> bool:
    """Return whether each of two texts has a word of which the other has the opposite instead."""
    first, second = (stem_words(word.lower() for word in WORD.findall(text)) for text in (one, other))
    mine, theirs = first - second, second - first
    return any((a in mine and b in theirs) or (b in mine and a in theirs) for a, b in OPPOSITES)


def find_names(claim: str, source: str) -> set[str]:
    """Return the words of a claim that name something: they are written with a capital.

    A sentence's first word always is, so it counts only if the source does not have it in lower case.
    """
    words = [word for word in WORD.findall(claim) if word.lower() not in _STOP_WORDS]
    names = {word for word in words[1:] if _CAPITAL.fullmatch(word)}
    first = words[0] if words and claim.lstrip(" \"'“‘(*_`").startswith(words[0]) else ""
    if (
        first
        and _CAPITAL.fullmatch(first)
        and stem_words({first.lower()}).isdisjoint(stem_words(_in_lower_case(source)))
    ):
        names.add(first)
    return names


def _in_lower_case(text: str) -> set[str]:
    return {word for word in WORD.findall(text) if word.islower()}


def stem_words(words: Iterable[str]) -> set[str]:
    """Return English words, in lower case, without their endings; a word with a digit stays whole."""
    stem = find_stemmer("english")
    return {word if any(map(str.isdigit, word)) else stem(word) for word in words}


@cache
def find_stemmer(language: str) -> Callable[[str], str]:
    """Return what takes a word's endings off, as Snowball does for this language; ``none`` leaves words whole."""
    if language == "none":
        return str
    from Stemmer import Stemmer

    # A corpus has few words, each of them often. Its own cache is not made for several threads.
    return lru_cache(100_000)(Stemmer(language, 0).stemWord)

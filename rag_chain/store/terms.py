"""The terms that BM25 counts: words without their endings, and pairs of characters where a script has no spaces.

Milvus' own analyzers differ between Milvus Lite, which neither stems nor cuts Chinese, and servers. So
both get terms that are cut here, one blank between two, and keep them as they are.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from rag_chain.words import find_stemmer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Part of every collection's fingerprint: raise it when the same text would give other terms.
TERMS_VERSION = 1

_WORD = re.compile(r"\w+")
# Han, kana and hangul: words there are short, and where they end no blank tells.
_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]+)")
# English words that ask and join; in another language they are no words, or rare.
_STOP_WORDS = frozenset(
    "a about all also am an and any are as at be because been being but by can could did do does doing each few for "
    "from had has have having he her here his how i if in into is it its just may me might mine more most must my no "
    "not of on only or other our out own same shall she should so some such than that the their them then there these "
    "they this those to too up us very was we were what when where which while who whom whose why will with would you "
    "your".split()
)


def find_terms(text: str, language: str) -> list[str]:
    """Return a text's terms in order; ``language`` names the Snowball stemmer, ``none`` keeps words whole."""
    stem = find_stemmer(language)
    return [term for word in _WORD.findall(unicodedata.normalize("NFKC", text).lower()) for term in _cut(word, stem)]


def _cut(word: str, stem: Callable[[str], str]) -> Iterator[str]:
    if word.isascii():
        if word not in _STOP_WORDS:
            yield stem(word)
        return
    for number, part in enumerate(_UNSPACED.split(word)):
        if number % 2:
            yield from (part[place : place + 2] for place in range(max(1, len(part) - 1)))
        elif part:
            yield stem(part)

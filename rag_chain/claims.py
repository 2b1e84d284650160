"""Take an answer apart into what it claims and the sources that it names for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_chain.sentences import split_sentences
from rag_chain.words import says_something

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = re.compile(r"\s*\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_MARKS_AFTER_STOP = re.compile(
    r"([.!?…。！？][.!?…。！？\"'”’)*_`」』）]*)"
    # In the same paragraph, or alone on a line below it.
    r"((?:[^\S\n]*(?:\n[^\S\n]*)?\[\d[\d\s,]*\])+|(?:\s*\[\d[\d\s,]*\])+(?=[^\S\n]*$))",
    re.MULTILINE,
)
_LIST_MARK = re.compile(r"\s*(?:[-*+•]\s+)?(?:\d{1,3}[.)]\s+)?")

# In code a number in brackets is an index; and so it is anywhere if it is 0.
_CODE = re.compile(r"(`+)[^`].*?\1", re.DOTALL)


@dataclass(frozen=True)
class Claim:
    """A sentence of the answer without its marks, and the numbers of the sources that it names."""

    text: str
    numbers: tuple[int, ...]


def split_claims(answer: str) -> Iterator[Claim]:
    """Yield the sentences of an answer with the marks that stand in or right after them.

    A sentence without a content word, such as "Yes.", claims nothing and is left out.
    """
    plain = _CODE.sub(lambda found: found[0].replace("[", "("), answer)
    # A mark after the full stop belongs to the sentence before it.
    moved = _MARKS_AFTER_STOP.sub(lambda found: f" {' '.join(found[2].split())}{found[1]}", plain)
    for start, end in split_sentences(moved):
        sentence = moved[start:end]
        numbers = [int(n) for mark in _MARK.findall(sentence) for n in mark.split(",") if int(n)]
        text = _LIST_MARK.sub("", _MARK.sub("", sentence), count=1).strip()
        if says_something(text):
            yield Claim(text, tuple(dict.fromkeys(numbers)))

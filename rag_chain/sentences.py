"""Find where sentences begin: for cutting chunks, quoting sources and checking claims."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# A full stop followed by white space and by something that can open a sentence; CJK stops need no space.
_END = re.compile(
    r"(?:[.!?…]+[\"'”’)\]*_`]*\s+(?=[\"'“‘(\[*_`#>-]*[^\W_a-z])|[。！？]+[”’」』）]*\s*)|\n\s*\n\s*|\n(?=\s*(?:[-*+|#>]|\d+[.)])\s?)"
)
# An item's number, too, is no sentence.
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|e\.g|i\.e|etc|vs|cf|al|approx|Fig|No|Nr|Mr|Mrs|Ms|Dr|Prof|St|Inc|Ltd|Co|Jr)"
    r"|(?m:^)[ \t]*\d{1,3})\.\s+\Z"
)


def sentence_starts(text: str) -> Iterator[int]:
    """Yield the offset of every sentence of the text, the first included."""
    if text:
        yield 0
    for match in _END.finditer(text):
        if match.end() < len(text) and not _ABBREVIATION.search(text, max(0, match.end() - 12), match.end()):
            yield match.end()


def split_sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield ``(start, end)`` of every sentence that holds a letter or digit, white space taken off both ends."""
    starts = [*sentence_starts(text), len(text)]
    for start, end in itertools.pairwise(starts):
        piece = text[start:end]
        if any(character.isalnum() for character in piece):
            yield start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())

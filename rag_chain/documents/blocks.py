"""Parse the block structure of Markdown, which is all that loading and cutting need."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from rag_chain.markup import plain_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from markdown_it import MarkdownIt
    from markdown_it.token import Token


PIECE_CHARACTERS = 500_000
# A heading, or a line of prose after a blank one, ends whatever block there was before, but for a fence.
_FENCE_OR_START = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)|^ {0,3}#{1,6}[ \t]|(?<=\n\n)(?=[A-Za-z])", re.MULTILINE
)


@cache
def _open_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.disable(["inline"])
    return parser


def parse_blocks(text: str) -> Iterator[Token]:
    """Yield the block tokens of a text; ``token.map`` holds their first line and the line after their last.

    A long text is parsed in pieces: the tokens take up thirty times the memory of the text.
    """
    if len(text) <= PIECE_CHARACTERS:
        yield from _parse_kept(text)
        return
    first = 0
    for piece in _pieces(text):
        for token in _open_parser().parse(piece):
            if token.map:
                token.map = [line + first for line in token.map]
            yield token
        first += piece.count("\n")


# Loading asks for the blocks of a text up to three times and splitting once more, one text after the other.
@lru_cache(maxsize=2)
def _parse_kept(text: str) -> tuple[Token, ...]:
    return tuple(_open_parser().parse(text))


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces that end where a block outside of fences ends."""
    start, fence = 0, ""
    for line in _FENCE_OR_START.finditer(text):
        if line["fence"] is None:
            if not fence and line.start() - start >= PIECE_CHARACTERS:
                yield text[start : line.start()]
                start = line.start()
        elif not fence:
            fence = line["fence"]
        elif line["fence"].startswith(fence) and not line["info"].strip():
            fence = ""
    yield text[start:]


def find_headings(tokens: Iterable[Token]) -> Iterator[tuple[Token, str]]:
    """Yield every heading's token and words, in order, those in lists and quotes included."""
    for token, content in pairwise(tokens):
        if token.type == "heading_open":
            yield token, plain_words(content.content)


def lines_outside_fences(text: str) -> Iterator[int]:
    """Yield the numbers of the lines that are neither in a code fence nor its first or last line."""
    fenced = {line for token in parse_blocks(text) if token.type == "fence" and token.map for line in range(*token.map)}
    return (number for number in range(text.count("\n") + 1) if number not in fenced)

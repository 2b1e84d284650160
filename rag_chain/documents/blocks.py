"""Parse the block structure of Markdown, which is all that loading and cutting need."""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from rag_chain.markup import plain_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it import MarkdownIt
    from markdown_it.token import Token


# The blocks of a longer text would take up memory for no good while.
KEPT_CHARACTERS = 1_000_000


@cache
def _open_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.disable(["inline"])
    return parser


def parse_blocks(text: str) -> list[Token]:
    """Return the block tokens of a text; ``token.map`` holds their first line and the line after their last."""
    return list(_parse_kept(text) if len(text) <= KEPT_CHARACTERS else _open_parser().parse(text))


# Loading asks for the blocks of a text up to three times and splitting once more, one text after the other.
@lru_cache(maxsize=2)
def _parse_kept(text: str) -> list[Token]:
    return _open_parser().parse(text)


def find_headings(tokens: list[Token]) -> Iterator[tuple[Token, str]]:
    """Yield every heading's token and words, in order, those in lists and quotes included."""
    for token, content in pairwise(tokens):
        if token.type == "heading_open":
            yield token, plain_words(content.content)


def lines_outside_fences(text: str) -> Iterator[int]:
    """Yield the numbers of the lines that are neither in a code fence nor its first or last line."""
    fenced = {line for token in parse_blocks(text) if token.type == "fence" and token.map for line in range(*token.map)}
    return (number for number in range(text.count("\n") + 1) if number not in fenced)

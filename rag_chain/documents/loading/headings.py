"""Find the headings of a Markdown text, outside of its code fences."""

import re
from collections.abc import Iterator

from rag_chain.markup import plain_words

_FENCE = re.compile(r"[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)?(?P<marks>`{3,}|~{3,})(?P<info>.*)")
_ATX = re.compile(r" {0,3}(?P<marks>#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|--+)[ \t]*")
_BLOCK_START = re.compile(r"\s*(?:[-*+>|<#]|\d+[.)]\s|$)")
_HTML_H1 = re.compile(r"<h1\b[^>]{0,300}>(.{1,1000}?)</h1>", re.IGNORECASE | re.DOTALL)


def outside_fences(lines: list[str]) -> Iterator[int]:
    """Yield the numbers of the lines that are neither in a code fence nor its first or last line."""
    fence = ""
    for number, line in enumerate(lines):
        found = _FENCE.fullmatch(line) if "```" in line or "~~~" in line else None
        if fence:
            closes = found and found["marks"].startswith(fence) and not found["info"].strip()
            fence = "" if closes else fence
        elif found and not (found["marks"][0] == "`" and "`" in found["info"]):
            fence = found["marks"]
        else:
            yield number


def find_headings(text: str) -> Iterator[tuple[int, str]]:
    """Yield depth and words of every heading, underlined ones included."""
    lines = text.split("\n")
    previous = -2
    for number in outside_fences(lines):
        line = lines[number]
        if atx := _ATX.match(line):
            yield len(atx["marks"]), plain_words(_without_closing(line[atx.end() :].strip()))
        elif _UNDERLINE.fullmatch(line) and previous == number - 1 and not _BLOCK_START.match(lines[previous]):
            yield (1 if "=" in line else 2), plain_words(lines[previous])
        previous = number


def _without_closing(words: str) -> str:
    """Take off the marks that may close a heading; those of ``C#`` belong to the word."""
    rest = words.rstrip("#")
    return rest.rstrip() if not rest or rest[-1].isspace() else words


def first_heading(text: str) -> str | None:
    """Return the words of the first heading of depth 1, else of the first ``<h1>``."""
    for depth, words in find_headings(text):
        if depth == 1 and words:
            return words
    html = _HTML_H1.search(text)
    return (plain_words(html[1]) or None) if html else None

"""Find the sections of a text: where each starts and ends, under which headings, and where it may be cut."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from rag_chain.documents.blocks import find_headings, parse_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from markdown_it.token import Token


# A tokenizer takes about 150 bytes of memory for each character.
MOST_CHARACTERS = 200_000


@dataclass(frozen=True)
class Section:
    """``text[start:end]`` is the section, its own heading line and bare ones before it included.

    ``body`` is where its own heading line ends.
    """

    start: int
    body: int
    end: int
    headings: tuple[str, ...]
    blocks: tuple[int, ...]


def find_sections(text: str, markup: str) -> Iterator[Section]:
    """Yield the sections of a text in order, long ones in parts; without Markdown there is one.

    Headings without text of their own belong to the section below them, at the end of a text to the
    one above; a text of headings only is one section.
    """
    sections = _join_bare(_markdown_sections(text), text) if markup == "markdown" else []
    if not sections and text.strip():
        sections = [Section(0, 0, len(text), (), ())]
    for section in sections:
        yield from _cut_long(text, section)


def _join_bare(sections: Iterable[Section], text: str) -> list[Section]:
    """Return the sections that have text, each with the bare headings before it."""
    joined: list[Section] = []
    start: int | None = None
    for section in sections:
        if not text[section.body : section.end].strip():
            start = section.start if start is None else start
            continue
        joined.append(section if start is None else replace(section, start=start))
        start = None
    if joined and start is not None:
        joined[-1] = replace(joined[-1], end=len(text), blocks=(*joined[-1].blocks, start))
    return joined


def _cut_long(text: str, section: Section) -> Iterator[Section]:
    """Yield a section in parts that can be tokenized at once, cut between blocks, lines or words where possible."""
    while section.end - section.start > MOST_CHARACTERS:
        limit = section.start + MOST_CHARACTERS
        cut = _last_place(text, section, limit)
        blocks = section.blocks
        yield replace(section, end=cut, blocks=tuple(block for block in blocks if block < cut))
        later = tuple(block for block in blocks if block > cut)
        section = replace(section, start=cut, body=max(cut, section.body), blocks=later)
    yield section


def _last_place(text: str, section: Section, limit: int) -> int:
    """Return the last good place to cut in the second half of ``text[section.start:limit]``, or its end."""
    middle = (section.start + limit) // 2
    places = (
        max((block for block in section.blocks if block <= limit), default=0),
        *(text.rfind(end, middle, limit) + len(end) for end in ("\n\n", "\n", " ")),
    )
    return next((place for place in places if place > middle), limit)


def _markdown_sections(text: str) -> list[Section]:
    written = text.split("\n")
    lines = [0, *accumulate(len(line) + 1 for line in written)]
    # To the parser a carriage return ends a line; as a space it keeps lines and offsets as they are here.
    tokens = parse_blocks(text.replace("\r", " "))
    blocks: list[int] = []

    def note_blocks() -> Iterator[Token]:
        for token in tokens:
            if token.level == 0 and token.map:
                blocks.append(min(lines[token.map[0]], len(text)))
            yield token

    starts = [(0, 0, ()), *_heading_starts(note_blocks(), written, lines, len(text))]
    ends = [start for start, _, _ in starts[1:]] + [len(text)]
    return [
        Section(start, body, end, headings, tuple(blocks[bisect_right(blocks, start) : bisect_left(blocks, end)]))
        for (start, body, headings), end in zip(starts, ends, strict=True)
    ]


def _heading_starts(
    tokens: Iterable[Token], written: list[str], lines: list[int], length: int
) -> list[tuple[int, int, tuple[str, ...]]]:
    """Return ``(start, end of the heading line, heading path)`` of every heading that opens a section."""
    path: list[tuple[int, str]] = []
    starts: list[tuple[int, int, tuple[str, ...]]] = []
    for token, heading in find_headings(tokens):
        if token.map is None or not _opens_section(token, written[token.map[0]]):
            continue
        depth = int(token.tag[1:])
        path = [*(entry for entry in path if entry[0] < depth), (depth, heading)]
        first, last = (min(lines[line], length) for line in token.map)
        starts.append((first, last, tuple(words for _, words in path if words)))
    return starts


def _opens_section(heading: Token, line: str) -> bool:
    # Authors indent a heading after a list by accident; to Markdown it then belongs to the last item.
    return heading.level == 0 or re.match(r" {0,3}#", line) is not None

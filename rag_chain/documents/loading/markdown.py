"""Load Markdown: the text as it stands, without front matter, comments and tables of contents."""

import re
from bisect import bisect
from collections.abc import Iterator, Mapping

from rag_chain.documents.blocks import lines_outside_fences
from rag_chain.documents.loading.decoding import decode
from rag_chain.documents.loading.file_loader import Extract, FileLoader
from rag_chain.documents.loading.front_matter import split_front_matter
from rag_chain.documents.loading.headings import first_heading, has_headings
from rag_chain.markup import plain_words

_TOKEN = re.compile(
    r"^[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)?(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})"
    r"|(?P<code>`+)"
    r"|(?P<comment><!--)"
    r"|!\[(?P<alt>[^\]\n]{0,300})\]\(data:[\w+/=;:,.%-]*\)",
    re.MULTILINE,
)
_CONTENTS_START = re.compile(r"\s*(?:toc\b|start doctoc\b)", re.IGNORECASE)
_CONTENTS_END = re.compile(r"<!--\s*(?:/toc\b|tocstop\b|end doctoc\b)[^>]{0,200}?-->", re.IGNORECASE)
_CONTENTS_MARK = re.compile(r"\s*(?:\[TOC\]|\[\[_?TOC_?\]\]|\$\{toc\}|\{:toc\})\s*", re.IGNORECASE)
_CONTENTS_HEADING = re.compile(r" {0,3}#{1,6}[ \t]|\*\*.*\*\*\s*$")
_LIST_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+(?P<words>.*)")
_LINK_TO_SECTION = re.compile(r"\[.*\]\(#[^()\s]*\)\s*")
# A code span ends in its paragraph; a limit keeps odd backticks from making the search slow.
_MAX_SPAN = 2_000


class MarkdownLoader(FileLoader):
    """Loader of Markdown; code fences, tables and HTML blocks stay as they are."""

    def extract(self, data: bytes) -> Extract:
        """Decode the bytes and leave out what is not text."""
        fields, body = split_front_matter(decode(data))
        text = _drop_contents(_drop_comments(body).strip("\n")).strip("\n")
        return Extract(
            text,
            title=_text(fields, "title") or first_heading(text),
            markup="markdown" if has_headings(text) else "plain",
            language=_text(fields, "lang") or _text(fields, "language"),
            fields=fields,
        )


def _text(fields: Mapping[str, str | list[str]], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _drop_comments(text: str) -> str:
    """Leave out comments, marked tables of contents and images that are embedded as data."""
    pieces, position = [], 0
    for start, end, replacement in _find_cuts(text):
        pieces += [text[position:start], replacement]
        position = end
    return "".join([*pieces, text[position:]])


def _find_cuts(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield what to replace, in order; code is stepped over."""
    ends_of_contents = [found.end() for found in _CONTENTS_END.finditer(text)]
    position = 0
    while token := _TOKEN.search(text, position):
        position = token.end()
        if token["fence"]:
            position = _end_of_fence(text, token["fence"], position)
        elif token["code"]:
            position = _end_of_span(text, token["code"], position)
        elif token["comment"] is None:
            yield token.start(), position, token["alt"]
        elif (end := text.find("-->", position)) < 0:
            # Not closed anywhere: the rest is text, and there is no further comment.
            return
        else:
            start, position = _widen(text, token.start(), _end_of_comment(text, position, end, ends_of_contents))
            yield start, position, ""


def _end_of_fence(text: str, marks: str, position: int) -> int:
    closing = re.compile(rf"^[ \t>]*{marks[0]}{{{len(marks)},}}[ \t]*$", re.MULTILINE).search(text, position)
    return closing.end() if closing else len(text)


def _end_of_span(text: str, marks: str, position: int) -> int:
    limit = text.find("\n\n", position, position + _MAX_SPAN)
    closing = re.compile(rf"(?<!`){marks}(?!`)").search(text, position, limit if limit >= 0 else position + _MAX_SPAN)
    return closing.end() if closing else position


def _end_of_comment(text: str, start: int, end: int, ends_of_contents: list[int]) -> int:
    """Return where a comment ends; one that opens a table of contents ends where that is closed."""
    end += len("-->")
    following = bisect(ends_of_contents, end)
    if following < len(ends_of_contents) and _CONTENTS_START.match(text, start):
        return ends_of_contents[following]
    return end


def _widen(text: str, start: int, end: int) -> tuple[int, int]:
    """Take the line's end along when nothing else is on the lines."""
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    if text[line_start:start].strip() or text[end:line_end].strip():
        return start, end
    return line_start, min(line_end + 1, len(text))


def _drop_contents(text: str) -> str:
    """Leave out ``[TOC]`` marks and lists of nothing but links to sections, with the heading that says so."""
    lines = text.split("\n")
    dropped: set[int] = set()
    in_list = False
    for number in lines_outside_fences(text):
        line = lines[number]
        item = _LIST_ITEM.fullmatch(line)
        if _CONTENTS_MARK.fullmatch(line):
            dropped.add(number)
        elif _CONTENTS_HEADING.match(line) and _says_contents(line):
            dropped |= _lines_of_contents(lines, number)
        # From its first item only: a long list that is none must not be gone through for each item.
        elif item and not in_list and number not in dropped:
            dropped |= _lines_of_contents(lines, number - 1, least=2) - {number - 1}
        in_list = item is not None if line.strip() else in_list
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped)


def _says_contents(line: str) -> bool:
    return plain_words(line.strip(" #*\t")).rstrip(":").lower() in {"table of contents", "contents", "toc"}


def _lines_of_contents(lines: list[str], heading: int, least: int = 1) -> set[int]:
    """Return the lines of the heading and its list, when that has ``least`` items, all of them links to sections."""
    items = 0
    end = heading + 1
    while end < len(lines) and (not lines[end].strip() or (item := _LIST_ITEM.fullmatch(lines[end]))):
        if lines[end].strip() and item:
            if not _LINK_TO_SECTION.fullmatch(item["words"]):
                return set()
            items += 1
        end += 1
    return set(range(heading, end)) if items >= least else set()

"""Find the heading that names a Markdown text."""

import re

from rag_chain.documents.blocks import find_headings, parse_blocks
from rag_chain.markup import plain_words

_HTML_H1 = re.compile(r"<h1\b[^>]{0,300}>(.{1,1000}?)</h1>", re.IGNORECASE | re.DOTALL)


def has_headings(text: str) -> bool:
    """Return whether there is a heading that the splitter can cut at."""
    return any(find_headings(parse_blocks(text)))


def first_heading(text: str) -> str | None:
    """Return the words of the first heading of depth 1, else of the first ``<h1>``."""
    for heading, words in find_headings(parse_blocks(text)):
        if heading.tag == "h1" and words:
            return words
    html = _HTML_H1.search(text)
    return (plain_words(html[1]) or None) if html else None

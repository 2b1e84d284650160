"""Tell words from Markdown's marks: links, emphasis, code, anchors and tags."""

from __future__ import annotations

import re

# Bounded, so that a page of opening brackets costs no more than any other.
_ADDRESS = r"\((?:[^()\s]|\([^()\s]{0,200}\)){0,500}(?:\s[^()]{0,200})?\)"
_LINK = re.compile(rf"!?\[([^\[\]]{{0,300}})\]{_ADDRESS}")
# Only HTML's own tags: the <String> of a List<String> is a word of the text.
_TAG = (
    r"</?(?:a|abbr|b|big|br|center|code|del|details|div|em|font|h[1-6]|hr|i|img|ins|kbd|li|mark|ol|p|pre|s|small|span"
    r"|strike|strong|sub|summary|sup|table|tbody|td|th|thead|tr|tt|u|ul|video)(?=[\s/>])[^<>]{0,300}>"
)
_MARKS = re.compile(rf"[`*]+|\{{#[^}}]{{0,100}}\}}|{_TAG}|(?<!\w)_+|_+(?!\w)", re.IGNORECASE)
_UNREAD = re.compile(rf"(?<=\]){_ADDRESS}|\{{#[^}}]{{0,100}}\}}|{_TAG}", re.IGNORECASE)


def plain_words(markdown: str) -> str:
    """Return the words of a heading or sentence as a reader sees them, in one line."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", markdown)).split())


def blank_unread(markdown: str) -> str:
    """Return a text of the same length in which addresses of links, anchors and tags are blanks."""
    if not any(opening in markdown for opening in "({<"):
        return markdown
    return _UNREAD.sub(lambda match: " " * len(match[0]), markdown)

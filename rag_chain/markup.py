"""Tell words from Markdown's marks: links, emphasis, code, anchors and tags."""

from __future__ import annotations

import re

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"[`*]|\{#[^}]*\}|<[^>]+>|(?<!\w)_+|_+(?!\w)")
_UNREAD = re.compile(r"(?<=\])\([^)]*\)|\{#[^}]*\}|<[^>]+>")


def plain_words(markdown: str) -> str:
    """Return the words of a line or sentence as a reader sees them."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", markdown)).split())


def blank_unread(markdown: str) -> str:
    """Return a text of the same length in which addresses of links, anchors and tags are blanks."""
    return _UNREAD.sub(lambda match: " " * len(match[0]), markdown)

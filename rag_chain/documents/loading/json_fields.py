"""Which JSON is a document: what has a text field, and not settings, menus and the like."""

import json
import re

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
# What a record's text is called in JSON; the first of these that it has.
TEXT_FIELDS = ("text", "content", "page_content", "body", "markdown", "abstract")
# Shorter ones are labels.
_LABEL_CHARACTERS = 40
_MOST_PARSED_BYTES = 5_000_000
_FIELD = rb'"(?:%b)"\s{0,99}:\s{0,99}"(?:[^"\\]|\\.){%d}'
_TEXT_FIELD = re.compile(_FIELD % ("|".join(TEXT_FIELDS).encode(), _LABEL_CHARACTERS), re.IGNORECASE)


def holds_texts(data: bytes) -> bool:
    """Return whether JSON is a text, a list of texts, or texts in lines: not settings, menus and the like.

    Looked for is a text field that is no mere label, in records or, where there is one object only, in that itself.
    """
    if _TEXT_FIELD.search(data) is None:
        return False
    if not data.lstrip().startswith(b"{") or b"\n{" in data:
        return True
    if len(data) > _MOST_PARSED_BYTES:
        return False
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # its loader says what is wrong
        return True
    return any(isinstance(value.get(name), str) and len(value[name]) >= _LABEL_CHARACTERS for name in TEXT_FIELDS)

"""Load JSON and JSON Lines: the records in it that have a text."""

import json
from collections.abc import Iterator
from typing import Any

from rag_chain.documents.loading.decoding import decode
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.documents.loading.json_fields import JSON_SUFFIXES, TEXT_FIELDS
from rag_chain.errors import DocumentError

_TITLE_FIELDS = ("title", "headline", "subject", "question", "name")
_MAX_VALUE_CHARACTERS = 200


class JsonLoader(FileLoader):
    """Loader of JSON: every object in it, however deep, that has a text field is a record.

    A record becomes its title as a heading, its text, and its other short values as ``name: value``.
    """

    def extract(self, data: bytes) -> Extract:
        """Turn the records into Markdown sections."""
        values = _parse(decode(data), lines=self.name.lower().endswith(JSON_SUFFIXES[1:]))
        records = list(_find_records(values))
        if not records:
            raise DocumentError(f"it has no text field: one of {', '.join(TEXT_FIELDS)}")
        title = _find(records[0], _TITLE_FIELDS) if len(records) == 1 else ""
        return Extract("\n\n".join(map(_write, records)), title=title or None, markup="markdown")


def _parse(text: str, *, lines: bool) -> Any:
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not readable as JSON: {one_line(error)}") from error


def _find_records(value: Any) -> Iterator[dict[str, Any]]:
    stack = [value]
    while stack:
        current = stack.pop()
        if isinstance(current, dict):
            if _find(current, TEXT_FIELDS):
                yield current
            else:
                stack.extend(reversed(current.values()))
        elif isinstance(current, list):
            stack.extend(reversed(current))


def _write(record: dict[str, Any]) -> str:
    body, title = _find(record, TEXT_FIELDS), _find(record, _TITLE_FIELDS)
    heading = f"## {one_line(title)}" if title else ""
    others = (
        f"{name}: {one_line(value)}"
        for name, value in record.items()
        if isinstance(value, str | int | float)
        and value not in {body, title}
        and 0 < len(str(value)) <= _MAX_VALUE_CHARACTERS
    )
    return "\n\n".join(filter(None, (heading, body.strip(), "\n".join(others))))


def _find(record: dict[str, Any], names: tuple[str, ...]) -> str:
    found = {str(name).lower(): text for name, text in record.items() if isinstance(text, str) and text.strip()}
    return next((found[name] for name in names if name in found), "")

"""Load Jupyter notebooks of formats 3 and 4 as Markdown."""

import json
import re
from collections.abc import Iterator
from typing import Any

from rag_chain.documents.loading.decoding import decode
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.documents.loading.headings import first_heading
from rag_chain.errors import DocumentError

_MAX_OUTPUT_CHARACTERS = 2_000
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BACKTICKS = re.compile(r"`{3,}")


class NotebookLoader(FileLoader):
    """Loader of notebooks: Markdown as it stands, code and text output between fences."""

    def extract(self, data: bytes) -> Extract:
        """Turn the cells into one Markdown text."""
        notebook = _parse(data)
        language = _text(_dig(notebook, "metadata", "language_info", "name")) or "python"
        parts = [part for cell in _cells(notebook) for part in _render_cell(cell, language)]
        text = "\n\n".join(part for part in parts if part.strip())
        return Extract(text, title=first_heading(text), markup="markdown")


def _parse(data: bytes) -> dict[str, Any]:
    try:
        notebook = json.loads(decode(data))
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not a notebook: {one_line(error)}") from error
    if not isinstance(notebook, dict):
        raise DocumentError("not a notebook: its JSON is not an object")
    return notebook


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the cells; format 3 has them in worksheets."""
    worksheets = [sheet for sheet in _list(notebook.get("worksheets")) if isinstance(sheet, dict)]
    for holder in [notebook, *worksheets]:
        yield from (cell for cell in _list(holder.get("cells")) if isinstance(cell, dict))


def _render_cell(cell: dict[str, Any], language: str) -> Iterator[str]:
    source = _text(cell.get("source", cell.get("input")))
    kind = cell.get("cell_type")
    if kind == "code":
        yield _fence(source, language)
        for output in _list(cell.get("outputs")):
            yield _fence(_render_output(output)[:_MAX_OUTPUT_CHARACTERS], "text")
    elif kind == "heading":
        level: Any = cell.get("level")
        yield f"{'#' * (level if level in range(1, 7) else 1)} {one_line(source)}"
    else:
        yield source


def _render_output(output: object) -> str:
    """Return the text of an output: stream, plain text of a result, or traceback."""
    lines = "\n".join(map(_text, _list(_dig(output, "traceback"))))
    text = _text(_dig(output, "text")) or _text(_dig(output, "data", "text/plain")) or lines
    return _ANSI.sub("", text)


def _fence(text: str, language: str) -> str:
    """Put text between fences that are longer than any fence in it."""
    if not text.strip():
        return ""
    longest = max(map(len, _BACKTICKS.findall(text)), default=2)
    marks = "`" * (longest + 1)
    return f"{marks}{language}\n{text.strip(chr(10))}\n{marks}"


def _dig(value: object, *keys: str) -> object:
    """Return what lies below some keys, or None; invalid notebooks have anything anywhere."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    """Join what a notebook may write as one string or as a list of lines."""
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""

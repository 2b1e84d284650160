"""Load OpenDocument texts and presentations (.odt, .odp): headings, lists, tables and notes as Markdown."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rag_chain.documents.loading.containers import read_parts
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.documents.loading.markdown_table import write_table
from rag_chain.documents.loading.xml_tree import attribute, local_name, parse_xml
from rag_chain.errors import DocumentError

_KIND = "OpenDocument"
# What was deleted under change tracking, and what holds no text of the document.
_LEFT_OUT = {"tracked-changes", "forms", "sequence-decls", "annotation", "table-of-content"}
_SPACES = {"tab": "\t", "line-break": "\n"}
# A cell may say that it stands for a million.
_MOST_REPEATED = 50
_DEEPEST = 200


class OpenDocumentLoader(FileLoader):
    """Loader of OpenDocument texts and presentations; deleted text and comments are left out."""

    def extract(self, data: bytes) -> Extract:
        """Turn the document's body into Markdown."""
        if not data.startswith(b"PK"):
            raise DocumentError(f"not a readable {_KIND} file: it is no zip")
        parts = read_parts(data, f"{_KIND} file", (".xml",))
        if "content.xml" not in parts:
            raise DocumentError(f"not a readable {_KIND} file: it has no content.xml")
        if b"<manifest:encryption-data" in parts.get("META-INF/manifest.xml", b""):
            raise DocumentError("encrypted: save it without its password to have it read")
        root = parse_xml(parts["content.xml"], _KIND)
        text = "\n\n".join(block for block in _blocks(root, _DEEPEST) if block.strip())
        return Extract(text, title=_title(parts.get("meta.xml")), markup="markdown")


def _title(meta: bytes | None) -> str | None:
    if meta is None:
        return None
    elements = parse_xml(meta, _KIND).iter()
    return next((one_line(e.text) for e in elements if local_name(e) == "title" and (e.text or "").strip()), None)


def _blocks(element: Element, deepest: int) -> Iterator[str]:
    """Yield the blocks of text in an element."""
    for child in element if deepest else ():
        name = local_name(child)
        if name in _LEFT_OUT:
            continue
        if name == "h":
            level = attribute(child, "outline-level")
            yield f"{'#' * min(int(level) if level.isdecimal() else 1, 6)} {one_line(_words(child))}"
        elif name == "p":
            yield _words(child).strip()
            yield from _framed(child, deepest)
        elif name == "list":
            yield "\n".join(_items(child, 0))
        elif name == "table":
            yield write_table([list(_cells(row, deepest)) for row in child.iter() if local_name(row) == "table-row"])
        else:
            yield from _blocks(child, deepest - 1)


def _framed(paragraph: Element, deepest: int) -> Iterator[str]:
    """Yield what stands in text boxes and notes of a paragraph."""
    for inner in paragraph.iter():
        if local_name(inner) in {"text-box", "note-body"}:
            yield from _blocks(inner, deepest - 1)


def _items(element: Element, level: int) -> Iterator[str]:
    for item in element:
        for child in item if level < _MOST_REPEATED else ():
            if local_name(child) == "list":
                yield from _items(child, level + 1)
            elif text := _words(child).strip():
                yield f"{'  ' * level}- {one_line(text, 10_000)}"


def _cells(row: Element, deepest: int) -> Iterator[str]:
    for cell in row:
        if local_name(cell) == "table-cell":
            times = attribute(cell, "number-columns-repeated")
            text = " ".join(_blocks(cell, deepest - 1))
            # Repeated empty cells fill a row to the edge of the sheet.
            yield from [text] * (min(int(times), _MOST_REPEATED) if times.isdecimal() and text else 1)


def _words(element: Element) -> str:
    """Return the text of a paragraph without what is framed or noted in it."""
    parts = [element.text or ""]
    for child in element:
        name = local_name(child)
        if name == "s":
            count = attribute(child, "c")
            parts.append(" " * min(int(count) if count.isdecimal() else 1, _MOST_REPEATED))
        elif name in _SPACES:
            parts.append(_SPACES[name])
        elif name not in {*_LEFT_OUT, "frame", "note", "custom-shape"} and name:
            parts.append(_words(child))
        elif name == "custom-shape":
            parts.append(f" {' '.join(map(_words, child))} ")
        parts.append(child.tail or "")
    return "".join(parts)

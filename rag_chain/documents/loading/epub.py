"""Load e-books (.epub): their chapters in reading order."""

import posixpath
from collections.abc import Iterator, Mapping
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from rag_chain.documents.loading.containers import read_parts
from rag_chain.documents.loading.decoding import decode
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.documents.loading.html_page import convert_html
from rag_chain.documents.loading.xml_tree import attribute, local_name, parse_xml
from rag_chain.errors import DocumentError

_CONTAINER = "META-INF/container.xml"
_TEXTS = (".xml", ".opf", ".xhtml", ".html", ".htm")


class EpubLoader(FileLoader):
    """Loader of e-books without copy protection: each chapter is read like a web page."""

    def extract(self, data: bytes) -> Extract:
        """Join the chapters of the book's spine."""
        parts = read_parts(data, "e-book", _TEXTS)
        if "META-INF/encryption.xml" in parts and b"EncryptedData" in parts["META-INF/encryption.xml"]:
            # Fonts alone may be encrypted, too; then the chapters can be read all the same.
            parts = {name: part for name, part in parts.items() if not _looks_encrypted(part)}
        place = _find_package(parts)
        package = parse_xml(parts[place], "e-book")
        found = {local_name(e): one_line(e.text or "") for e in reversed([*package.iter()]) if (e.text or "").strip()}
        chapters = [convert_html(decode(parts[name])).text for name in _spine(package, place) if name in parts]
        text = "\n\n".join(chapter for chapter in chapters if chapter.strip())
        return Extract(text, title=found.get("title"), markup="markdown", language=found.get("language"))


def _looks_encrypted(part: bytes) -> bool:
    return b"<" not in part[:200]


def _find_package(parts: Mapping[str, bytes]) -> str:
    """Return the name of the part that lists the others."""
    if _CONTAINER in parts:
        for element in parse_xml(parts[_CONTAINER], "e-book").iter():
            if local_name(element) == "rootfile" and attribute(element, "full-path") in parts:
                return attribute(element, "full-path")
    for name in parts:
        if name.endswith(".opf"):
            return name
    raise DocumentError("not a readable e-book: it has no list of its parts")


def _spine(package: Element, place: str) -> Iterator[str]:
    """Yield the names of the chapters in reading order."""
    items = {attribute(e, "id"): attribute(e, "href") for e in package.iter() if local_name(e) == "item"}
    for element in package.iter():
        if local_name(element) == "itemref" and (href := items.get(attribute(element, "idref"))):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(place), unquote(href.partition("#")[0])))

"""Load XML: its text in paragraphs, whatever its elements mean."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rag_chain.documents.loading.decoding import decode
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.documents.loading.html_page import convert_html
from rag_chain.documents.loading.xml_tree import local_name, parse_xml


class XmlLoader(FileLoader):
    """Loader of XML; XHTML is read as the page that it is."""

    def extract(self, data: bytes) -> Extract:
        """Return each element's own text as a line, an element of elements as a paragraph."""
        root = parse_xml(data)
        if local_name(root) == "html":
            return convert_html(decode(data))
        title = next((one_line(e.text) for e in root.iter() if local_name(e) == "title" and (e.text or "").strip()), "")
        return Extract("\n\n".join(_paragraphs(root)), title=title or None)


def _paragraphs(root: Element) -> Iterator[str]:
    """Yield the text of every element that has text of its own, with all that is in it."""
    stack = [root]
    while stack:
        element = stack.pop()
        own = [element.text or "", *(child.tail or "" for child in element)]
        if any(text.strip() for text in own):
            if text := " ".join(" ".join(element.itertext()).split()):
                yield text
        else:
            stack.extend(reversed(element))

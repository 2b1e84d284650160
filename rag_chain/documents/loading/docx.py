"""Load Word documents (.docx)."""

import io
import re
import struct
import zlib
from typing import Any
from xml.parsers.expat import ExpatError
from zipfile import BadZipFile

import mammoth

from rag_chain.documents.loading.containers import check_container
from rag_chain.documents.loading.docx_container import add_passed_over, find_title
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.documents.loading.html_page import convert_html
from rag_chain.errors import DocumentError

# The numbers would stand between words, and look like the citations of an answer.
_NOTE_LINK = re.compile(
    r'<sup><a [^>]*id="(?:foot|end)note-ref-[^>]*>[^<]*</a></sup>|<a href="#(?:foot|end)note-ref-[^>]*>↑</a>'
)
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
# mammoth checks nothing: what a damaged document makes it raise comes from zipfile, from expat, and from
# its own look-ups of parts and attributes that are not there.
_BROKEN_DOCX = (
    ArithmeticError,
    AttributeError,
    BadZipFile,
    EOFError,
    ExpatError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class DocxLoader(FileLoader):
    """Loader of Word documents: headings, lists, tables, notes and text boxes as Markdown."""

    def extract(self, data: bytes) -> Extract:
        """Turn the document into HTML and that into Markdown."""
        check_container(data, "Word document")
        try:
            title = find_title(data)
            html = _convert(add_passed_over(data))
        except _BROKEN_DOCX as error:
            raise DocumentError(f"not a readable Word document: {one_line(error) or type(error).__name__}") from error
        page = convert_html(_NOTE_LINK.sub("", html))
        return Extract(page.text, title=page.title or title, markup="markdown")


def _convert(data: bytes) -> str:
    word: Any = mammoth  # it has no types
    images = word.images.img_element(_no_image)
    return str(word.convert_to_html(io.BytesIO(data), style_map=_STYLES, convert_image=images).value)


def _no_image(_image: Any) -> dict[str, str]:
    """Leave an image unread; mammoth would put all of it into the HTML."""
    return {}

"""Load PDF documents that have a text layer, by PDFium."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate

import pypdfium2
import pypdfium2.raw

from rag_chain.documents.loading.decoding import clean_text
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.errors import DocumentError

logger = logging.getLogger(__name__)

_PAGE_END = "\f"
# PDFium works for one caller at a time.
_pdfium = threading.Lock()
# Where it has taken a hyphen at the end of a line out.
_HYPHEN = re.compile("\ufffe\\s*|\x02\\s*")
# What programs write into the title when nobody gave one.
_NO_TITLE = re.compile(
    r"untitled.*|.*\.\w{2,5}|microsoft \w+ - .*|\W*|\(anonymous\)|slide \d+|.*\(cid:\d+\).*", re.IGNORECASE
)
# Korean syllables in which the two bytes are a UTF-8 letter each: their high bytes go from C2 to D7.
_MISREAD = re.compile("[\uac00-\ud7a3]")
_MISREAD_ENOUGH = 8


class PdfLoader(FileLoader):
    r"""Loader of PDF documents: pages end with ``\f``, and ``pages`` holds where each one starts.

    Without a text layer, as in scans, the text is empty. A page that can't be read is left empty and named in the log.
    """

    def extract(self, data: bytes) -> Extract:
        """Return the text layer of all pages."""
        with _pdfium, closing(self._open(data)) as document:
            if len(document) > self.options.max_pages:
                raise DocumentError(
                    f"has {len(document):,} pages, over the limit of {self.options.max_pages:,}; "
                    "RAG_MAX_PAGES raises it"
                )
            pages = [_clean_page(page) for page in _read_pages(document, self.name)]
            title = one_line(document.get_metadata_value("Title"))
        end = _PAGE_END if any(pages) else ""
        starts = [0, *accumulate(len(page) + len(end) for page in pages[:-1])]
        return Extract(end.join(pages), title=None if _NO_TITLE.fullmatch(title) else title, pages=starts)

    def _open(self, data: bytes) -> pypdfium2.PdfDocument:
        try:
            return pypdfium2.PdfDocument(data, password=self.options.password)
        except pypdfium2.PdfiumError as error:
            if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
                raise DocumentError(self.options.ask_for_password()) from error
            raise DocumentError(f"not a readable PDF: {one_line(error)}") from error


def _read_pages(document: pypdfium2.PdfDocument, name: str) -> Iterator[str]:
    for number in range(len(document)):
        try:
            with closing(document[number]) as page, closing(page.get_textpage()) as text:
                yield text.get_text_bounded()
        except pypdfium2.PdfiumError as error:
            logger.warning("page %d of %r can't be read: %s", number + 1, name, one_line(error))
            yield ""


def _clean_page(text: str) -> str:
    words = _HYPHEN.sub("", _mend_letters(text))
    return clean_text(words).replace(_PAGE_END, "\n").replace("\ufeff", "").strip()


def _mend_letters(text: str) -> str:
    """Read as UTF-8 what a font's table of letters has in UTF-8 where UTF-16 belongs.

    ``П`` is D0 9F in UTF-8, which as UTF-16 is a Korean syllable. Of true Korean text one syllable in
    eight looks so; here all do.
    """
    suspects = set(_MISREAD.findall(text))
    if len(suspects) < _MISREAD_ENOUGH:
        return text
    try:
        letters = {suspect: suspect.encode("utf-16-be").decode("utf-8") for suspect in suspects}
    except UnicodeDecodeError:  # this is Korean
        return text
    return _MISREAD.sub(lambda found: letters[found[0]], text)

"""Load PDF documents that have a text layer."""

import logging
import re
import warnings
from itertools import accumulate
from typing import Any

from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from pypdf.errors import DependencyError, DeprecationError, FileNotDecryptedError, PyPdfError

from rag_chain.documents.loading.decoding import clean_text
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.errors import DocumentError

# pypdf has errors of its own, but damaged files also lead it into values of the wrong type, missing keys,
# odd numbers, endless nesting and filters that it does not know.
_BROKEN_PDF = (
    PyPdfError,
    DeprecationError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)
_PAGE_END = "\f"
# Not in any text, so that the parser's pages can be told apart for certain.
_DELIMITER = "\x00\f\x00"
# What programs write into the title when nobody gave one.
_NO_TITLE = re.compile(
    r"untitled.*|.*\.\w{2,5}|microsoft \w+ - .*|\W*|\(anonymous\)|slide \d+|.*\(cid:\d+\).*", re.IGNORECASE
)


class PdfLoader(FileLoader):
    r"""Loader of PDF documents: pages end with ``\f``, and ``pages`` holds where each one starts.

    Without a text layer, as in scans, the text is empty.
    """

    def extract(self, data: bytes) -> Extract:
        """Return the text layer of all pages."""
        document = _parse(data)
        pages = [_clean_page(page) for page in document.page_content.split(_DELIMITER)]
        end = _PAGE_END if any(pages) else ""
        starts = [0, *accumulate(len(page) + len(end) for page in pages[:-1])]
        return Extract(end.join(pages), title=_sensible_title(document.metadata), pages=starts)


def _clean_page(text: str) -> str:
    return clean_text(text).replace(_PAGE_END, "\n").replace("\ufeff", "").strip()


def _parse(data: bytes) -> Document:
    parser = _open_parser()
    _silence_pypdf()
    try:
        document: Document = next(parser.lazy_parse(Blob(data=data)))
    except FileNotDecryptedError as error:
        raise DocumentError("encrypted: save it without its password to have it read") from error
    except DependencyError as error:
        raise DocumentError(_explain_missing(error)) from error
    except _BROKEN_PDF as error:
        raise DocumentError(f"not a readable PDF: {one_line(error) or type(error).__name__}") from error
    return document


def _explain_missing(error: DependencyError) -> str:
    if "AES" in str(error):
        return "encrypted with AES: save it without encryption, or pip install 'pypdf[crypto]'"
    return f"needs another package to be read: {one_line(error)}"


def _open_parser() -> Any:
    with warnings.catch_warnings():
        # Said at import by the package about its own future; this file is the only one to import it.
        warnings.filterwarnings("ignore", r"`langchain-community` is being sunset", DeprecationWarning)
        from langchain_community.document_loaders.parsers.pdf import PyPDFParser
    return PyPDFParser(mode="single", pages_delimiter=_DELIMITER)


def _silence_pypdf() -> None:
    """Keep pypdf's remarks on damaged files off the user's terminal, unless a level was set for them."""
    # For good and not for one call: levels are shared by all threads, so that setting one back would race.
    logger = logging.getLogger("pypdf")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def _sensible_title(metadata: dict[str, Any]) -> str | None:
    title = one_line(metadata.get("title") or "")
    return None if _NO_TITLE.fullmatch(title) else title

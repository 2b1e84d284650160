"""The one table of loaders: which suffix is read by which LangChain ``BaseLoader``."""

from __future__ import annotations

import hashlib
from importlib import import_module
from typing import TYPE_CHECKING

from rag_chain.errors import DocumentError

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag_chain.documents.finding.found import FoundFile
    from rag_chain.documents.loading.file_loader import FileLoader, LoadOptions

# Names and not classes: a loader's libraries are imported when its first file turns up.
_LOADERS = {
    ".md": "markdown.MarkdownLoader",
    ".markdown": "markdown.MarkdownLoader",
    ".mdx": "markdown.MarkdownLoader",
    ".txt": "plain_text.TextLoader",
    ".text": "plain_text.TextLoader",
    ".rst": "plain_text.TextLoader",
    ".log": "plain_text.TextLoader",
    ".adoc": "plain_text.TextLoader",
    ".org": "plain_text.TextLoader",
    ".tex": "plain_text.TextLoader",
    ".srt": "plain_text.TextLoader",
    ".vtt": "plain_text.TextLoader",
    ".html": "html_page.HtmlLoader",
    ".htm": "html_page.HtmlLoader",
    ".xhtml": "html_page.HtmlLoader",
    ".docx": "docx.DocxLoader",
    ".docm": "docx.DocxLoader",
    ".pptx": "slides.PptxLoader",
    ".pptm": "slides.PptxLoader",
    ".xlsx": "spreadsheet.SpreadsheetLoader",
    ".xlsm": "spreadsheet.SpreadsheetLoader",
    ".xlsb": "spreadsheet.SpreadsheetLoader",
    ".xls": "spreadsheet.SpreadsheetLoader",
    ".ods": "spreadsheet.SpreadsheetLoader",
    ".odt": "open_document.OpenDocumentLoader",
    ".odp": "open_document.OpenDocumentLoader",
    ".rtf": "rich_text.RtfLoader",
    ".epub": "epub.EpubLoader",
    ".eml": "mail.MailLoader",
    ".mht": "mail.ArchivedPageLoader",
    ".mhtml": "mail.ArchivedPageLoader",
    ".pdf": "pdf.PdfLoader",
    ".csv": "csv_table.CsvLoader",
    ".tsv": "csv_table.CsvLoader",
    ".ipynb": "notebook.NotebookLoader",
    ".json": "json_text.JsonLoader",
    ".jsonl": "json_text.JsonLoader",
    ".ndjson": "json_text.JsonLoader",
    ".xml": "xml_text.XmlLoader",
}
# The kind of document that a LangChain loader gave, which no file's name ends with: loaded.py reads it.
LOADED = "langchain"
# Loaders that take what they are given as it is: nothing in a file makes them slow or large. Of more bytes than
# these, and of all other formats, the file is read in a process that may be killed.
_BYTES_HERE = dict.fromkeys(("markdown", "plain_text", "loaded"), 1 << 40)
_BYTES_HERE |= dict.fromkeys(("csv_table", "notebook", "json_text"), 1_000_000)
# However it is nested, so little HTML is read in a second.
_BYTES_HERE |= dict.fromkeys(("html_page", "mail", "xml_text"), 100_000)
SUPPORTED_SUFFIXES = frozenset(_LOADERS)


def find_loader(suffix: str) -> type[FileLoader]:
    """Return the loader class for a suffix; :class:`DocumentError` when there is none."""
    if suffix.lower() not in _LOADERS:
        raise DocumentError(f"no loader for {suffix or 'suffixless'} files")
    module, name = _LOADERS[suffix.lower()].split(".")
    loader: type[FileLoader] = getattr(import_module(f"{__package__}.{module}"), name)
    return loader


def most_bytes_here(suffix: str) -> int:
    """Return how large a file of this type may be to be read in the process that was asked; -1 for never."""
    module = "loaded" if suffix == LOADED else _LOADERS.get(suffix, "").partition(".")[0]
    return _BYTES_HERE.get(module, -1)


def load_file(file: FoundFile, options: LoadOptions | None = None) -> Document:
    """Read a found file into a ``Document``; its metadata says where it came from.

    Beside the loader's own keys: ``source``, ``uri``, ``root``, ``modified`` (whole seconds) and
    ``content_hash`` (see :func:`digest`). :class:`DocumentError` when it can't be read; a document
    without any text is returned as such.
    """
    data = file.read()
    document = _read(file, data, options)
    document.metadata |= {
        "source": file.source,
        "uri": file.uri,
        "root": file.root,
        "modified": int(file.modified),
        "content_hash": digest(file.kind, data),
    }
    return document


def digest(kind: str, data: bytes) -> str:
    """Return what tells a document's content from any other: 64 hex digits.

    Two documents of the same text have the first 32 in common where they are of a LangChain loader, whose metadata
    the others are of; all of them else, the SHA-256 of the bytes.
    """
    if kind == LOADED:
        from rag_chain.documents.loading.loaded import version_of

        return version_of(data)
    return hashlib.sha256(data).hexdigest()


def _read(file: FoundFile, data: bytes, options: LoadOptions | None) -> Document:
    if file.kind == LOADED:
        from rag_chain.documents.loading.loaded import read_loaded

        return read_loaded(data)
    from langchain_core.documents.base import Blob

    from rag_chain.documents.loading.file_loader import DEFAULTS

    loader = find_loader(file.kind)(Blob(data=data, path=file.source), options or DEFAULTS)
    return loader.load()[0]

"""The one table of loaders: which suffix is read by which LangChain ``BaseLoader``."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from rag_chain.errors import DocumentError

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag_chain.documents.finding.found import FoundFile
    from rag_chain.documents.loading.file_loader import FileLoader

# Names and not classes: a loader's libraries are imported when its first file turns up.
_LOADERS = {
    ".md": "markdown.MarkdownLoader",
    ".markdown": "markdown.MarkdownLoader",
    ".mdx": "markdown.MarkdownLoader",
    ".txt": "plain_text.TextLoader",
    ".text": "plain_text.TextLoader",
    ".rst": "plain_text.TextLoader",
    ".log": "plain_text.TextLoader",
    ".html": "html_page.HtmlLoader",
    ".htm": "html_page.HtmlLoader",
    ".xhtml": "html_page.HtmlLoader",
    ".docx": "docx.DocxLoader",
    ".pdf": "pdf.PdfLoader",
    ".csv": "csv_table.CsvLoader",
    ".tsv": "csv_table.CsvLoader",
    ".ipynb": "notebook.NotebookLoader",
}
SUPPORTED_SUFFIXES = frozenset(_LOADERS)


def find_loader(suffix: str) -> type[FileLoader]:
    """Return the loader class for a suffix; :class:`DocumentError` when there is none."""
    if suffix.lower() not in _LOADERS:
        raise DocumentError(f"no loader for {suffix or 'suffixless'} files")
    module, name = _LOADERS[suffix.lower()].split(".")
    loader: type[FileLoader] = getattr(import_module(f"{__package__}.{module}"), name)
    return loader


def load_file(file: FoundFile) -> Document:
    """Read a found file into a ``Document``; its metadata says where it came from.

    Beside the loader's own keys: ``source``, ``uri``, ``root``, ``modified`` (whole seconds) and
    ``content_hash`` (SHA-256 of the bytes). :class:`DocumentError` when it can't be read; a document
    without any text is returned as such.
    """
    from langchain_core.documents.base import Blob

    data = file.read()
    loader = find_loader(PurePosixPath(file.source).suffix)(Blob(data=data, path=file.source))
    document = loader.load()[0]
    document.metadata |= {
        "source": file.source,
        "uri": file.uri,
        "root": file.root,
        "modified": int(file.modified),
        "content_hash": hashlib.sha256(data).hexdigest(),
    }
    return document

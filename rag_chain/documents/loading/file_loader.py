"""What all loaders share: bytes in, exactly one ``Document`` with clean text out."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.documents.base import Blob

from rag_chain.documents.loading.decoding import clean_text
from rag_chain.errors import DocumentError

# Every chunk of the document carries them.
_MAX_FIELD_CHARACTERS = 500


@dataclass(frozen=True)
class Extract:
    """What a loader gets out of a file.

    ``pages`` are the offsets at which pages start, ``fields`` what the author wrote about the document.
    """

    text: str
    title: str | None = None
    markup: str = "plain"
    language: str | None = None
    pages: list[int] | None = None
    fields: Mapping[str, str | list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadOptions:
    """What a person may set for all loaders: the password of encrypted documents, and the most pages."""

    password: str | None = None
    max_pages: int = 5_000

    def ask_for_password(self) -> str:
        """Return why an encrypted document is refused."""
        if self.password is None:
            return "encrypted: set RAG_DOCUMENT_PASSWORD to its password, or save it without one"
        return "encrypted: RAG_DOCUMENT_PASSWORD is not its password"


DEFAULTS = LoadOptions()


class FileLoader(BaseLoader):
    """A LangChain loader of one file, given as a path or as a ``Blob``.

    Metadata of the document: ``source``, ``title``, ``markup`` (``markdown`` or ``plain``),
    ``language`` and ``pages`` where they are known, and the fields of its front matter.
    """

    def __init__(self, file: str | Path | Blob, options: LoadOptions = DEFAULTS) -> None:
        self._blob = file if isinstance(file, Blob) else Blob.from_path(file)
        self.options = options

    @property
    def name(self) -> str:
        """The path of the file, for messages."""
        return str(self._blob.source or "")

    def lazy_load(self) -> Iterator[Document]:
        """Yield the one document; :class:`DocumentError` says in one line why it can't be read."""
        extract = self.extract(self._read())
        metadata: dict[str, Any] = {
            **{name: value for name, value in extract.fields.items() if len(str(value)) <= _MAX_FIELD_CHARACTERS},
            "source": self.name,
            "title": one_line(extract.title or "") or PurePath(self.name).stem,
            "markup": extract.markup,
        }
        if extract.language:
            metadata["language"] = extract.language
        if extract.pages is not None:
            metadata["pages"] = extract.pages
        yield Document(page_content=clean_text(extract.text), metadata=metadata)

    @abstractmethod
    def extract(self, data: bytes) -> Extract:
        """Turn the bytes of a file into text; raise nothing but :class:`DocumentError`."""

    def _read(self) -> bytes:
        try:
            return self._blob.as_bytes()
        except OSError as error:
            raise DocumentError(f"can't be read: {one_line(error.strerror or error)}") from error


def one_line(text: object, limit: int = 300) -> str:
    """Return a title or a vendor's message as one clean line."""
    return " ".join(clean_text(str(text)).split())[:limit].rstrip()

"""What a search for documents brings to light: files, refusals and files of no known type."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

from rag_chain.documents.loading.json_fields import JSON_SUFFIXES, holds_texts
from rag_chain.documents.loading.table import most_bytes_here
from rag_chain.errors import DocumentError, in_brief

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class FoundFile:
    """One file of a supported type; nothing is read from it before :meth:`read`."""

    source: str
    """Path below its root with ``/`` between the parts; the name of a file that was itself named."""
    uri: str
    """Address that no other file has: ``file:///docs/a.md``, ``file:///docs.zip!/a.md``."""
    root: str
    """Address of the folder, archive or file that was named."""
    modified: float
    """Seconds since 1970."""
    size: int
    """Bytes, as the folder or the archive declares them."""
    reader: Callable[[], bytes] = field(repr=False, compare=False)
    suffix: str = ""
    """What it is, where its name does not tell: ``.html`` for most of the web."""

    @property
    def kind(self) -> str:
        """The suffix by which its loader is found."""
        return self.suffix or PurePosixPath(self.source).suffix.lower()

    def read(self) -> bytes:
        """Return the bytes; :class:`~rag_chain.errors.DocumentError` when they can't be read."""
        return self.reader()

    @property
    def needs_process(self) -> bool:
        """Whether a parser works on it that may hang, crash or fill the memory."""
        return self.size > most_bytes_here(self.kind)

    def portable(self) -> FoundFile:
        """Return it as something that can be sent to another process: with its bytes, if they are in an archive."""
        in_folder = isinstance(self.reader, partial) and self.reader.func is read_path
        return self if in_folder else replace(self, reader=partial(bytes, self.read()))


@dataclass(frozen=True)
class Refusal:
    """A file that was asked for and can't be had; the reason is one line."""

    source: str
    reason: str


@dataclass(frozen=True)
class Skipped:
    """A file in a folder or an archive that no loader is there for."""

    source: str
    reason: str


Finding: TypeAlias = FoundFile | Refusal | Skipped


@dataclass(frozen=True)
class Limits:
    """The most bytes that one file, and all files of one archive together, may have.

    ``max_archive_depth`` is how deep archives in archives are opened; ``password`` is tried on encrypted
    ones. ``allow_private`` has addresses fetched that are not public; what was fetched stays in ``cache_folder``.
    """

    max_file_bytes: int
    max_archive_bytes: int
    max_archive_depth: int = 1
    password: str | None = None
    allow_private: bool = False
    download_seconds: float = 600.0
    cache_folder: Path | None = None

    def refuse_size(self, size: int) -> str | None:
        """Return why a file of this size is refused, or None."""
        if size <= self.max_file_bytes:
            return None
        return f"{size:,} bytes are over the limit of {self.max_file_bytes:,}; RAG_MAX_FILE_BYTES raises it"


def leave_out(file: FoundFile) -> Skipped | None:
    """Return why a file that nobody named is left out, though its type is known: JSON is data more often than text."""
    if file.kind not in JSON_SUFFIXES:
        return None
    try:
        data = file.read()
    except DocumentError:  # whoever reads it to load it says so
        return None
    return None if holds_texts(data) else Skipped(file.source, "no text field in it")


def read_path(path: Path) -> bytes:
    """Return the bytes of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError(f"can't be read: {why(error)}") from error


def why(error: Exception) -> str:
    """Return the reason of an exception in one line, without the path that it may repeat."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return in_brief(text) or type(error).__name__

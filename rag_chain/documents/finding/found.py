"""What a search for documents brings to light: files, refusals and files of no known type."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from rag_chain.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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

    def read(self) -> bytes:
        """Return the bytes; :class:`~rag_chain.errors.DocumentError` when they can't be read."""
        return self.reader()

    def in_memory(self) -> FoundFile:
        """Return it with its bytes already read, so that it can be handed to another process."""
        return replace(self, reader=partial(bytes, self.read()))


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
    """The most bytes that one file, and all files of one archive together, may have."""

    max_file_bytes: int
    max_archive_bytes: int

    def refuse_size(self, size: int) -> str | None:
        """Return why a file of this size is refused, or None."""
        if size <= self.max_file_bytes:
            return None
        return f"{size:,} bytes are over the limit of {self.max_file_bytes:,}; RAG_MAX_FILE_BYTES raises it"


def read_path(path: Path) -> bytes:
    """Return the bytes of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DocumentError(f"can't be read: {why(error)}") from error


def why(error: Exception) -> str:
    """Return the reason of an exception in one line, without the path that it may repeat."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__

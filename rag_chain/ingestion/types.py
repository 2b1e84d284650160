"""What an ingest wants to know of documents, where they are found and where they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet


class File(Protocol):
    """A document that was found and not yet read."""

    @property
    def source(self) -> str:
        """Its path relative to its root."""

    @property
    def uri(self) -> str:
        """Its unique address."""

    @property
    def root(self) -> str:
        """The address of the place where it was found."""

    @property
    def size(self) -> int:
        """Its bytes, as its place declares them."""

    def read(self) -> bytes:
        """Return its bytes."""

    @property
    def needs_process(self) -> bool:
        """Whether a parser works on it that may hang, crash or fill the memory."""

    def portable(self) -> File:
        """Return it as something that can be sent to another process."""


class Outcome(Protocol):
    """Something that was found and is not a document to ingest."""

    @property
    def source(self) -> str:
        """Its path."""

    @property
    def reason(self) -> str:
        """Why it is none."""


class Findings(Protocol):
    """The documents found; once they have been gone through, also what was refused and skipped."""

    def __iter__(self) -> Iterator[File]:
        """Yield the documents."""

    @property
    def refused(self) -> Sequence[Outcome]:
        """What can't be ingested."""

    @property
    def skipped(self) -> Sequence[Outcome]:
        """What is no document."""

    @property
    def incomplete(self) -> AbstractSet[str]:
        """The roots of which not everything was looked at."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of what was found, one line each."""

    def version_of(self, file: File) -> str:
        """Read a document for the digest of its content; those of the same text start alike, see ``TEXT_DIGITS``."""


class Stored(Protocol):
    """A document that the store holds completely."""

    @property
    def source(self) -> str:
        """Its name in the store."""

    @property
    def uri(self) -> str:
        """Its address when it was ingested."""

    @property
    def version(self) -> str:
        """The digest of its content then."""

    @property
    def chunks(self) -> int:
        """Its number of chunks."""

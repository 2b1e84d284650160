"""What was found: files to read, and beside them what was refused, skipped and noted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.documents.finding.found import FoundFile, Refusal, Skipped
from rag_chain.documents.loading.table import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from rag_chain.documents.finding.loaded import Scope
    from rag_chain.documents.finding.spool import Spool


class Findings:
    """The files at some places; once they have been gone through, also what was refused and skipped.

    What loaders gave can be read until the findings are closed, which happens at the end of a ``with`` block.
    """

    def __init__(
        self,
        found: Iterable[FoundFile | Refusal | Skipped],
        scopes: Sequence[Scope] = (),
        spool: Spool | None = None,
    ) -> None:
        self._found = found
        self._scopes = scopes
        self._spool = spool
        self.refused: list[Refusal] = []
        self.skipped: list[Skipped] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spool is not None:
            self._spool.close()

    @property
    def incomplete(self) -> frozenset[str]:
        """The roots of which not everything was looked at: what was not found there may still be."""
        return frozenset(scope.root for scope in self._scopes if not scope.complete)

    @property
    def notes(self) -> list[str]:
        """What a person should know of what was found, one line each."""
        return [note for scope in self._scopes for note in scope.notes]

    @staticmethod
    def version_of(file: Any) -> str:
        """Read a file for the digest of its content; :class:`DocumentError` when it can't be read."""
        return digest(file.kind, file.read())

    def __iter__(self) -> Iterator[FoundFile]:
        for found in self._found:
            if isinstance(found, FoundFile):
                yield found
            elif isinstance(found, Refusal):
                self.refused.append(found)
            else:
                self.skipped.append(found)

    def gather(self) -> int:
        """Go through them now, and return the bytes of all documents."""
        files = list(self)
        self._found = files
        return sum(file.size for file in files)

"""Code of others: whatever a loader, a splitter or an iterable raises becomes one clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.errors import DocumentError, RagChainError, in_brief

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Failures:
    """A block in which an exception of any kind is raised on as a ``DocumentError`` that says who failed at what.

    Our own errors, and what is no error such as an interrupt, pass through.
    """

    def __init__(self, whose: str, remedy: str = "") -> None:
        self.whose = whose
        self.remedy = remedy

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, RagChainError):
            said = in_brief(error, 300)
            remedy = f"; {self.remedy}" if self.remedy else ""
            name = type(error).__name__
            raise DocumentError(f"{self.whose} failed: {name}{f': {said}' if said else ''}{remedy}") from error

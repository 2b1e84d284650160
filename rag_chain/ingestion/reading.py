"""Read the documents of a plan: load, check, split; what can't be read is refused and the run goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rag_chain.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Work


@dataclass(frozen=True)
class Steps:
    """How a file becomes a document, and a document chunks."""

    load: Callable[[Any], Document]
    split: Callable[[Document], Iterable[Document]]


@dataclass(frozen=True)
class Reading:
    """What reading a document gave: its chunks, at least one, or the reason why it is refused."""

    chunks: list[Document] = field(default_factory=list)
    reason: str = ""


class Read(Protocol):
    """Reads documents, here or in processes of their own, some of them ahead."""

    def __call__(self, works: Iterable[Work], /) -> Generator[Reading, None, None]:
        """Yield what reading each document gives, in order."""


def refuse_reading(reason: str) -> Reading:
    """Return what stands for a document that can't be read."""
    return Reading(reason=reason)


def read_document(work: Work, steps: Steps) -> Reading:
    """Load and split a document."""
    try:
        return Reading(_read(work, steps))
    except DocumentError as error:
        return Reading(reason=str(error))


def _read(work: Work, steps: Steps) -> list[Document]:
    document = steps.load(work.file)
    if document.metadata["content_hash"] != work.version:
        raise DocumentError("it changed while it was being read: ingest again")
    document.metadata["source"] = work.source
    chunks = list(steps.split(document))
    if not chunks:
        pages = len(document.metadata.get("pages", ()))
        images = f": its pages, {pages} of them, are images; have their text recognized first" if pages else ""
        raise DocumentError(f"there is no text in it{images}")
    return chunks

"""Read the documents of a plan: load, check, split; what can't be read is refused and the run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_chain.errors import DocumentError
from rag_chain.ingestion.report import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Work


@dataclass(frozen=True)
class Steps:
    """How a file becomes a document, a document chunks, and a chunk the text that is embedded."""

    load: Callable[[Any], Document]
    split: Callable[[Document], Iterable[Document]]
    text_of: Callable[[Document], str]


def read_chunks(works: Iterable[Work], steps: Steps, refused: list[Refused]) -> Iterator[tuple[Work, list[Document]]]:
    """Yield every document with its chunks, at least one; ``refused`` takes those that give none."""
    for work in works:
        try:
            yield work, _read(work, steps)
        except DocumentError as error:
            refused.append(Refused(work.source, str(error)))


def _read(work: Work, steps: Steps) -> list[Document]:
    document = steps.load(work.file)
    if document.metadata["content_hash"] != work.version:
        raise DocumentError("it changed while it was being read: ingest again")
    document.metadata["source"] = work.source
    chunks = list(steps.split(document))
    if not chunks:
        raise DocumentError("there is no text in it")
    return chunks

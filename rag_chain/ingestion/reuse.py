"""Find the vectors that the store already holds for a text, so that no text is embedded twice."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from rag_chain.ingestion.report import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from langchain_core.documents import Document
    from numpy.typing import NDArray

    from rag_chain.ingestion.plan import Work
    from rag_chain.ingestion.reading import Reading

# Documents whose vectors are looked up together: one query for them, and the memory for their vectors.
DOCUMENTS_PER_LOOKUP = 50


class Held(Protocol):
    """Looks up chunks that are stored, with their vectors."""

    def __call__(self, sources: Sequence[str], versions: Sequence[str]) -> Iterable[tuple[Document, NDArray[Any]]]:
        """Return the stored chunks of these sources, and those of these versions under whatever source."""


@dataclass(frozen=True)
class ReadDocument:
    """A document's chunks, and for each the vector that the store holds for its text, or None."""

    work: Work
    chunks: list[Document]
    vectors: list[NDArray[Any] | None]


def find_vectors(
    works: Sequence[Work],
    readings: Iterator[Reading],
    text_of: Callable[[Document], str],
    held: Held,
    refused: list[Refused],
) -> Iterator[ReadDocument]:
    """Yield every document that could be read, with the vectors of texts that are unchanged; else see ``refused``.

    Such texts are those of a changed document that stayed, those of a document that was moved or
    copied, and those that a run had written before it broke off.
    """
    waiting = iter(works)
    while group := list(islice(waiting, DOCUMENTS_PER_LOOKUP)):
        found = held([work.source for work in group], [version for work in group for version in work.versions])
        known = {text_of(chunk): vector for chunk, vector in found}
        for work in group:
            reading = next(readings)
            if reading.reason:
                refused.append(Refused(work.source, reading.reason))
            else:
                vectors = [known.get(text_of(chunk)) for chunk in reading.chunks]
                yield ReadDocument(work, reading.chunks, vectors)

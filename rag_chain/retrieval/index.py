"""What a retriever searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from numpy.typing import NDArray


class Index(Protocol):
    """Chunks that can be found by vector and by words; each chunk's metadata holds its ``id``."""

    def nearest(
        self, vector: list[float], k: int, conditions: Mapping[str, Any] | None = None
    ) -> list[tuple[Document, float]]:
        """Return the ``k`` nearest chunks with their cosines, best first."""

    def matching(self, text: str, k: int, conditions: Mapping[str, Any] | None = None) -> list[tuple[Document, float]]:
        """Return the ``k`` chunks with the most BM25 for a text, best first."""

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the unit-length vectors of these chunks, of those that are there."""


def note_ranking(found: Sequence[tuple[Document, float]], *, score: str, rank: str) -> list[Document]:
    """Return the chunks of a ranking, each with its score and its rank, from 1, in its metadata."""
    for place, (chunk, value) in enumerate(found, start=1):
        chunk.metadata |= {score: value, rank: place}
    return [chunk for chunk, _ in found]


def can_read(embeddings: Embeddings | None, text: str) -> bool:
    """Return whether an embedding model was made to read a text; one that does not say so reads everything."""
    reads = getattr(embeddings, "reads", None)
    return reads is None or bool(reads(text))

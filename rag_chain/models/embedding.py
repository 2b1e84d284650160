"""What every embedding model of rag_chain is: a LangChain ``Embeddings`` that checks its vectors and counts."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from langchain_core.embeddings import Embeddings

from rag_chain.errors import BadReplyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]


@dataclass
class EmbeddingUsage:
    """What embedding has cost so far: requests sent, texts embedded, tokens billed."""

    requests: int = 0
    texts: int = 0
    tokens: int = 0


class EmbeddingModel(Embeddings):
    """A LangChain ``Embeddings`` with task prefixes, unit-length vectors and streaming batches.

    ``identity`` names everything that vectors depend on: two models with the same identity are
    interchangeable, and a collection records the one it was made with.
    """

    usage: EmbeddingUsage
    batch_size: int

    @property
    @abstractmethod
    def identity(self) -> dict[str, str | int | None]:
        """The model, its vector length where one was asked for, and its task prefixes."""

    @abstractmethod
    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Vectors]:
        """Yield one ``(n, dimensions)`` array for each batch of documents, in order.

        Batches are taken as they are needed, so an endless iterable is fine.
        """

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit-length vector for each document, in order."""
        batches = (texts[start : start + self.batch_size] for start in range(0, len(texts), self.batch_size))
        return [vector for vectors in self.embed_batches(batches) for vector in vectors.tolist()]


def unit_vectors(vectors: Vectors, count: int, dimensions: int | None) -> Vectors:
    """Return the vectors scaled to length 1.

    ``vectors`` must be ``(count, dimensions)``, finite and not zero; otherwise ``BadReplyError``
    says what was found, since a wrong vector in the store can't be told from a right one later.
    """
    if vectors.ndim != 2 or len(vectors) != count:
        raise BadReplyError(f"asked for {count} vectors, got {vectors.shape[0] if vectors.ndim else 0}")
    if dimensions is not None and vectors.shape[1] != dimensions:
        raise BadReplyError(f"vectors have {vectors.shape[1]} dimensions, expected {dimensions}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise BadReplyError("a vector is not finite or is all zeros")
    scaled: Vectors = (vectors / lengths).astype(np.float32, copy=False)
    return scaled

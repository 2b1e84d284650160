"""What every embedding model of rag_chain is: a LangChain ``Embeddings`` that checks its vectors and counts."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from langchain_core.embeddings import Embeddings

from rag_chain.errors import BadReplyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from rag_chain.errors import ModelError

    Vectors = NDArray[np.float32]


@dataclass
class EmbeddingUsage:
    """What embedding has cost so far: requests sent, texts embedded, tokens billed."""

    requests: int = 0
    texts: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Embedded:
    """The unit-length vectors of a batch, in order, and why some texts have none."""

    vectors: Sequence[Vectors | None]
    refused: Mapping[int, ModelError] = field(default_factory=dict)

    def join(self, other: Embedded) -> Embedded:
        """Return this batch and the one after it as one."""
        moved = {number + len(self.vectors): reason for number, reason in other.refused.items()}
        return Embedded([*self.vectors, *other.vectors], {**self.refused, **moved})


class EmbeddingModel(Embeddings):
    """A LangChain ``Embeddings`` with task prefixes, unit-length vectors and streaming batches.

    ``identity`` names everything that vectors depend on: two models with the same identity are
    interchangeable, and a collection records the one it was made with.
    """

    if TYPE_CHECKING:
        # Seen by type checkers only: pydantic would make a field of it in models that are pydantic's, too.
        usage: EmbeddingUsage
    batch_size: int
    # About; the largest texts may not fit into one request by the dozen.
    batch_tokens: int = 65_536

    @property
    @abstractmethod
    def identity(self) -> dict[str, str | int | None]:
        """The model, its vector length where one was asked for, and its task prefixes."""

    @property
    def floor(self) -> float:
        """The cosine below which a chunk is about something else, where that has been measured; else -1."""
        return -1.0

    def reads(self, text: str) -> bool:
        """Return whether the model was made to read such a text; its vectors say little where not."""
        return True

    @abstractmethod
    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Embedded]:
        """Yield the vectors of each batch of documents, in order.

        Batches are taken as they are needed, so an endless iterable is fine. A text that is at
        fault itself is refused, and the others go on.
        """

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit-length vector for each document, in order.

        Raises a ``ModelError`` when one of them is refused.
        """
        batches = (texts[start : start + self.batch_size] for start in range(0, len(texts), self.batch_size))
        return [vector for embedded in self.embed_batches(batches) for vector in as_lists(embedded)]


def as_lists(embedded: Embedded) -> list[list[float]]:
    """Return all vectors, or raise why a text was refused."""
    for error in embedded.refused.values():
        raise error
    return [vector.tolist() for vector in embedded.vectors if vector is not None]


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

"""The searches of LangChain's vector stores, all by way of one: the nearest chunks to a unit-length vector."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from rag_chain.errors import QuestionError
from rag_chain.store.read_only import read_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from numpy.typing import NDArray

    from rag_chain.store.filters import Filter

    Scored = list[tuple[Document, float]]


class Searches:
    """What ``langchain_core.vectorstores.VectorStore`` promises to readers.

    Every search takes ``k`` and ``filter`` and no other option. The async ones await the embedding and search in a
    thread.
    """

    _embeddings: Embeddings

    @abstractmethod
    def nearest(self, vector: list[float], k: int, conditions: Filter | None = None) -> Scored:
        """Return the ``k`` chunks nearest to a unit-length vector with their cosines, best first."""

    @abstractmethod
    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the unit-length vectors of these chunks, of those that are there."""

    @abstractmethod
    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the chunks with these ids, in this order, of those that are there."""

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the chunks with these ids, in this order, of those that are there."""
        return await run_in_executor(None, self.get_by_ids, ids)

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """Return the ``k`` chunks nearest to a text, best first."""
        return _documents(self.similarity_search_with_score(query, k, **options))

    async def asimilarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """Return the ``k`` chunks nearest to a text, best first."""
        return _documents(await self.asimilarity_search_with_score(query, k, **options))

    def similarity_search_with_score(self, query: str, k: int = 4, **options: Any) -> Scored:
        """Return the ``k`` chunks nearest to a text with their cosines, best first."""
        conditions = read_filter(options)
        return self.nearest(self._embeddings.embed_query(query), k, conditions)

    async def asimilarity_search_with_score(self, query: str, k: int = 4, **options: Any) -> Scored:
        """Return the ``k`` chunks nearest to a text with their cosines, best first."""
        conditions = read_filter(options)
        return await run_in_executor(None, self.nearest, await self._embeddings.aembed_query(query), k, conditions)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **options: Any) -> list[Document]:
        """Return the ``k`` chunks nearest to a vector of any length above 0, best first."""
        return _documents(self.similarity_search_with_score_by_vector(embedding, k, **options))

    async def asimilarity_search_by_vector(self, embedding: list[float], k: int = 4, **options: Any) -> list[Document]:
        """Return the ``k`` chunks nearest to a vector of any length above 0, best first."""
        return await run_in_executor(None, self.similarity_search_by_vector, embedding, k, **options)

    def similarity_search_with_score_by_vector(self, embedding: list[float], k: int = 4, **options: Any) -> Scored:
        """Return the ``k`` chunks nearest to a vector of any length above 0 with their cosines, best first."""
        return self.nearest(_unit(embedding), k, read_filter(options))

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, **options: Any
    ) -> Scored:
        """Return the ``k`` chunks nearest to a vector of any length above 0 with their cosines, best first."""
        return await run_in_executor(None, self.similarity_search_with_score_by_vector, embedding, k, **options)

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return ``k`` of the ``fetch_k`` chunks nearest to a text, near it and far from each other."""
        vector = self._embeddings.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **options)

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return ``k`` of the ``fetch_k`` chunks nearest to a text, near it and far from each other."""
        vector = await self._embeddings.aembed_query(query)
        return await self.amax_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **options)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return ``k`` of the ``fetch_k`` chunks nearest to a vector, near it and far from each other.

        ``lambda_mult`` is 1 for those nearest to the vector, 0 for those farthest from each other.
        """
        near = _documents(self.similarity_search_with_score_by_vector(embedding, max(k, fetch_k), **options))
        vectors = self.vectors([str(chunk.id) for chunk in near])
        # One may have gone since.
        chunks = [chunk for chunk in near if chunk.id in vectors]
        rows: list[Any] = [vectors[str(chunk.id)] for chunk in chunks]
        order = maximal_marginal_relevance(np.asarray(embedding, np.float32), rows, lambda_mult, k)
        return [chunks[number] for number in order]

    async def amax_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Return ``k`` of the ``fetch_k`` chunks nearest to a vector, near it and far from each other."""
        search = self.max_marginal_relevance_search_by_vector
        return await run_in_executor(None, search, embedding, k, fetch_k, lambda_mult, **options)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Return what makes a relevance from 0 to 1 of a cosine; LangChain's relevance scores and thresholds use it."""
        # A cosine of 32 bits may be a little above 1.
        return lambda cosine: min(max((1 + cosine) / 2, 0.0), 1.0)


def _documents(found: Scored) -> list[Document]:
    return [document for document, _ in found]


def _unit(embedding: Sequence[float]) -> list[float]:
    """Return a caller's vector scaled to length 1; ``QuestionError`` for one that has no direction."""
    vector = np.asarray(embedding, np.float64)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if not (np.isfinite(length) and length > 0):
        raise QuestionError("the vector to search by must be one row of finite numbers, not all zeros")
    scaled: list[float] = (vector / length).tolist()
    return scaled

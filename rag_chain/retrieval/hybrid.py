"""Hybrid retrieval: dense and keyword search of one collection, fused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.embeddings import Embeddings  # noqa: TC002  pydantic reads it
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import ContextThreadPoolExecutor, run_in_executor
from pydantic import ConfigDict, PrivateAttr

from rag_chain.retrieval.fusion import fuse
from rag_chain.retrieval.index import can_read, note_ranking
from rag_chain.tasks import start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document

    from rag_chain.retrieval.index import Index

    Found = list[tuple[Document, float]]

# Questions that may be under way at once.
RECENT = 256


class HybridRetriever(BaseRetriever):
    """A LangChain retriever: ``depth`` chunks by vector and as many by words, fused; the best ``k`` are returned.

    ``dense_weight`` is the vectors' share in the fusion; ``foreign_weight`` takes its place for a question
    that the embedding model was not made to read. Each chunk's metadata holds ``score`` (raw cosine), ``fused``,
    and ``dense_rank``, ``bm25`` and ``bm25_rank`` where that search found it. With ``lazy`` what only its words
    brought up has no ``score`` before :meth:`complete`, which then has to ask for few. The defaults are
    measured, see benchmarks/retrieval.md.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    embeddings: Embeddings
    index: Any
    k: int = 5
    depth: int = 100
    dense_weight: float = 0.6
    lazy: bool = False
    foreign_weight: float = 0.35
    # The vectors of the last questions, for complete(); a question is embedded once.
    _recent: dict[str, list[float]] = PrivateAttr(default_factory=dict)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        k: int | None = None,
    ) -> list[Document]:
        # By words it is searched while the question is being embedded.
        with ContextThreadPoolExecutor(1) as thread:
            matching = thread.submit(self._match, query, k, filter)
            vector = self.embeddings.embed_query(query)
            nearest = self._near(vector, k, filter)
            return self._fuse(query, vector, nearest, matching.result(), k)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        k: int | None = None,
    ) -> list[Document]:
        return await run_in_executor(None, await self.begin(query, filter=filter, k=k))

    async def begin(
        self,
        query: str,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        k: int | None = None,
    ) -> Callable[[], list[Document]]:
        """Await the question's vector, and return what then gives the results, in a thread.

        So whoever has more to do there needs one way to a thread for all of it.
        """
        # By words it is searched while the question is being embedded.
        matching = start(run_in_executor(None, self._match, query, k, filter))
        try:
            vector = await self.embeddings.aembed_query(query)
            by_words = await matching
        finally:
            matching.cancel()
        return lambda: self._fuse(query, vector, self._near(vector, k, filter), by_words, k)

    def _near(self, vector: list[float], k: int | None, conditions: Mapping[str, Any] | None) -> Found:
        index: Index = self.index
        return index.nearest(vector, self._deep(k), conditions)

    def _match(self, query: str, k: int | None, conditions: Mapping[str, Any] | None) -> Found:
        index: Index = self.index
        return index.matching(query, self._deep(k), conditions)

    def _fuse(self, query: str, vector: list[float], nearest: Found, matching: Found, k: int | None) -> list[Document]:
        by_words = {chunk.metadata["id"]: chunk for chunk in note_ranking(matching, score="bm25", rank="bm25_rank")}
        chunks = {chunk.metadata["id"]: chunk for chunk in note_ranking(nearest, score="score", rank="dense_rank")}
        for number, chunk in by_words.items():
            chunks.setdefault(number, chunk).metadata.update(chunk.metadata)
        fused = fuse(
            {chunk.metadata["id"]: score for chunk, score in nearest},
            {chunk.metadata["id"]: score for chunk, score in matching},
            dense_weight=self.weigh(query),
            depth=self._deep(k),
        )
        best = [chunks[number] for number in list(fused)[: k or self.k]]
        for chunk in best:
            chunk.metadata["fused"] = fused[chunk.metadata["id"]]
        self._remember(query, vector)
        if not self.lazy:
            self.complete(query, best)
        return best

    def _remember(self, query: str, vector: list[float]) -> None:
        self._recent[query] = vector
        while len(self._recent) > RECENT:
            self._recent.pop(next(iter(self._recent)), None)

    def _deep(self, k: int | None) -> int:
        """Return how much to take from each ranking: enough for ``k`` even if both hold the same."""
        return max(self.depth, k or self.k)

    def weigh(self, query: str) -> float:
        """Return the vectors' share in the fusion for a question."""
        return self.dense_weight if can_read(self.embeddings, query) else self.foreign_weight

    def complete(self, query: str, chunks: Sequence[Document]) -> None:
        """Put in the cosine, as ``score``, of what only its words brought up."""
        missing = [chunk for chunk in chunks if "score" not in chunk.metadata]
        if not missing:
            return
        index: Index = self.index
        vectors = index.vectors([chunk.metadata["id"] for chunk in missing])
        vector = self._recent.get(query) or self.embeddings.embed_query(query)
        for chunk in missing:
            # It may have gone since.
            found = vectors.get(chunk.metadata["id"])
            chunk.metadata["score"] = 0.0 if found is None else float(np.dot(found, vector))

"""Reranked retrieval: take more chunks than are wanted, keep those that the rerank model scores best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.retrievers import BaseRetriever

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document

    from rag_chain.models.reranking import Reranker

# Rerankers gain little from more candidates, and some lose.
CANDIDATES = 30


class RerankedRetriever(BaseRetriever):
    """A LangChain retriever over another one and a :class:`~rag_chain.models.reranking.Reranker`.

    Each chunk's metadata keeps its cosine as ``score`` and holds the model's as ``rerank_score``.
    """

    retriever: BaseRetriever
    reranker: Any
    k: int = 5

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        wanted = kwargs.pop("k", None) or self.k
        found = self.retriever.invoke(
            query, {"callbacks": run_manager.get_child()}, k=max(CANDIDATES, wanted), **kwargs
        )
        reranker: Reranker = self.reranker
        return _best(found, reranker.score(query, [document.page_content for document in found]), wanted)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        wanted = kwargs.pop("k", None) or self.k
        found = await self.retriever.ainvoke(
            query, {"callbacks": run_manager.get_child()}, k=max(CANDIDATES, wanted), **kwargs
        )
        reranker: Reranker = self.reranker
        return _best(found, await reranker.ascore(query, [document.page_content for document in found]), wanted)


def _best(found: list[Document], scores: list[float], k: int) -> list[Document]:
    ranked = sorted(zip(found, scores, strict=True), key=lambda pair: -pair[1])[:k]
    for document, score in ranked:
        document.metadata["rerank_score"] = score
    return [document for document, _ in ranked]

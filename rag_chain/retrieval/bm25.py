"""Keyword retrieval: take the chunks with the most BM25 for the question's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.retrievers import BaseRetriever

from rag_chain.retrieval.index import Index, note_ranking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document


class Bm25Retriever(BaseRetriever):
    """A LangChain retriever over words; each chunk's metadata holds its BM25 as ``bm25``, which has no upper end."""

    index: Any
    k: int = 5

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        k: int | None = None,
    ) -> list[Document]:
        index: Index = self.index
        found = index.matching(query, k or self.k, filter)
        return note_ranking(found, score="bm25", rank="bm25_rank")

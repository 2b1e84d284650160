"""Dense retrieval: embed the question, take the nearest chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings  # noqa: TC002  pydantic reads it
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict

from rag_chain.retrieval.index import Index, note_ranking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document


class DenseRetriever(BaseRetriever):
    """A LangChain retriever: ``invoke(question, filter={...}, k=5)`` returns chunks, nearest first.

    Each chunk's metadata holds its raw cosine as ``score``. ``index`` is an
    :class:`~rag_chain.retrieval.index.Index`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    embeddings: Embeddings
    index: Any
    k: int = 5

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  the word that users know from LangChain
        k: int | None = None,
    ) -> list[Document]:
        return self._search(self.embeddings.embed_query(query), k, filter)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        k: int | None = None,
    ) -> list[Document]:
        vector = await self.embeddings.aembed_query(query)
        return await run_in_executor(None, self._search, vector, k, filter)

    def _search(self, vector: list[float], k: int | None, conditions: Mapping[str, Any] | None) -> list[Document]:
        index: Index = self.index
        found = index.nearest(vector, k or self.k, conditions)
        return note_ranking(found, score="score", rank="dense_rank")

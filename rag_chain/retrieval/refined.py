"""A search and what is done to its results, as one LangChain retriever."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from langchain_core.documents import BaseDocumentCompressor
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor

from rag_chain.retrieval.hybrid import HybridRetriever
from rag_chain.retrieval.refining import Diversity, Floor
from rag_chain.retrieval.tracing import start_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import Document


LOOK_AT_SCORES = (Floor, Diversity)


class RefinedRetriever(BaseRetriever):
    """A LangChain retriever: takes ``candidates`` from ``search``, hands them through ``steps``, returns ``k``."""

    search: BaseRetriever
    steps: list[BaseDocumentCompressor]
    candidates: int = 30
    k: int = 5

    def steps_for(self, k: int) -> list[BaseDocumentCompressor]:
        """Return the steps for so many results; some keep no more than are wanted."""
        return [step.model_copy(update={"k": k}) if hasattr(step, "k") else step for step in self.steps]

    def complete_for(self, step: BaseDocumentCompressor, query: str, chunks: list[Document]) -> None:
        """Have the search put in the scores that it left out, before a step that looks at them."""
        if isinstance(step, LOOK_AT_SCORES) and isinstance(self.search, HybridRetriever):
            self.search.complete(query, chunks)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None, **kwargs: Any
    ) -> list[Document]:
        k, callbacks = k or self.k, run_manager.get_child()
        find = partial(self.search.invoke, query, {"callbacks": callbacks}, k=max(self.candidates, k), **kwargs)
        return self._take_steps(self.steps_for(k), query, find, callbacks)[:k]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None, **kwargs: Any
    ) -> list[Document]:
        k, callbacks = k or self.k, run_manager.get_child()
        find = await self._begin(query, callbacks, k=max(self.candidates, k), **kwargs)
        # One thread for all that only computes: each way to a thread and back waits its turn among all that goes on.
        for computes, group in groupby(self.steps_for(k), _only_computes):
            steps = [*group]
            if computes:
                find = partial(self._take_steps, steps, query, find, callbacks)
                continue
            found = await run_in_executor(None, find)
            for step in steps:
                await run_in_executor(None, self.complete_for, step, query, found)
                found = list(await step.acompress_documents(found, query, callbacks))
            find = partial(list, found)
        return (await run_in_executor(None, find))[:k]

    async def _begin(self, query: str, callbacks: Callbacks, **kwargs: Any) -> Callable[[], list[Document]]:
        """Return what gives the search's results, in a thread."""
        if not isinstance(self.search, HybridRetriever):
            return partial(list, await self.search.ainvoke(query, {"callbacks": callbacks}, **kwargs))
        run = await start_run(self.search, query, callbacks)
        async with run:
            return partial(run.finish, await self.search.begin(query, **kwargs))

    def _take_steps(
        self,
        steps: list[BaseDocumentCompressor],
        query: str,
        find: Callable[[], list[Document]],
        callbacks: Callbacks,
    ) -> list[Document]:
        found = find()
        for step in steps:
            self.complete_for(step, query, found)
            found = list(step.compress_documents(found, query, callbacks))
        return found


def _only_computes(step: BaseDocumentCompressor) -> bool:
    """Return whether a step has no async form of its own."""
    return type(step).acompress_documents is BaseDocumentCompressor.acompress_documents

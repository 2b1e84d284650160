"""The run of a search in a trace, for a search that begins in a task and ends in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.callbacks import AsyncCallbackManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, Callbacks
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever


async def start_run(retriever: BaseRetriever, query: str, callbacks: Callbacks) -> SearchRun:
    """Tell the callbacks that a retriever starts, as ``BaseRetriever.ainvoke`` does."""
    manager = AsyncCallbackManager.configure(
        callbacks, local_tags=retriever.tags, local_metadata=retriever.metadata, verbose=False
    )
    return SearchRun(await manager.on_retriever_start(None, query, name=retriever.get_name()))


class SearchRun:
    """A run that was started; entered, in a task or in a thread, it tells the callbacks of an error."""

    def __init__(self, run: AsyncCallbackManagerForRetrieverRun) -> None:
        self._run = run

    def finish(self, find: Callable[[], list[Document]]) -> list[Document]:
        """Return what ``find`` gives, and tell the callbacks of it; for a thread."""
        with self:
            found = find()
        self._run.get_sync().on_retriever_end(found)
        return found

    def __enter__(self) -> None:
        """Do nothing: the run was started before."""

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._run.get_sync().on_retriever_error(error)

    async def __aenter__(self) -> None:
        """Do nothing: the run was started before."""

    async def __aexit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            await self._run.on_retriever_error(error)

"""Stop the model when nobody reads its answer any more.

LangChain's stream of a sequence, when it is closed, first reads its input to the end for the
trace; an abandoned answer would be generated, and paid for, to the last token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableBinding
from langchain_core.tools import convert_runnable_to_tool

from rag_chain.answering.types import Question
from rag_chain.models.background import StreamScope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool
    from pydantic import BaseModel

DESCRIPTION = "Answer a question from the documents, with the sources and checked citations."


class StoppableChain(RunnableBinding[Any, Any]):
    """A chain whose streams, closed early, cancel the requests that were made for them."""

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return False: stores and models with open connections can't be written down."""
        return False

    def __or__(self, other: Any) -> StoppableChain:
        """Return the chain with another step behind it, whose streams cancel the requests as well."""
        return StoppableChain(bound=super().__or__(other))

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """Return the chain as a tool of an agent; its arguments are those of ``Question``, its output the answer."""
        schema = args_schema or (None if arg_types else Question)
        return convert_runnable_to_tool(
            self, schema, name=name, description=description or DESCRIPTION, arg_types=arg_types
        )

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """Stream; closing the iterator cancels what is still being generated."""
        return _until_closed(super().stream(input, config, **kwargs))

    def transform(
        self,
        input: Iterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Stream as a step of another sequence, see :meth:`stream`."""
        return _until_closed(super().transform(input, config, **kwargs))

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: A002
        """Stream asynchronously, see :meth:`stream`."""
        async for part in _auntil_closed(super().astream(input, config, **kwargs)):
            yield part

    async def atransform(
        self,
        input: AsyncIterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Stream asynchronously as a step of another sequence, see :meth:`stream`."""
        async for part in _auntil_closed(super().atransform(input, config, **kwargs)):
            yield part


def _until_closed(parts: Iterator[Any]) -> Iterator[Any]:
    scope = StreamScope()
    try:
        while True:
            # Entered for each part alone: a generator shares its caller's context between them.
            with scope:
                try:
                    part = next(parts)
                except StopIteration:
                    return
            yield part
    finally:
        scope.cancel()


async def _auntil_closed(parts: AsyncIterator[Any]) -> AsyncIterator[Any]:
    scope = StreamScope()
    try:
        while True:
            with scope:
                try:
                    part = await anext(parts)
                except StopAsyncIteration:
                    return
            yield part
    finally:
        scope.cancel()

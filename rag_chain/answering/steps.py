"""Runnables for a chain of which only the last step streams; each shows its parts in the chain's graph.

LangChain's own sequence starts a task for each step and each streamed part, and copies the stream between any two
steps: 2.3 ms more for a question, and five turns of the event loop instead of three for a token
(benchmarks/asking.py). Here the steps before the last are called one after the other, in the caller's task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from langchain_core.runnables import Runnable, RunnableLambda, RunnableSequence

from rag_chain.tasks import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from langchain_core.runnables import RunnableConfig
    from langchain_core.runnables.graph import Graph
    from langchain_core.runnables.utils import ConfigurableFieldSpec

T = TypeVar("T")
Values = dict[str, Any]


class FunctionStep(RunnableLambda[Any, Any]):
    """A function that only computes, as a step: called as it is, without a run of its own in a trace."""

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Return what the function returns."""
        return self.func(input, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Return what the function returns, without a thread."""
        return self.func(input, **kwargs)


class Assign(Runnable[Values, Values]):
    """Add the output of a runnable to the mapping, as ``RunnablePassthrough.assign`` does, but in the caller's task.

    ``reads`` makes the runnable's input of the mapping, ``options`` its keyword arguments. Without ``when`` it always
    runs; where ``when`` says no, ``otherwise`` is added instead.
    """

    def __init__(
        self,
        key: str,
        runnable: Runnable[Any, Any],
        *,
        reads: Callable[[Values], Any] = lambda values: values,
        options: Callable[[Values], Mapping[str, Any]] = lambda _: {},
        when: Callable[[Values], object] = lambda _: True,
        otherwise: object = None,
    ) -> None:
        self.name = key
        self._key = key
        self._runnable = runnable
        self._reads = reads
        self._options = options
        self._when = when
        self._otherwise = otherwise

    def __repr__(self) -> str:
        return f"Assign({self._key}={self._runnable!r})"

    def invoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Values:  # noqa: A002
        """Return the mapping with the runnable's output."""
        if not self._when(input):
            return {**input, self._key: self._otherwise}
        return {**input, self._key: self._runnable.invoke(self._reads(input), config, **self._options(input))}

    async def ainvoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Values:  # noqa: A002
        """Return the mapping with the runnable's output, asynchronously."""
        if not self._when(input):
            return {**input, self._key: self._otherwise}
        return {**input, self._key: await self._runnable.ainvoke(self._reads(input), config, **self._options(input))}

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Return the runnable's graph."""
        return self._runnable.get_graph(config)

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """What of the runnable can be configured."""
        return self._runnable.config_specs


class LastStreams(RunnableSequence[Any, Any]):
    """A sequence of which only the last step streams; the steps before it give one value each.

    A batch takes each question through all steps by itself; in LangChain's own sequence every question waits at each
    step for the slowest.
    """

    batch = Runnable.batch
    abatch = Runnable.abatch

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return False: stores and models with open connections can't be written down."""
        return False

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """Stream the last step."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Stream the last step, asynchronously."""
        async for part in self.atransform(alone(input), config, **kwargs):
            yield part

    def transform(
        self,
        input: Iterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Read the whole input, then stream the last step."""
        yield from self._transform_stream_with_config(input, self._run, config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Read the whole input, then stream the last step, asynchronously."""
        async for part in self._atransform_stream_with_config(input, self._arun, config, **kwargs):
            yield part

    def _run(self, pieces: Iterator[Any], run_manager: object, config: RunnableConfig) -> Iterator[Any]:
        value = join_pieces(list(pieces))
        for step in self.steps[:-1]:
            value = step.invoke(value, config)
        yield from self.last.stream(value, config)

    async def _arun(
        self, pieces: AsyncIterator[Any], run_manager: object, config: RunnableConfig
    ) -> AsyncIterator[Any]:
        value = join_pieces([piece async for piece in pieces])
        for step in self.steps[:-1]:
            value = await step.ainvoke(value, config)
        async for part in self.last.astream(value, config):
            yield part


def stream_last(chain: Runnable[Any, Any], name: str) -> LastStreams:
    """Return a sequence that ``|`` made as one of which only the last step streams."""
    if not isinstance(chain, RunnableSequence):
        raise TypeError(f"expected a sequence of steps, found {type(chain).__name__}")
    return LastStreams(first=chain.first, middle=chain.middle, last=chain.last, name=name)


def join_pieces(pieces: list[Any]) -> Any:
    """Return as one value what came in pieces, added up as LangChain does; what can't be added replaces the rest."""
    whole = pieces[0] if pieces else ""
    for piece in pieces[1:]:
        try:
            whole = whole + piece
        except TypeError:
            whole = piece
    return whole


async def alone(item: T) -> AsyncIterator[T]:
    """Yield one item."""
    yield item


class Prefetched(Generic[T]):
    """An async iterator that starts to make its first item at once; :meth:`cancel` ends it without waiting."""

    def __init__(self, items: AsyncIterator[T]) -> None:
        self._items = items
        self._first = start(anext(items, None))
        self._is_taken = False

    def __aiter__(self) -> Prefetched[T]:
        return self

    async def __anext__(self) -> T:
        if self._is_taken:
            return await anext(self._items)
        self._is_taken = True
        if (item := await self._first) is None:
            raise StopAsyncIteration
        return item

    def cancel(self) -> None:
        """Stop making the first item."""
        self._first.cancel()

"""The step that answers: have the model write, pass on true marks only, then say what the answer is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import AddableDict, Runnable
from langchain_core.runnables.config import run_in_executor

from rag_chain.answering.citations import check_answer
from rag_chain.answering.marks import MarkFilter
from rag_chain.answering.refusals import is_refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.embeddings import Embeddings
    from langchain_core.runnables import RunnableConfig

    Asked = dict[str, Any]


class Answering(Runnable[dict[str, Any], dict[str, Any]]):
    """From a question with its ``sources`` to the parts of an answer: sources, its text, what was found of it.

    ``write`` is the chain that writes the text, and ``without`` the one for when there is no source;
    ``embeddings`` help to compare claims with their sources. One step, and not an ``assign`` with others behind it:
    each of those takes a thread and two locks for each question, and looks at every token.
    """

    def __init__(
        self,
        write: Runnable[dict[str, Any], str],
        without: Runnable[dict[str, Any], str],
        embeddings: Embeddings | None = None,
    ) -> None:
        self.name = "answer"
        self._write = write
        self._without = without
        self._embeddings = embeddings

    def invoke(self, input: Asked, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: A002
        """Answer in one piece."""
        return self._call_with_config(self._answer, input, config, **kwargs)

    async def ainvoke(self, input: Asked, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: A002
        """Answer in one piece, asynchronously."""
        return await self._acall_with_config(self._aanswer, input, config, **kwargs)

    def transform(
        self,
        input: Iterator[Asked],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Answer as it is written."""
        yield from self._transform_stream_with_config(input, self._stream, config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[Asked],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        """Answer as it is written, asynchronously."""
        async for part in self._atransform_stream_with_config(input, self._astream, config, **kwargs):
            yield part

    def _answer(self, asked: Asked, run_manager: object, config: RunnableConfig) -> dict[str, Any]:
        text = _Text(asked)
        text.take(self._writer(asked).invoke(asked, config))
        return {"sources": asked["sources"], **text.end(), **text.check(self._embeddings)}

    async def _aanswer(self, asked: Asked, run_manager: object, config: RunnableConfig) -> dict[str, Any]:
        text = _Text(asked)
        text.take(await self._writer(asked).ainvoke(asked, config))
        return {"sources": asked["sources"], **text.end(), **await run_in_executor(None, text.check, self._embeddings)}

    def _stream(
        self, questions: Iterator[Asked], run_manager: object, config: RunnableConfig
    ) -> Iterator[dict[str, Any]]:
        for asked in questions:
            yield AddableDict(sources=asked["sources"])
            text = _Text(asked)
            for piece in self._writer(asked).stream(asked, config):
                if shown := text.take(piece):
                    yield AddableDict(answer=shown)
            yield AddableDict(text.rest())
            yield AddableDict(text.check(self._embeddings))

    async def _astream(
        self, questions: AsyncIterator[Asked], run_manager: object, config: RunnableConfig
    ) -> AsyncIterator[dict[str, Any]]:
        async for asked in questions:
            yield AddableDict(sources=asked["sources"])
            text = _Text(asked)
            async for piece in self._writer(asked).astream(asked, config):
                if shown := text.take(piece):
                    yield AddableDict(answer=shown)
            yield AddableDict(text.rest())
            yield AddableDict(await run_in_executor(None, text.check, self._embeddings))

    def _writer(self, asked: Asked) -> Runnable[dict[str, Any], str]:
        return self._write if asked["sources"] else self._without


class _Text:
    """The text of an answer as it comes, with the marks of its sources only."""

    def __init__(self, asked: Asked) -> None:
        self._sources = asked["sources"]
        self._marks = MarkFilter(source["number"] for source in self._sources)
        self._pieces: list[str] = []

    def take(self, piece: str) -> str:
        """Return what can be shown now that this has come."""
        self._pieces.append(self._marks.feed(piece or ""))
        return self._pieces[-1]

    def rest(self) -> dict[str, str]:
        """Return what was kept back, for it might have become a mark; an answer always has a text, if an empty one."""
        self._pieces.append(self._marks.finish())
        return {"answer": self._pieces[-1]}

    def end(self) -> dict[str, str]:
        """Return the whole text."""
        self.rest()
        return {"answer": "".join(self._pieces)}

    def check(self, embeddings: Embeddings | None) -> dict[str, Any]:
        """Return the citations and the verdicts."""
        answer = "".join(self._pieces)
        refused = is_refusal(answer)
        checked = {"citations": [], "grounded": False} if refused else check_answer(answer, self._sources, embeddings)
        return {**checked, "refused": refused, "removed_citations": self._marks.removed}

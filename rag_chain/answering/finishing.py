"""The step that answers: have the model write, pass on true marks only, then say what the answer is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import AddableDict, Runnable
from langchain_core.runnables.config import run_in_executor

from rag_chain.answering.citations import check_answer
from rag_chain.answering.marks import MarkFilter
from rag_chain.answering.prompt import KNOWLEDGE
from rag_chain.answering.refusals import is_refusal
from rag_chain.models.extractive import REFUSAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import RunnableConfig

    Asked = dict[str, Any]
    Part = dict[str, Any]


class Answering(Runnable[dict[str, Any], dict[str, Any]]):
    """From a question with its ``sources`` to the parts of an answer: sources, its text, what was found of it.

    ``prompt`` makes of it what ``model`` is asked. Without a source the model is not asked, unless it ``may_know``:
    then it is said that the answer is general knowledge. ``embeddings`` help to compare claims with their sources.
    One step, and not a sequence with parsers and an ``assign``: each of those looks at every token, and takes
    threads and locks for each question.
    """

    def __init__(
        self,
        prompt: Runnable[dict[str, Any], LanguageModelInput],
        model: Runnable[LanguageModelInput, Any],
        *,
        may_know: bool = False,
        embeddings: Embeddings | None = None,
    ) -> None:
        self.name = "answer"
        self._prompt = prompt
        self._model = model
        self._may_know = may_know
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
        text = self._begin(asked)
        if self._is_asked(asked):
            text.take(text_of(self._model.invoke(self._prompt.invoke(asked, config), config)))
        else:
            text.take(REFUSAL)
        return {"sources": asked["sources"], **text.end(), **text.check(self._embeddings)}

    async def _aanswer(self, asked: Asked, run_manager: object, config: RunnableConfig) -> dict[str, Any]:
        text = self._begin(asked)
        if self._is_asked(asked):
            text.take(text_of(await self._model.ainvoke(await self._prompt.ainvoke(asked, config), config)))
        else:
            text.take(REFUSAL)
        return {"sources": asked["sources"], **text.end(), **await run_in_executor(None, text.check, self._embeddings)}

    def _stream(self, questions: Iterator[Asked], run_manager: object, config: RunnableConfig) -> Iterator[Part]:
        for asked in questions:
            yield AddableDict(sources=asked["sources"])
            text = self._begin(asked)
            if self._is_asked(asked):
                for piece in self._model.stream(self._prompt.invoke(asked, config), config):
                    if shown := text.take(text_of(piece)):
                        yield AddableDict(answer=shown)
            else:
                yield AddableDict(answer=text.take(REFUSAL))
            yield AddableDict(text.rest())
            yield AddableDict(text.check(self._embeddings))

    async def _astream(
        self, questions: AsyncIterator[Asked], run_manager: object, config: RunnableConfig
    ) -> AsyncIterator[Part]:
        async for asked in questions:
            yield AddableDict(sources=asked["sources"])
            text = self._begin(asked)
            if self._is_asked(asked):
                async for piece in self._model.astream(await self._prompt.ainvoke(asked, config), config):
                    if shown := text.take(text_of(piece)):
                        yield AddableDict(answer=shown)
            else:
                yield AddableDict(answer=text.take(REFUSAL))
            yield AddableDict(text.rest())
            yield AddableDict(await run_in_executor(None, text.check, self._embeddings))

    def _is_asked(self, asked: Asked) -> bool:
        return bool(asked["sources"]) or self._may_know

    def _begin(self, asked: Asked) -> _Text:
        return _Text(asked["sources"], None if asked["sources"] or not self._may_know else KnowledgeNotice())


def text_of(piece: Any) -> str:
    """Return the text of what a model gives, be it a message, a part of one or a text."""
    return piece if isinstance(piece, str) else str(piece.text)


class KnowledgeNotice:
    """Puts before an answer without sources that it is one; the model may have said so itself."""

    def __init__(self) -> None:
        self._begin: str | None = ""

    def feed(self, piece: str) -> str:
        """Return what can be shown now that this has come."""
        if self._begin is None:
            return piece
        self._begin += piece
        return "" if KNOWLEDGE.startswith(self._begin.strip()) else self.finish()

    def finish(self) -> str:
        """Return what was kept back."""
        begin, self._begin = self._begin, None
        return "" if begin is None else f"{KNOWLEDGE} {begin.lstrip().removeprefix(KNOWLEDGE).lstrip()}"


class _Text:
    """The text of an answer as it comes, with the marks of its sources only."""

    def __init__(self, sources: Sequence[Mapping[str, Any]], notice: KnowledgeNotice | None = None) -> None:
        self._sources = sources
        self._notice = notice
        self._marks = MarkFilter(source["number"] for source in sources)
        self._pieces: list[str] = []

    def take(self, piece: str) -> str:
        """Return what can be shown now that this has come."""
        said = self._notice.feed(piece) if self._notice else piece
        self._pieces.append(self._marks.feed(said))
        return self._pieces[-1]

    def rest(self) -> dict[str, str]:
        """Return what was kept back, for it might have become a mark; an answer always has a text, if an empty one."""
        begun = self._marks.feed(self._notice.finish()) if self._notice else ""
        self._pieces.append(begun + self._marks.finish())
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

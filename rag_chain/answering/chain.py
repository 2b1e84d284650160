"""The chain: a question, its sources, an answer, its citations; each step under its own name in a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from langchain_core.runnables import AddableDict, Runnable
from langchain_core.runnables.config import run_in_executor

from rag_chain.answering.asking import Asking, text_of
from rag_chain.answering.finishing import AnswerText, read_piece
from rag_chain.answering.input_schema import QuestionInput
from rag_chain.answering.prompt import build_prompt, check_prompt, defuse, format_context, format_history
from rag_chain.answering.stopping import StoppableChain
from rag_chain.answering.types import Answer
from rag_chain.models.extractive import REFUSAL
from rag_chain.tasks import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableConfig

    from rag_chain.answering.types import Question

    Part = dict[str, Any]

T = TypeVar("T")


def build_answer_chain(
    retriever: Runnable[str, list[Document]],
    chat_model: Runnable[LanguageModelInput, Any],
    *,
    prompt: ChatPromptTemplate | None = None,
    mode: Literal["strict", "open"] = "strict",
    context_tokens: int = 6000,
    embeddings: Embeddings | None = None,
) -> Runnable[str | Question | Mapping[str, Any], dict[str, Any]]:
    """Compose retriever, prompt and chat model.

    Streams ``{"sources": [...]}``, then ``{"answer": "token"}`` for each token, then
    ``{"citations": [...], "grounded": ...}``. A question with a conversation before it is first made to
    stand alone. Without a source the model is not asked, except in open mode, where it answers from general
    knowledge and says so. Sources and conversation share ``context_tokens``; ``embeddings`` help to check
    citations.
    """
    template = check_prompt(prompt) if prompt else build_prompt(mode)
    chain = AnswerChain(
        Asking(retriever, chat_model, context_tokens=context_tokens),
        template.with_config(run_name="prompt"),
        chat_model.with_config(run_name="model"),
        may_know=mode == "open",
        embeddings=embeddings,
    )
    return StoppableChain(bound=chain).with_types(input_type=QuestionInput, output_type=Answer)


class AnswerChain(Runnable[Any, dict[str, Any]]):
    """From a question to the parts of an answer: its sources, its text, what was found of it.

    ``prompt`` makes of question and sources what ``model`` is asked. Without a source the model is not asked, unless
    it ``may_know``: then it is said that the answer is general knowledge. ``embeddings`` help to compare claims with
    their sources. It calls its steps itself: a sequence streams through a task for each step and each part, and with
    hundreds of streams at once every task waits its turn.
    """

    def __init__(
        self,
        asking: Asking,
        prompt: Runnable[Any, LanguageModelInput],
        model: Runnable[LanguageModelInput, Any],
        *,
        may_know: bool = False,
        embeddings: Embeddings | None = None,
    ) -> None:
        self.name = "rag_chain"
        self._asking = asking
        self._prompt = prompt
        self._model = model
        self._may_know = may_know
        self._embeddings = embeddings

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: A002
        """Answer in one piece."""
        return self._call_with_config(self._answer, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: A002
        """Answer in one piece, asynchronously."""
        return await self._acall_with_config(self._aanswer, input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[dict[str, Any]]:  # noqa: A002
        """Answer as it is written."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        """Answer as it is written, asynchronously."""
        async for part in self.atransform(_alone(input), config, **kwargs):
            yield part

    def transform(
        self,
        input: Iterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Answer, as it is written, what comes in pieces."""
        yield from self._transform_stream_with_config(input, self._stream, config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        """Answer, as it is written, what comes in pieces, asynchronously."""
        async for part in self._atransform_stream_with_config(input, self._astream, config, **kwargs):
            yield part

    def _answer(self, given: object, run_manager: object, config: RunnableConfig) -> dict[str, Any]:
        asked = self._asking.prepare(given, config)
        text = self._begin(asked)
        if self._is_asked(asked):
            prompt = self._prompt.invoke(prompt_variables(asked), config)
            text.take(read_piece(self._model.invoke(prompt, config)))
        else:
            text.take(REFUSAL)
        return {"sources": asked["sources"], **text.end(), **text.check(self._embeddings)}

    async def _aanswer(self, given: object, run_manager: object, config: RunnableConfig) -> dict[str, Any]:
        asked = await self._asking.aprepare(given, config)
        text = self._begin(asked)
        if self._is_asked(asked):
            prompt = self._prompt.invoke(prompt_variables(asked), config)
            text.take(read_piece(await self._model.ainvoke(prompt, config)))
        else:
            text.take(REFUSAL)
        return {"sources": asked["sources"], **text.end(), **await run_in_executor(None, text.check, self._embeddings)}

    def _stream(self, pieces: Iterator[Any], run_manager: object, config: RunnableConfig) -> Iterator[Part]:
        asked = self._asking.prepare(join_pieces(list(pieces)), config)
        yield AddableDict(sources=asked["sources"])
        text = self._begin(asked)
        if self._is_asked(asked):
            prompt = self._prompt.invoke(prompt_variables(asked), config)
            for piece in self._model.stream(prompt, config):
                if shown := text.take(read_piece(piece)):
                    yield AddableDict(answer=shown)
        else:
            yield AddableDict(answer=text.take(REFUSAL))
        yield AddableDict(text.rest())
        yield AddableDict(text.check(self._embeddings))

    async def _astream(
        self, pieces: AsyncIterator[Any], run_manager: object, config: RunnableConfig
    ) -> AsyncIterator[Part]:
        asked = await self._asking.aprepare(join_pieces([piece async for piece in pieces]), config)
        text = self._begin(asked)
        if self._is_asked(asked):
            # Not awaited: a prompt only computes. The model begins while the sources are on their way.
            prompt = self._prompt.invoke(prompt_variables(asked), config)
            said = _Begun(self._model.astream(prompt, config))
            try:
                yield AddableDict(sources=asked["sources"])
                async for piece in said:
                    if shown := text.take(read_piece(piece)):
                        yield AddableDict(answer=shown)
            finally:
                said.cancel()
        else:
            yield AddableDict(sources=asked["sources"])
            yield AddableDict(answer=text.take(REFUSAL))
        yield AddableDict(text.rest())
        yield AddableDict(await run_in_executor(None, text.check, self._embeddings))

    def _is_asked(self, asked: dict[str, Any]) -> bool:
        return bool(asked["sources"]) or self._may_know

    def _begin(self, asked: dict[str, Any]) -> AnswerText:
        return AnswerText(asked["sources"], from_knowledge=self._may_know and not asked["sources"])


def prompt_variables(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what a prompt is filled with."""
    return {
        "context": format_context(asked["sources"]),
        "question": defuse(text_of(asked)),
        "history": format_history(asked["chat_history"]),
    }


def join_pieces(pieces: list[Any]) -> Any:
    """Return as one what came in pieces, as LangChain joins them; what can't be added is the last of it."""
    whole = pieces[0] if pieces else ""
    for piece in pieces[1:]:
        try:
            whole = whole + piece
        except TypeError:
            whole = piece
    return whole


async def _alone(item: T) -> AsyncIterator[T]:
    yield item


class _Begun(Generic[T]):
    """An async iterator whose first item is being made already; what ends it does not wait."""

    def __init__(self, items: AsyncIterator[T]) -> None:
        self._items = items
        self._first = start(anext(items, None))
        self._is_taken = False

    def __aiter__(self) -> _Begun[T]:
        return self

    async def __anext__(self) -> T:
        if self._is_taken:
            return await anext(self._items)
        self._is_taken = True
        if (item := await self._first) is None:
            raise StopAsyncIteration
        return item

    def cancel(self) -> None:
        """End what is being made."""
        self._first.cancel()

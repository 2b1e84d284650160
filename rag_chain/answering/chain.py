"""The chain: question | rewrite | retrieve | pack | write. Composed with LCEL; each step shows in the chain's graph."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import AddableDict, Runnable
from langchain_core.runnables.config import run_in_executor

from rag_chain.answering.finishing import AnswerText, read_piece
from rag_chain.answering.input_schema import QuestionInput
from rag_chain.answering.packing import pack_context
from rag_chain.answering.prompt import (
    build_prompt,
    build_rewrite_prompt,
    check_prompt,
    prompt_variables,
    rewrite_variables,
)
from rag_chain.answering.question import filter_of, has_history, read_question, text_of
from rag_chain.answering.steps import Assign, FunctionStep, Prefetched, Values, alone, stream_last
from rag_chain.answering.stopping import StoppableChain
from rag_chain.answering.types import Answer
from rag_chain.models.extractive import REFUSAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableConfig
    from langchain_core.runnables.graph import Graph
    from langchain_core.runnables.utils import ConfigurableFieldSpec

    from rag_chain.answering.types import Question


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
    rewrite = (
        FunctionStep(rewrite_variables)
        | build_rewrite_prompt()
        | chat_model
        | StrOutputParser()
        | FunctionStep(str.strip)
    )
    steps = (
        FunctionStep(read_question)
        | Assign("standalone", rewrite.with_config(run_name="rewrite"), when=has_history, otherwise="")
        | Assign("chunks", retriever.with_config(run_name="retrieve"), reads=text_of, options=filter_of)
        | FunctionStep(partial(pack_context, budget=context_tokens), name="pack_context")
        | Writer(template, chat_model, answers_alone=mode == "open", embeddings=embeddings)
    )
    chain = StoppableChain(bound=stream_last(steps, name="rag_chain"))
    return chain.with_types(input_type=QuestionInput, output_type=Answer)


class Writer(Runnable[Values, Values]):
    """The last step: ask the model, stream its answer behind the sources, check the citations.

    Without sources the model is asked only if it ``answers_alone``; the answer then says that it is general knowledge.
    """

    def __init__(
        self,
        prompt: Runnable[Any, Any],
        model: Runnable[LanguageModelInput, Any],
        *,
        answers_alone: bool,
        embeddings: Embeddings | None,
    ) -> None:
        self.name = "write"
        self._prompt = prompt.with_config(run_name="prompt")
        self._model = model.with_config(run_name="model")
        self._check = FunctionStep(partial(AnswerText.check, embeddings=embeddings), name="check_citations")
        self._answers_alone = answers_alone

    def __repr__(self) -> str:
        return f"Writer({self._steps!r})"

    def invoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Values:  # noqa: A002
        """Answer in one piece."""
        text = self._begin(input)
        text.take(read_piece(self._model.invoke(self._ask(input, config), config)) if self._asks(input) else REFUSAL)
        return {"sources": input["sources"], **text.end(), **self._check.invoke(text)}

    async def ainvoke(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Values:  # noqa: A002
        """Answer in one piece, asynchronously."""
        text, asks = self._begin(input), self._asks(input)
        text.take(read_piece(await self._model.ainvoke(self._ask(input, config), config)) if asks else REFUSAL)
        return {"sources": input["sources"], **text.end(), **await run_in_executor(None, self._check.invoke, text)}

    def stream(self, input: Values, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Values]:  # noqa: A002
        """Answer as it is written."""
        yield AddableDict(sources=input["sources"])
        text = self._begin(input)
        for piece in self._model.stream(self._ask(input, config), config) if self._asks(input) else [REFUSAL]:
            if shown := text.take(read_piece(piece)):
                yield AddableDict(answer=shown)
        yield AddableDict(text.rest())
        yield AddableDict(self._check.invoke(text))

    async def astream(
        self,
        input: Values,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Values]:
        """Answer as it is written, asynchronously; the model begins while the sources are on their way."""
        text, asks = self._begin(input), self._asks(input)
        pieces = Prefetched(self._model.astream(self._ask(input, config), config) if asks else alone(REFUSAL))
        try:
            yield AddableDict(sources=input["sources"])
            async for piece in pieces:
                if shown := text.take(read_piece(piece)):
                    yield AddableDict(answer=shown)
        finally:
            pieces.cancel()
        yield AddableDict(text.rest())
        yield AddableDict(await run_in_executor(None, self._check.invoke, text))

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Return its steps' graph."""
        return self._steps.get_graph(config)

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """What of prompt and model can be configured."""
        return self._steps.config_specs

    @property
    def _steps(self) -> Runnable[Any, Any]:
        return FunctionStep(prompt_variables) | self._prompt | self._model | self._check

    def _asks(self, asked: Values) -> bool:
        return bool(asked["sources"]) or self._answers_alone

    def _ask(self, asked: Values, config: RunnableConfig | None) -> Any:
        # Not awaited in async code either: a prompt only computes.
        return self._prompt.invoke(prompt_variables(asked), config)

    def _begin(self, asked: Values) -> AnswerText:
        return AnswerText(asked["sources"], from_knowledge=self._answers_alone and not asked["sources"])

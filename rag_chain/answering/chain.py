"""The LCEL chain: question, sources, answer, citations; each step under its own name in a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import (
    AddableDict,
    Runnable,
    RunnableBranch,
    RunnableConfig,
    RunnableGenerator,
    RunnableLambda,
    RunnablePassthrough,
)
from pydantic import BaseModel, ValidationError

from rag_chain.answering.citations import check_answer
from rag_chain.answering.prompt import build_prompt, defuse, format_context, format_history
from rag_chain.answering.stopping import StoppableChain
from rag_chain.answering.types import Answer, Question
from rag_chain.errors import QuestionError
from rag_chain.models.extractive import REFUSAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.documents import Document
    from langchain_core.language_models import LanguageModelInput

ANSWER_KEYS = ["sources", "answer", "citations", "grounded"]


def build_answer_chain(
    retriever: Runnable[str, list[Document]], chat_model: Runnable[LanguageModelInput, Any]
) -> Runnable[str | Question | Mapping[str, Any], dict[str, Any]]:
    """Compose retriever, prompt and chat model.

    Streams ``{"sources": [...]}``, then ``{"answer": "token"}`` for each token, then
    ``{"citations": [...], "grounded": ...}``. Without a source the model is not asked.
    """
    prompt = RunnableLambda(_prompt_variables, name="context") | build_prompt().with_config(run_name="prompt")
    answer = prompt | chat_model.with_config(run_name="model") | StrOutputParser(name="text")
    answer_or_refuse = RunnableBranch((_has_no_source, RunnableLambda(_refuse, name="refuse")), answer)
    chain = (
        RunnableLambda(read_question, name="question")
        | RunnablePassthrough.assign(sources=_build_retrieval(retriever)).with_config(run_name="retrieve")
        | RunnablePassthrough.assign(answer=answer_or_refuse).with_config(run_name="answer")
        | RunnableGenerator(_check_last, _acheck_last, name="citations")
    )
    named = chain.pick(ANSWER_KEYS).with_config(run_name="rag_chain")
    return StoppableChain(bound=named).with_types(input_type=str | Question, output_type=Answer)  # type: ignore[arg-type]


def read_question(given: object) -> dict[str, Any]:
    """Return a question in the shape of :class:`Question`, from a text, a mapping or the model itself."""
    if isinstance(given, BaseModel):
        given = given.model_dump()
    if isinstance(given, str):
        given = {"question": given}
    if not isinstance(given, Mapping):
        raise QuestionError(f"a question is a text or a mapping with 'question', not {type(given).__name__}")
    try:
        question = Question.model_validate(dict(given)).model_dump()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise QuestionError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if not question["question"].strip():
        raise QuestionError("the question is empty")
    return question


def _build_retrieval(
    retriever: Runnable[str, list[Document]],
) -> Runnable[dict[str, Any], list[dict[str, Any]]]:
    def find(asked: dict[str, Any], config: RunnableConfig) -> list[dict[str, Any]]:
        return number_sources(retriever.invoke(asked["question"], config, **_filter_of(asked)))

    async def afind(asked: dict[str, Any], config: RunnableConfig) -> list[dict[str, Any]]:
        return number_sources(await retriever.ainvoke(asked["question"], config, **_filter_of(asked)))

    return RunnableLambda(find, afind, name="sources")


def _filter_of(asked: dict[str, Any]) -> dict[str, Any]:
    # Most LangChain retrievers know no filter, so it is passed only where there is one.
    return {"filter": asked["filter"]} if asked["filter"] else {}


def number_sources(chunks: list[Document]) -> list[dict[str, Any]]:
    """Return the chunks as sources, numbered from 1 in the retriever's order."""
    return [_as_source(number, chunk) for number, chunk in enumerate(chunks, start=1)]


def _as_source(number: int, chunk: Document) -> dict[str, Any]:
    known = chunk.metadata
    return {
        "number": number,
        "source": str(known.get("source", "")),
        "title": str(known.get("title", "")),
        "heading": str(known.get("heading", "")),
        "start": int(known.get("start", 0)),
        "end": int(known.get("end", len(chunk.page_content))),
        "text": chunk.page_content,
        "score": float(known.get("score", 0.0)),
        "page": known.get("page"),
    }


def _prompt_variables(asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "context": format_context(asked["sources"]),
        "question": defuse(asked["question"]),
        "history": format_history(asked["chat_history"]),
    }


def _has_no_source(asked: dict[str, Any]) -> bool:
    return not asked["sources"]


def _refuse(_: dict[str, Any]) -> str:
    return REFUSAL


class _Collected:
    """Gathers a stream's parts to check the answer when it is whole."""

    def __init__(self) -> None:
        self._sources: list[dict[str, Any]] = []
        self._answer: list[str] = []

    def keep(self, part: dict[str, Any]) -> bool:
        """Take a part; return whether there is anything in it to pass on."""
        self._sources = part.get("sources", self._sources)
        self._answer.append(part.get("answer") or "")
        return set(part) != {"answer"} or bool(part["answer"])

    def check(self) -> AddableDict:
        """Return the citations and the verdict."""
        return AddableDict(check_answer("".join(self._answer), self._sources))


def _check_last(parts: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    collected = _Collected()
    for part in parts:
        if collected.keep(part):
            yield AddableDict(part)
    yield collected.check()


async def _acheck_last(parts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    collected = _Collected()
    async for part in parts:
        if collected.keep(part):
            yield AddableDict(part)
    yield collected.check()

"""The LCEL chain: question, sources, answer, citations; each step under its own name in a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableLambda,
)
from pydantic import BaseModel, ValidationError

from rag_chain.answering.finishing import Answering
from rag_chain.answering.packing import pack_history, pack_sources
from rag_chain.answering.prompt import (
    build_prompt,
    build_rewrite_prompt,
    check_prompt,
    defuse,
    format_context,
    format_conversation,
    format_history,
)
from rag_chain.answering.stopping import StoppableChain
from rag_chain.answering.types import Answer, Question
from rag_chain.errors import QuestionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.prompts import ChatPromptTemplate

# What a follow-up may point back to.
REWRITE_TOKENS = 8000


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
    asking = _quick(_prompt_variables, name="context") | template.with_config(run_name="prompt")
    model = chat_model.with_config(run_name="model")
    # Steps that give all at once are lambdas: an assign() takes a thread and two locks for each question.
    chain = (
        _quick(read_question, name="question")
        | _build_rewriting(chat_model)
        | _build_retrieval(retriever, context_tokens)
        | Answering(asking, model, may_know=mode == "open", embeddings=embeddings)
    )
    named = chain.with_config(run_name="rag_chain")
    return StoppableChain(bound=named).with_types(input_type=str | Question, output_type=Answer)  # type: ignore[arg-type]


def _quick(step: Callable[[Any], dict[str, Any]], *, name: str) -> Runnable[Any, dict[str, Any]]:
    """Return a step that takes so little time that another thread for it, in async code, would take more."""

    async def astep(given: Any) -> dict[str, Any]:
        return step(given)

    return RunnableLambda(step, astep, name=name)


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


def _build_rewriting(chat_model: Runnable[LanguageModelInput, Any]) -> Runnable[dict[str, Any], dict[str, Any]]:
    """Return the step that makes a follow-up stand alone, as ``standalone``; a first question is taken as it is."""
    variables = RunnableLambda(_rewrite_variables, name="conversation")
    ask = variables | build_rewrite_prompt() | chat_model | StrOutputParser() | RunnableLambda(str.strip)

    def rewrite(asked: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        return {**asked, "standalone": ask.invoke(asked, config) if asked["chat_history"] else ""}

    async def arewrite(asked: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        return {**asked, "standalone": await ask.ainvoke(asked, config) if asked["chat_history"] else ""}

    return RunnableLambda(rewrite, arewrite, name="rewrite")


def _rewrite_variables(asked: dict[str, Any]) -> dict[str, str]:
    turns = pack_history(asked["chat_history"], REWRITE_TOKENS)
    return {"conversation": format_conversation(turns), "question": defuse(asked["question"])}


def _build_retrieval(
    retriever: Runnable[str, list[Document]], context_tokens: int
) -> Runnable[dict[str, Any], dict[str, Any]]:
    """Return the step that adds the numbered ``sources``, and keeps of the conversation what there is room for."""

    def add(asked: dict[str, Any], chunks: list[Document]) -> dict[str, Any]:
        history = pack_history(asked["chat_history"], context_tokens)
        sources = pack_sources(number_sources(chunks), history, context_tokens)
        return {**asked, "chat_history": history, "sources": sources}

    def retrieve(asked: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        return add(asked, retriever.invoke(_text_of(asked), config, **_filter_of(asked)))

    async def aretrieve(asked: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        return add(asked, await retriever.ainvoke(_text_of(asked), config, **_filter_of(asked)))

    return RunnableLambda(retrieve, aretrieve, name="retrieve")


def _text_of(asked: dict[str, Any]) -> str:
    # A model that is told to rewrite may say nothing.
    return asked["standalone"] or str(asked["question"])


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
        "question": defuse(_text_of(asked)),
        "history": format_history(asked["chat_history"]),
    }

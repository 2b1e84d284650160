"""From what was asked to the sources that are to answer it: read, make stand alone, retrieve, number, pack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import patch_config
from pydantic import BaseModel, ValidationError

from rag_chain.answering.packing import pack_history, pack_sources
from rag_chain.answering.prompt import build_rewrite_prompt, defuse, format_conversation
from rag_chain.answering.types import Question
from rag_chain.errors import QuestionError

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable, RunnableConfig

# What a follow-up may point back to.
REWRITE_TOKENS = 8000


class Asking:
    """Turns a question into a mapping with the keys of ``Question``, ``standalone`` and the numbered ``sources``.

    A question with a conversation before it is first made to stand alone by ``chat_model``. Sources and conversation
    share ``context_tokens``.
    """

    def __init__(
        self,
        retriever: Runnable[str, list[Document]],
        chat_model: Runnable[LanguageModelInput, Any],
        *,
        context_tokens: int,
    ) -> None:
        self._retriever = retriever
        self._rewriting = _build_rewriting(chat_model)
        self._context_tokens = context_tokens

    def prepare(self, given: object, config: RunnableConfig) -> dict[str, Any]:
        """Return the question with its sources; raises ``QuestionError`` for what is no question."""
        asked = read_question(given)
        asked["standalone"] = self._rewriting.invoke(asked, config) if asked["chat_history"] else ""
        return self._add(asked, self._retriever.invoke(text_of(asked), _named(config), **_filter_of(asked)))

    async def aprepare(self, given: object, config: RunnableConfig) -> dict[str, Any]:
        """Return the question with its sources, asynchronously."""
        asked = read_question(given)
        asked["standalone"] = await self._rewriting.ainvoke(asked, config) if asked["chat_history"] else ""
        return self._add(asked, await self._retriever.ainvoke(text_of(asked), _named(config), **_filter_of(asked)))

    def _add(self, asked: dict[str, Any], chunks: list[Document]) -> dict[str, Any]:
        """Add the numbered ``sources``, and keep of the conversation what there is room for."""
        history = pack_history(asked["chat_history"], self._context_tokens)
        sources = pack_sources(number_sources(chunks), history, self._context_tokens)
        return {**asked, "chat_history": history, "sources": sources}


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


def text_of(asked: dict[str, Any]) -> str:
    """Return the question as it stands alone; a model that is told to rewrite may say nothing."""
    return asked["standalone"] or str(asked["question"])


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


def _build_rewriting(chat_model: Runnable[LanguageModelInput, Any]) -> Runnable[dict[str, Any], str]:
    """Return what makes a follow-up stand alone."""
    variables = RunnableLambda(_rewrite_variables, name="conversation")
    rewriting = variables | build_rewrite_prompt() | chat_model | StrOutputParser() | RunnableLambda(str.strip)
    return rewriting.with_config(run_name="rewrite")


def _rewrite_variables(asked: dict[str, Any]) -> dict[str, str]:
    turns = pack_history(asked["chat_history"], REWRITE_TOKENS)
    return {"conversation": format_conversation(turns), "question": defuse(asked["question"])}


def _named(config: RunnableConfig) -> RunnableConfig:
    return patch_config(config, run_name="retrieve")


def _filter_of(asked: dict[str, Any]) -> dict[str, Any]:
    # Most LangChain retrievers know no filter, so it is passed only where there is one.
    return {"filter": asked["filter"]} if asked["filter"] else {}

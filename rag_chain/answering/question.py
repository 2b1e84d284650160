"""Read a question: a text, a mapping or a ``Question``, with the conversation before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from rag_chain.answering.types import Question
from rag_chain.errors import QuestionError


def read_question(given: str | Question | Mapping[str, Any]) -> dict[str, Any]:
    """Return a question in the shape of :class:`Question`; raises ``QuestionError`` for what is no question."""
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
        raise QuestionError(": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))) from None
    if not question["question"].strip():
        raise QuestionError("the question is empty")
    return question


def has_history(asked: Mapping[str, Any]) -> bool:
    """Return whether something was said before the question."""
    return bool(asked["chat_history"])


def text_of(asked: Mapping[str, Any]) -> str:
    """Return the question as it stands alone; a model that is told to rewrite may say nothing."""
    return asked["standalone"] or str(asked["question"])


def filter_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of the retriever; retrievers without filters get none."""
    return {"filter": asked["filter"]} if asked["filter"] else {}

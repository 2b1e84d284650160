"""The chain's input as LangServe checks it: a text, or an object in the shape of ``Question``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, Discriminator, Field, RootModel, Tag, ValidationError
from pydantic_core import PydanticCustomError

from rag_chain.answering.types import Question, QuestionText
from rag_chain.errors import SettingsError
from rag_chain.store.filters import build_expression


def _check_filter(question: Question) -> Question:
    try:
        build_expression(question.filter)
    except SettingsError as error:
        raise PydanticCustomError("filter", "{reason}", {"reason": str(error)}) from None
    return question


def _kind_of(given: object) -> str | None:
    if isinstance(given, str):
        return "text"
    return "object" if isinstance(given, Mapping | BaseModel) else None


# A plain union would report the errors of both kinds, and first that an object is no text.
TextOrQuestion: TypeAlias = Annotated[
    Annotated[QuestionText, Field(title="Text"), Tag("text")]
    | Annotated[Question, AfterValidator(_check_filter), Tag("object")],
    Discriminator(
        _kind_of,
        custom_error_type="question",
        custom_error_message="a question is a text, or an object with 'question'",
    ),
]


class QuestionInput(RootModel[TextOrQuestion]):
    """A question, or a question with the conversation before it and a filter."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> QuestionInput:
        """Return the checked input; raises FastAPI's ``RequestValidationError`` where FastAPI is loaded."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            # LangServe 0.3.3 answers pydantic's own error with a 500 in /batch. Without the input in it, since
            # FastAPI's reply would repeat it, and fail at one that is no JSON, such as NaN.
            fastapi = sys.modules.get("fastapi.exceptions")
            if fastapi is None:
                raise
            found = error.errors(include_input=False, include_url=False, include_context=False)
            raise fastapi.RequestValidationError(found) from None

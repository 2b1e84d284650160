"""What goes into the chain and what comes out, as pydantic models: every door shows the same shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from collections.abc import Mapping


def _check_text(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "the question is empty")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("surrogates", "the question holds lone surrogates, which no tokenizer reads")
    return text


QuestionText: TypeAlias = Annotated[str, AfterValidator(_check_text), Field(json_schema_extra={"minLength": 1})]


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


class Question(BaseModel):
    """A question, with what was said before it and where to look."""

    model_config = ConfigDict(title="Question")

    question: QuestionText = Field(description="What to answer from the documents.")
    chat_history: list[Message] = Field(default_factory=list, description="The conversation so far, oldest first.")
    filter: dict[str, Any] = Field(
        default_factory=dict,
        description='What sources must have, e.g. {"source": "faq/*", "language": ["en", "de"], "page": {"lte": 9}}.',
    )


class Source(BaseModel):
    """A chunk that was shown to the model."""

    number: int = Field(description="The n of [n] in the answer, from 1.")
    source: str = Field(description="The document's path.")
    title: str = ""
    heading: str = Field("", description='Heading path, "A > B".')
    start: int = Field(description="Offset of the chunk in the document's text.")
    end: int
    text: str
    score: float = Field(description="Raw cosine of question and chunk, at most 1.")
    page: int | None = Field(None, description="Page in the document, from 1, where it has pages.")
    cut: bool = Field(False, description="Whether there was room for the first sentences only.")


class Citation(BaseModel):
    """A place in the answer that names a source, checked against it."""

    number: int = Field(description="The source's number.")
    quote: str = Field(description="The passage of the source that stands behind the sentence; empty if none does.")
    start: int = Field(description="Offset of the quote in the document's text.")
    end: int
    verdict: Literal["verbatim", "supported", "unsupported"]


class Answer(BaseModel):
    """The answer with its sources and checked citations."""

    model_config = ConfigDict(title="Answer")

    answer: str
    sources: list[Source]
    citations: list[Citation]
    grounded: bool = Field(description="True when every sentence of the answer is backed by a source.")
    refused: bool = Field(False, description="True when the answer is that the documents do not answer the question.")
    removed_citations: int = Field(0, description="Citations taken out of the answer since no source has their number.")


def place(source: Mapping[str, Any]) -> str:
    """Return a source's document, page and heading."""
    page = f", page {source['page']}" if source.get("page") else ""
    heading = f" > {source['heading']}" if source["heading"] else ""
    return f"{source['source']}{page}{heading}"

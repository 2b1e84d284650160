"""What goes into the chain and what comes out, as pydantic models: every door shows the same shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from langchain_core.messages import BaseMessage
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from rag_chain.answering.messages import read_text, read_turns


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
    """A question, with what was said before it and where to look.

    ``input`` is accepted for ``question``. ``chat_history`` takes LangChain's messages, ``(role, content)`` pairs and
    mappings with ``role`` and ``content``, see :func:`~rag_chain.answering.messages.read_turns`.
    """

    model_config = ConfigDict(title="Question")

    question: QuestionText = Field(description="What to answer from the documents.")
    chat_history: list[Message] = Field(
        default_factory=list,
        description='The conversation so far, oldest first: {"role": "user", "content": "..."}, ["human", "..."], or '
        "messages of LangChain, of which system and tool messages are left out.",
    )
    filter: dict[str, Any] = Field(
        default_factory=dict,
        description='What sources must have, e.g. {"source": "faq/*", "language": ["en", "de"], "page": {"lte": 9}}.',
    )

    @model_validator(mode="before")
    @classmethod
    def _take_input(cls, given: Any) -> Any:
        """Take ``input``, as many chains of LangChain call it, for the question."""
        if not isinstance(given, Mapping) or "input" not in given:
            return given
        rest = {name: value for name, value in given.items() if name != "input"}
        if rest.setdefault("question", given["input"]) != given["input"]:
            raise ValueError("input is another name for question: give one of them")
        return rest

    @field_validator("question", mode="before")
    @classmethod
    def _take_message(cls, given: Any) -> Any:
        return read_text(given) if isinstance(given, BaseMessage) else given

    @field_validator("chat_history", mode="before")
    @classmethod
    def _take_messages(cls, given: Any) -> Any:
        return read_turns(
            [m.model_dump() if isinstance(m, Message) else m for m in given] if isinstance(given, list) else given
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

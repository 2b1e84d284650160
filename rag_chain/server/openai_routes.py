"""The OpenAI-compatible door: any client or front-end of OpenAI's chat completions, streaming or not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from rag_chain.answering.types import Message, Question, place
from rag_chain.errors import QuestionError, RagChainError
from rag_chain.models.usage import tallied
from rag_chain.server.replies import Refusal, error_body, message_of
from rag_chain.server.sse import event, start, stream_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from fastapi.responses import StreamingResponse

    from rag_chain.models.usage import Usage
    from rag_chain.server.scoped import ScopedChain
    from rag_chain.settings import Settings

MODEL = "rag_chain"
# When this interface was settled; clients want a date.
CREATED = 1_764_000_000


class Part(BaseModel):
    """A part of a message; only text can be read."""

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        """Its text; other parts are left out."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type in {"text", "input_text"})
        return self.content or ""


class StreamOptions(BaseModel):
    """What a stream is to hold beside the answer."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """The body of ``/v1/chat/completions``; what is not listed here is accepted and does nothing."""

    model_config = ConfigDict(title="ChatRequest")

    model: str = MODEL
    messages: list[ChatMessage] = Field(min_length=1, description="The last one, of the user, is the question.")
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = Field(1, ge=1, le=1)
    filter: dict[str, Any] = Field(default_factory=dict, description="As in Question; OpenAI's clients: extra_body.")
    footnotes: bool | None = Field(None, description="Append the cited sources to the text; default: RAG_FOOTNOTES.")


def build_router(chain: ScopedChain, settings: Settings) -> APIRouter:
    """Return ``/v1/chat/completions`` and ``/v1/models``."""
    router = APIRouter(prefix="/v1", tags=["openai"])
    names = {MODEL, "rag-chain", settings.chat_model}

    @router.post("/chat/completions", response_model=None)
    async def complete(request: ChatRequest) -> StreamingResponse | dict[str, Any]:
        """Answer the last message from the documents; sources and citations are under ``rag_chain``."""
        _check_model(request.model, names)
        question = read_messages(request.messages, request.filter)
        reply = _Reply(request, settings)
        with tallied() as usage:
            if not request.stream:
                return reply.whole(await chain.ainvoke(question), usage)
            parts = await start(chain.astream(question))
        return stream_events(reply.events(parts, usage))

    @router.get("/models")
    async def list_models() -> dict[str, Any]:
        """Return the one model that there is."""
        return {"object": "list", "data": [_model()]}

    @router.get("/models/{name}")
    async def show_model(name: str) -> dict[str, Any]:
        """Return the one model that there is."""
        _check_model(name, names)
        return _model()

    return router


def read_messages(messages: Sequence[ChatMessage], conditions: Mapping[str, Any]) -> Question:
    """Return the last message as the question, and what user and assistant said before as its history.

    System messages are the front-end's, and left out: who asks does not decide what counts as a source.
    """
    *before, last = messages
    if last.role != "user":
        raise QuestionError("the last message is the question, and must be the user's")
    if not last.text.strip():
        raise QuestionError("the last message holds no text")
    said = [Message(role=m.role, content=m.text) for m in before if m.role in {"user", "assistant"} and m.text]
    return Question(question=last.text, chat_history=said, filter=dict(conditions))


class _Reply:
    """An answer in the shapes of OpenAI's API."""

    def __init__(self, request: ChatRequest, settings: Settings) -> None:
        self._id = f"chatcmpl-{uuid4().hex}"
        self._created = int(time.time())
        self._footnotes = settings.footnotes if request.footnotes is None else request.footnotes
        options = request.stream_options
        self._with_usage = bool(options and options.include_usage)

    def whole(self, answer: Mapping[str, Any], usage: Usage) -> dict[str, Any]:
        """Return an answer in one piece."""
        text = answer["answer"] + (write_footnotes(answer["sources"], answer["citations"]) if self._footnotes else "")
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        found = {name: value for name, value in answer.items() if name != "answer"}
        return self._frame("chat.completion", [choice], usage=show_usage(usage), rag_chain=found)

    async def events(self, parts: AsyncIterator[dict[str, Any]], usage: Usage) -> AsyncIterator[bytes]:
        """Yield an answer as it is written; sources come with the first chunk, citations with the last."""
        sources: list[dict[str, Any]] = []
        try:
            async for part in parts:
                if "sources" in part:
                    sources = part["sources"]
                    yield self._chunk({"role": "assistant", "content": ""}, found=part)
                elif "answer" in part:
                    if part["answer"]:
                        yield self._chunk({"content": part["answer"]})
                else:
                    notes = write_footnotes(sources, part["citations"]) if self._footnotes else ""
                    if notes:
                        yield self._chunk({"content": notes})
                    yield self._chunk({}, reason="stop", found=part)
        except RagChainError as error:
            yield event(error_body(type(error).__name__, message_of(error)))
            return
        if self._with_usage:
            yield event(self._frame("chat.completion.chunk", [], usage=show_usage(usage)))
        yield event(b"[DONE]")

    def _chunk(
        self, delta: dict[str, Any], *, reason: str | None = None, found: Mapping[str, Any] | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        extra = {"rag_chain": dict(found)} if found else {}
        return event(self._frame("chat.completion.chunk", [choice], **extra))

    def _frame(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        frame = {"id": self._id, "object": kind, "created": self._created, "model": MODEL, "choices": choices}
        return {**frame, **more}


def show_usage(usage: Usage) -> dict[str, int]:
    """Return the chat model's tokens, those for rewriting a follow-up included; the local one has none."""
    read, written = usage.prompt_tokens, usage.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def write_footnotes(sources: Sequence[Mapping[str, Any]], citations: Sequence[Mapping[str, Any]]) -> str:
    """Return the cited sources as lines below an answer, in the order of their numbers; nothing where none is cited."""
    cited = {citation["number"] for citation in citations}
    lines = [f"[{source['number']}] {place(source)}" for source in sources if source["number"] in cited]
    return "\n\n" + "\n".join(lines) if lines else ""


def _model() -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": CREATED, "owned_by": MODEL}


def _check_model(name: str, known: set[str]) -> None:
    if name not in known:
        raise Refusal(404, "model_not_found", f"there is one model here: {MODEL}")

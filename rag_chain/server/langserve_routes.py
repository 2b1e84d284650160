"""The LangServe door; nothing else imports langserve, which is deprecated and not under an OSI licence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Request
from langserve import add_routes
from pydantic import BaseModel, ConfigDict, Field

from rag_chain.answering.input_schema import TextOrQuestion  # noqa: TC001  FastAPI reads the annotation
from rag_chain.errors import QuestionError, RagChainError, SettingsError
from rag_chain.server.bodies import check_question_body
from rag_chain.server.replies import message_of, status_of
from rag_chain.server.sse import event, start, stream_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi.responses import StreamingResponse

    from rag_chain.server.scoped import ScopedChain

PATH = "/rag"


class StreamRequest(BaseModel):
    """The body of ``/rag/stream``, as LangServe's clients send it."""

    model_config = ConfigDict(title="StreamRequest")

    input: TextOrQuestion
    config: dict[str, Any] = Field(default_factory=dict, description="Nothing in it can be configured.")
    kwargs: dict[str, Any] = Field(default_factory=dict)


def build_router(chain: ScopedChain) -> APIRouter:
    """Return LangServe's routes for the chain; callers may configure nothing.

    ``/stream`` is ours: LangServe's own says 500 whatever went wrong, and breaks the connection off.
    LangChain's ``stream_log`` and ``stream_events`` would show prompts; the chain has its own, see
    :class:`~rag_chain.server.scoped.ScopedChain`.
    """
    router = APIRouter(prefix=PATH, tags=["langserve"], dependencies=[Depends(_check_body)])
    off = ("config_hashes", "stream", "token_feedback")
    add_routes(router, chain, config_keys=(), disabled_endpoints=off)  # type: ignore[arg-type]  # a tuple will do

    @router.post("/stream", response_model=None)
    async def stream(request: StreamRequest) -> StreamingResponse:
        """Answer as it is written: events ``metadata``, ``data`` for each part, and ``end`` or ``error``."""
        parts = await start(chain.astream(request.input))
        return stream_events(_as_events(parts))

    return router


async def _check_body(request: Request) -> None:
    """Refuse what LangServe would fail at, or leave out without a word."""
    try:
        body = await request.json() if request.method == "POST" else {}
    except ValueError:
        raise QuestionError("the body is no JSON") from None
    check_question_body(body)
    given = body.get("config", {})
    if any(config.get("configurable") for config in (given if isinstance(given, list) else [given])):
        raise SettingsError("config: nothing can be configured by a request")


async def _as_events(parts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    yield event({"run_id": str(uuid4())}, "metadata")
    try:
        async for part in parts:
            yield event(dict(part), "data")
    except RagChainError as error:
        told = {"status_code": status_of(error), "message": message_of(error), "type": type(error).__name__}
        yield event(told, "error")
    else:
        yield b"event: end\r\n\r\n"

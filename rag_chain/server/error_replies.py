"""Answer errors in an app of the user's own as ``rag-chain serve`` answers them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.datastructures import Headers

from rag_chain.errors import RagChainError
from rag_chain.server.bodies import check_json, check_question_body, read_body
from rag_chain.server.replies import Refusal, explain, explain_input

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ErrorReplies:
    """ASGI middleware over the routes under ``path``.

    It refuses bodies that LangServe fails at, and turns an error of the chain into a reply, unless the reply has begun.
    """

    def __init__(self, app: ASGIApp, *, path: str, max_body_bytes: int) -> None:
        self._app = app
        self._folder = path.rstrip("/") + "/"
        self._most = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer with what is wrong."""
        if scope["type"] != "http" or not scope["path"].startswith(self._folder):
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watch(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            body = await self._read(scope, receive)
            await self._app(scope, _replay(body, receive), watch)
        except (Refusal, RagChainError, ValidationError) as error:
            if has_begun:
                raise
            await _reply_to(error)(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        headers = Headers(scope=scope)
        body = await read_body(receive, headers, self._most)
        check_json(scope["method"], headers, body)
        if scope["method"] == "POST" and body:
            check_question_body(json.loads(body))
        return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body that was read, and then what comes after it."""
    left = [body]

    async def receive_again() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return receive_again


def _reply_to(error: Refusal | RagChainError | ValidationError) -> Response:
    if isinstance(error, Refusal):
        return error.reply()
    return explain_input(error) if isinstance(error, ValidationError) else explain(error)

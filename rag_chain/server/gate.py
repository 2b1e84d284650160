"""What every request passes: its number, who is asking, how much, how large; and what every response gets."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from rag_chain.errors import RagChainError
from rag_chain.server.bodies import check_json, read_body
from rag_chain.server.callers import set_caller
from rag_chain.server.entrance import check_role, is_open
from rag_chain.server.policies import security_headers
from rag_chain.server.replies import Refusal, error_body, explain

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from rag_chain.keys import Role
    from rag_chain.server.callers import Caller
    from rag_chain.server.entrance import Entrance
    from rag_chain.server.limits import Limits
    from rag_chain.server.metrics import Metrics
    from rag_chain.settings import Settings

logger = logging.getLogger("rag_chain.access")

HEALTH = frozenset({"/livez", "/readyz"})
# Who may do what; anything else is for those who may ask.
ROLES: tuple[tuple[str, frozenset[str], Role], ...] = (
    ("/documents", frozenset({"POST", "PUT", "DELETE"}), "ingest"),
    ("/metrics", frozenset({"GET", "HEAD"}), "admin"),
)
# How long work may take to notice that its client has gone.
LEAVING_SECONDS = 1.0

_REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


class Gate:
    """The outermost ASGI layer, under which every request has a caller.

    It reads the body itself, so that its size is known before anything is done with it, and watches the
    connection from then on: when the client goes away, the work for it is cancelled.
    """

    def __init__(
        self, app: ASGIApp, *, settings: Settings, entrance: Entrance, limits: Limits, metrics: Metrics
    ) -> None:
        self._app = app
        self._settings = settings
        self._entrance = entrance
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._handle(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = _Visit(scope, send)
        try:
            await self._pass(scope, receive, visit)
        except Refusal as refusal:
            self._metrics.refused(refusal.kind)
            await visit.answer(refusal.reply())
        except RagChainError as error:
            # Such as keys that can't be read.
            await visit.answer(explain(error))
        finally:
            self._metrics.request(visit.door, visit.status, visit.seconds)
            logger.info("request", extra=visit.line())

    async def _pass(self, scope: Scope, receive: Receive, visit: _Visit) -> None:
        if scope["path"] in HEALTH:
            await self._app(scope, receive, visit.send)
            return
        headers = Headers(scope=scope)
        # Prometheus asks by address; it shows its key, or nothing keeps it out.
        if scope["path"] != "/metrics" or not self._entrance.locked:
            self._entrance.check_place(scope, headers)
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._app(scope, receive, visit.send)
            return
        visit.caller = None if is_open(scope["path"]) else self._identify(scope, headers)
        if visit.caller is None:
            await self._work(scope, headers, receive, visit)
            return
        with self._limits.admit(visit.caller):
            set_caller(visit.caller)
            await self._work(scope, headers, receive, visit)

    def _identify(self, scope: Scope, headers: Headers) -> Caller | None:
        if scope["path"] == "/metrics" and self._settings.metrics_open:
            return None
        caller = self._entrance.identify(scope, headers)
        check_role(caller, _role_for(scope["path"], scope["method"]))
        return caller

    async def _work(self, scope: Scope, headers: Headers, receive: Receive, visit: _Visit) -> None:
        if scope["path"].startswith("/documents") and scope["method"] in {"POST", "PUT"}:
            # Uploads are read piece by piece, and bounded there.
            await self._app(scope, receive, visit.send)
            return
        body = await read_body(receive, headers, self._settings.max_body_bytes)
        check_json(scope["method"], headers, body)
        connection = _Connection(body, receive)
        work = asyncio.ensure_future(self._app(scope, connection.receive, visit.send))
        watch = asyncio.ensure_future(connection.watch())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                # The client is gone: nobody reads what is still being made.
                await asyncio.wait({work}, timeout=LEAVING_SECONDS)
                work.cancel()
                await asyncio.wait({work})
            await _tell_failure(work, visit)
        finally:
            for task in (work, watch):
                task.cancel()


class _Visit:
    """One request's way through, for headers, log and metrics."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.caller: Caller | None = None
        self.status = 0
        self._streams = False
        given = Headers(scope=scope).get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        self._path: str = scope["path"]
        self._method: str = scope["method"]
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    @property
    def door(self) -> str:
        """The first part of the path, where there is such a route: paths are the callers', labels are ours."""
        first = self._path.partition("?")[0].split("/")[1]
        return first if first in DOORS else "page" if not first else "other"

    async def send(self, message: Message) -> None:
        """Send a part of the response, with our headers on the first."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            self._streams = headers.get("content-type", "").startswith("text/event-stream")
            headers["x-request-id"] = self.id
            for name, value in security_headers(self._path).items():
                headers.setdefault(name, value)
            if not is_open(self._path):
                headers.setdefault("cache-control", "no-store")
        await self._send(message)

    async def answer(self, response: Response) -> None:
        """Send a whole response; of one that has begun, the end, if it is a stream, which says itself what it lacks."""
        if not self.status:
            await response(self._scope, _no_more, self.send)
        elif self._streams:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def line(self) -> dict[str, Any]:
        """Return what the log says of it: nothing that was asked, and nothing that was answered."""
        caller = self.caller
        return {
            "request_id": self.id,
            "method": self._method,
            "door": self.door,
            "status": self.status,
            "milliseconds": round(1000 * self.seconds, 1),
            "tenant": caller.tenant if caller else "",
            "key": caller.key if caller else "",
        }


DOORS = frozenset({"rag", "v1", "mcp", "documents", "metrics", "livez", "readyz", "docs", "session", "page"})


class _Connection:
    """Gives the body that was read to the app, and then waits with it for the client to go away."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        """Return the body, then that the client has gone, when it has."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def watch(self) -> None:
        """Wait for the client to go away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()


async def _tell_failure(work: asyncio.Future[None], visit: _Visit) -> None:
    """Answer for what went wrong; what got further would make uvicorn drop the connection, and the next request."""
    error = None if work.cancelled() else work.exception()
    if isinstance(error, Refusal | RagChainError):
        raise error
    if error is not None:
        # LangServe raises an error again that it has told in its stream, and Starlette wraps it.
        cause = error.__cause__ or error
        traceback = None if isinstance(cause, RagChainError) else error
        logger.error("request %s failed: %s", visit.id, type(cause).__name__, exc_info=traceback)
        await visit.answer(JSONResponse(error_body("InternalError", "an error in the server; the log has it"), 500))


async def _no_more() -> Message:
    return {"type": "http.disconnect"}


def _role_for(path: str, method: str) -> Role:
    return next((role for place, methods, role in ROLES if path.startswith(place) and method in methods), "ask")

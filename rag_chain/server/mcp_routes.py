"""The MCP door: the tools and the documents for models, over HTTP at ``/mcp`` and over stdin and stdout."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from mcp import MCPError, stdio_server, types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from pydantic import ValidationError
from starlette.routing import Route

from rag_chain import __version__
from rag_chain.errors import RagChainError
from rag_chain.server.callers import Caller, anybody, current_caller, set_caller
from rag_chain.server.replies import Refusal, message_of, status_of
from rag_chain.server.service import Service
from rag_chain.server.stdin import Work, lines_of_stdin
from rag_chain.server.tools import PLACE, address_of, build_tools, date_of, source_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from langchain_core.runnables import Runnable
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from starlette.types import Receive, Scope, Send

    from rag_chain.server.tools import Tool
    from rag_chain.settings import Settings
    from rag_chain.store.documents import Entry

    Context = ServerRequestContext[Any, Any]

logger = logging.getLogger(__name__)

INSTRUCTIONS = """\
Documents to search and to ask. search returns passages, ask an answer whose citations were checked; a document's \
whole text is the resource that its source names. Say which document a statement is from."""

# Documents on one page of resources/list.
PAGE = 100
# Where a request's scope carries whom it is for, from the gate to the handler that the SDK runs in a task of its own.
CALLER = "rag_chain.caller"


def build_router(service: Service, chain: Runnable[Any, dict[str, Any]]) -> APIRouter:
    """Return ``/mcp``, with the lifespan that it needs; only POST, since nothing is kept between two requests."""
    endpoint = _Endpoint(build_server(service, chain, find_caller), service.settings.max_body_bytes)
    router = APIRouter(lifespan=endpoint.run)
    # Both, for a redirect would lose the body.
    router.routes.extend(Route(path, endpoint, methods=["POST"], include_in_schema=False) for path in ("/mcp", "/mcp/"))
    return router


def serve_stdio(settings: Settings) -> None:
    """Serve the settings' tenant over stdin and stdout, until stdin ends and all is answered."""
    service, caller = Service(settings), anybody(settings.tenant)
    server = build_server(service, service.for_caller(caller).chain, lambda _: caller)
    work = Work()

    async def count(ctx: Context, call_next: CallNext) -> HandlerResult:
        with work.one():
            return await call_next(ctx)

    async def serve() -> None:
        # The SDK's own reader drops what is unanswered when stdin ends, and can't be interrupted while it waits.
        lines = lines_of_stdin(work, settings.drain_seconds)
        async with stdio_server(stdin=lines) as (read, write):  # type: ignore[arg-type]  # all it does is iterate
            await server.run(read, write, server.create_initialization_options())

    server.middleware.append(count)
    asyncio.run(serve())


def build_server(
    service: Service, chain: Runnable[Any, dict[str, Any]], find_caller: Callable[[Any], Caller]
) -> Server[Any]:
    """Return the SDK's server; ``find_caller`` gets the HTTP request, and its error is the request's."""
    tools = build_tools(service, chain)
    handlers = _Handlers(service, tools)

    async def work_for_caller(ctx: Context, call_next: CallNext) -> HandlerResult:
        with _Discreet():
            set_caller(find_caller(ctx.request))
            return await call_next(ctx)

    server: Server[Any] = Server(
        "rag-chain",
        version=__version__,
        title="rag_chain",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: _schema(tools[name].takes) if name in tools else None,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
    )
    server.middleware.append(work_for_caller)
    return server


class _Handlers:
    """What the SDK calls, each for the caller of the request."""

    def __init__(self, service: Service, tools: Mapping[str, Tool]) -> None:
        self._service = service
        self._tools = tools

    async def list_tools(self, _: Context, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_describe(name, tool) for name, tool in self._tools.items()])

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in self._tools:
            raise MCPError(types.INVALID_PARAMS, f"there is no such tool; there are: {', '.join(self._tools)}")
        tool = self._tools[params.name]
        wants_progress = context.meta is not None and "progress_token" in context.meta
        # What a model can mend is a result that it reads, and no failure of the protocol.
        try:
            given = tool.takes.model_validate(params.arguments or {})
            found = await tool.run(given, context.session.report_progress if wants_progress else None)
        except ValidationError as error:
            return _refuse(_first_of(error))
        except RagChainError as error:
            return _refuse(_tell(error))
        text = types.TextContent(type="text", text=found.model_dump_json())
        return types.CallToolResult(content=[text], structured_content=found.model_dump(mode="json"))

    async def list_resources(
        self, _: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """Return a page of the documents by name; a cursor is the last name of the page before."""
        after = (params.cursor if params else None) or ""
        rest = [entry for entry in await self._service.list_documents(current_caller()) if entry.source > after]
        shown = rest[:PAGE]
        cursor = shown[-1].source if len(rest) > PAGE else None
        return types.ListResourcesResult(resources=[_as_resource(entry) for entry in shown], next_cursor=cursor)

    async def list_templates(self, _: Context, __: Any) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(
            name="document",
            title="Document",
            description="The text of a document, by its percent-encoded source.",
            uri_template=f"{PLACE}{{source}}",
            mime_type="text/plain",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(self, _: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        source = source_of(params.uri)
        text = await self._service.read_document(current_caller(), source) if source else None
        if text is None:
            raise MCPError(types.INVALID_PARAMS, "there is no such document", {"uri": params.uri})
        contents = types.TextResourceContents(uri=params.uri, mime_type="text/plain", text=text)
        return types.ReadResourceResult(contents=[contents])


class _Endpoint:
    """The ASGI app at ``/mcp``; it serves while its lifespan runs."""

    def __init__(self, server: Server[Any], most_bytes: int) -> None:
        self._server = server
        self._most_bytes = most_bytes
        self._manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def run(self, _: Any) -> AsyncIterator[None]:
        # Hosts and origins are the gate's matter.
        manager = StreamableHTTPSessionManager(self._server, stateless=True, max_request_body_size=self._most_bytes)
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._manager is None:
            raise Refusal(503, "NotServing", "the server is starting or ending", {"Retry-After": "1"})
        await self._manager.handle_request({**scope, CALLER: current_caller()}, receive, send)


def find_caller(request: Any) -> Caller:
    """Return whom a request is for; one for nobody is refused."""
    caller = request.scope.get(CALLER) if request is not None else None
    if not isinstance(caller, Caller):
        raise MCPError(types.INVALID_REQUEST, "nobody is asking")
    return caller


class _Discreet(AbstractContextManager[None]):
    """Turns errors into the protocol's; what an unforeseen one says stays in the log, the SDK would send it on."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, RagChainError):
            raise MCPError(types.INTERNAL_ERROR, _tell(error)) from None
        if isinstance(error, Exception) and not isinstance(error, MCPError | ValidationError):
            logger.error("an MCP request failed", exc_info=error)
            raise MCPError(types.INTERNAL_ERROR, "an error in the server; the log has it") from None


def _describe(name: str, tool: Tool) -> types.Tool:
    return types.Tool(
        name=name,
        title=tool.title,
        description=tool.description,
        input_schema=_schema(tool.takes),
        output_schema=tool.gives.model_json_schema(mode="serialization"),
        annotations=types.ToolAnnotations(
            read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        ),
    )


def _schema(model: Any) -> dict[str, Any]:
    schema: dict[str, Any] = model.model_json_schema()
    return schema


def _refuse(message: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=message)], is_error=True)


def _tell(error: RagChainError) -> str:
    """Return what a caller may read; the log gets the rest, of what is not the caller's doing."""
    if status_of(error) >= 500:
        logger.warning("%s: %s", type(error).__name__, error)
    return message_of(error)


def _first_of(error: ValidationError) -> str:
    """Return the first thing that is wrong with the arguments, without repeating them."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _as_resource(entry: Entry) -> types.Resource:
    date = date_of(entry)
    return types.Resource(
        uri=address_of(entry.source),
        name=entry.source,
        title=entry.title or None,
        mime_type="text/plain",
        annotations=types.Annotations(last_modified=date) if date else None,
    )

"""Assemble the FastAPI app: the doors, behind one gate."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from rag_chain import __version__
from rag_chain.errors import RagChainError
from rag_chain.keys import KeyFile
from rag_chain.models.background import open_loop
from rag_chain.server import documents, langserve_routes, mcp_routes, openai_routes, page_routes
from rag_chain.server.entrance import Entrance
from rag_chain.server.gate import Gate
from rag_chain.server.health import Readiness
from rag_chain.server.limits import Limits
from rag_chain.server.metrics import Metrics
from rag_chain.server.replies import STATUSES, Refusal, explain, explain_input
from rag_chain.server.scoped import ScopedChain
from rag_chain.server.service import Service
from rag_chain.server.tracing import start_tracing
from rag_chain.store.lite import release_lite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from rag_chain.settings import Settings


WORKING_THREADS = 32
# New objects between two looks of the garbage collector at the young ones; a stream makes thousands that live briefly.
COLLECT_EVERY = (5_000, 2, 30)


def build_app(settings: Settings, *, hosted: bool = False) -> FastAPI:
    """Return the app; every request passes the gate, and every question the chain of whoever asks.

    With ``hosted`` Milvus Lite gets a process of its own for as long as the app runs: in this one its searches
    would keep the streams waiting.
    """
    service, limits = Service(settings), Limits(settings)
    metrics = Metrics(limits, service.count_usage)
    chain = ScopedChain(service, metrics)
    app = FastAPIOffline(
        title="rag_chain", version=__version__, lifespan=_lifespan(service, hosted=hosted), redoc_url=None
    )
    app.include_router(langserve_routes.build_router(chain))
    app.include_router(openai_routes.build_router(chain, settings))
    app.include_router(documents.build_router(service))
    app.include_router(mcp_routes.build_router(service, chain))
    _add_operations(app, Readiness(service), metrics)
    entrance = Entrance(settings, KeyFile(settings.keys_file), limits)
    app.include_router(page_routes.build_router(entrance))
    _explain_errors(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    app.add_middleware(Gate, settings=settings, entrance=entrance, limits=limits, metrics=metrics)
    return app


def _lifespan(service: Service, *, hosted: bool) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        end_tracing = start_tracing()
        anchor = await run_in_threadpool(service.host_store) if hosted else None
        async with AsyncExitStack() as stack:
            if hosted:
                # Half a dozen, the default, would be taken by as many searches on a slow network.
                asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKING_THREADS, "rag_chain work"))
                await stack.enter_async_context(open_loop().adopted())
                await run_in_threadpool(_settle, service)
            yield
        await run_in_threadpool(end_tracing)
        if anchor is not None:
            anchor.close()
        release_lite()

    return live


def _settle(service: Service) -> None:
    """Make ready what answers, and have the garbage collector look rarely, and not at what is there by now.

    Going through those 250,000 objects keeps everything waiting for 130 ms, every few seconds under load.
    """
    service.warm_up()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)


def _add_operations(app: FastAPI, readiness: Readiness, metrics: Metrics) -> None:
    @app.get("/livez", tags=["operations"])
    async def live() -> dict[str, bool]:
        """Say that the process is there."""
        return {"ok": True}

    @app.get("/readyz", tags=["operations"], responses={503: {"description": "Something that answers need fails."}})
    async def ready() -> JSONResponse:
        """Say whether questions can be answered, and what fails where they can't."""
        found: dict[str, Any] = await run_in_threadpool(readiness.check)
        return JSONResponse(found, 200 if found["ok"] else 503)

    @app.get("/metrics", tags=["operations"], response_class=Response)
    async def show_metrics() -> Response:
        """Return the counters in Prometheus' format."""
        return Response(metrics.show(), media_type=CONTENT_TYPE_LATEST)


def _explain_errors(app: FastAPI) -> None:
    # Specific classes: a handler for Exception would make the server drop the connection.
    for kind, _ in STATUSES:
        app.add_exception_handler(kind, _explain)
    app.add_exception_handler(Refusal, _explain)
    app.add_exception_handler(ValidationError, _explain)
    app.add_exception_handler(RequestValidationError, _explain)


async def _explain(_: Request, error: Exception) -> Response:
    if isinstance(error, RagChainError):
        return explain(error)
    if isinstance(error, Refusal):
        return error.reply()
    if isinstance(error, ValidationError | RequestValidationError):
        return explain_input(error)
    raise error

"""Assemble the FastAPI app: the chain, its routes, and errors as HTTP statuses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import ValidationError

from rag_chain import __version__
from rag_chain.errors import (
    AuthenticationError,
    EmptyStoreError,
    InvalidRequestError,
    ModelError,
    QuestionError,
    RagChainError,
    SettingsError,
    StoreError,
)
from rag_chain.pipeline import build_chain
from rag_chain.server.langserve_routes import build_router
from rag_chain.store.lite import release_lite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_chain.settings import Settings

# The first class that an error belongs to decides.
STATUSES: tuple[tuple[type[RagChainError], int], ...] = (
    (QuestionError, 422),
    (SettingsError, 422),
    (InvalidRequestError, 422),
    (AuthenticationError, 502),
    (ModelError, 502),
    (EmptyStoreError, 503),
    (StoreError, 503),
    (RagChainError, 500),
)


def build_app(settings: Settings) -> FastAPI:
    """Return the app with LangServe's routes under ``/rag``."""
    app = FastAPI(title="rag_chain", version=__version__, lifespan=_lifespan)
    app.include_router(build_router(build_chain(settings), "/rag"))
    # Specific classes: a handler for Exception would make the server drop the connection.
    for kind, _ in STATUSES:
        app.add_exception_handler(kind, _explain)
    app.add_exception_handler(ValidationError, _explain_input)
    app.add_api_route("/", _show_playground, include_in_schema=False)
    return app


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    release_lite()


def status_of(error: RagChainError) -> int:
    """Return the HTTP status that tells a client whether to mend the request or to wait."""
    return next(status for kind, status in STATUSES if isinstance(error, kind))


async def _explain(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RagChainError):
        raise error
    return JSONResponse({"error": {"type": type(error).__name__, "message": str(error)}}, status_code=status_of(error))


async def _explain_input(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ValidationError):
        raise error
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return JSONResponse({"error": {"type": "InvalidInput", "message": message}}, status_code=422)


async def _show_playground() -> RedirectResponse:
    return RedirectResponse("/rag/playground/")

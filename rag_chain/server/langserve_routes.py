"""The LangServe door; nothing else imports langserve, which is deprecated and not under an OSI licence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from langserve import add_routes

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable


def build_router(chain: Runnable[Any, Any], path: str) -> APIRouter:
    """Return LangServe's routes for the chain; callers may configure nothing."""
    router = APIRouter(prefix=path)
    # stream_events would show prompts and intermediate results to every caller. stream_log does
    # too, but the playground speaks nothing else.
    add_routes(router, chain, config_keys=(), disabled_endpoints=("config_hashes", "stream_events"))
    return router

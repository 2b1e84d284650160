"""The HTTP door: a FastAPI app over the chain, for people, for LangServe's and OpenAI's clients, and for agents."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rag_chain.errors import SettingsError
from rag_chain.hosts import is_local

if TYPE_CHECKING:
    from fastapi import FastAPI

    from rag_chain.settings import Settings

__all__ = ["create_app", "explain_errors", "serve_app", "serve_mcp"]


# While one thread works, the others wait this long for their turn; 5 ms would add up along a stream's way.
SWITCH_SECONDS = 0.001


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the app; it connects to models and Milvus when it is first asked.

    Raises :class:`~rag_chain.errors.SettingsError` when the ``serve`` extra is not installed.
    """
    from rag_chain.settings import Settings as _Settings

    return _build(settings or _Settings(), hosted=False)


def explain_errors(app: FastAPI, path: str = "/rag", *, max_body_bytes: int = 1_000_000) -> None:
    """Have an app of your own answer errors under ``path`` as ``rag-chain serve`` does; call it before the app serves.

    An error of the chain is answered with its status and reason instead of a 500, and so are a body that is too
    large, too deep or no JSON, which LangServe fails at. What goes wrong after a stream has begun is LangServe's
    ``event: error``.
    """
    from rag_chain.server.error_replies import ErrorReplies

    app.add_middleware(ErrorReplies, path=path, max_body_bytes=max_body_bytes)


def _build(settings: Settings, *, hosted: bool) -> FastAPI:
    try:
        from rag_chain.server.app import build_app
    except ImportError as error:
        raise _not_installed(error) from error
    return build_app(settings, hosted=hosted)


def serve_app(settings: Settings, host: str, port: int) -> None:
    """Serve until interrupted; then what is being answered gets ``settings.drain_seconds`` to end.

    Raises :class:`~rag_chain.errors.SettingsError` for an address that others can reach while there are no API keys.
    """
    refuse_open_door(settings, host)
    app = _build(settings, hosted=True)
    import uvicorn
    from sse_starlette.sse import AppStatus

    from rag_chain.server.logs import log_config

    # It would break off the streams of MCP as soon as the server is to stop.
    AppStatus.enable_automatic_graceful_drain = False
    sys.setswitchinterval(SWITCH_SECONDS)
    # Requests are logged by the gate, without what was asked. Forwarded addresses are for proxies that are named
    # to uvicorn, FORWARDED_ALLOW_IPS.
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        log_config=log_config(as_json=settings.log_json),
        timeout_graceful_shutdown=round(settings.drain_seconds),
    )


def serve_mcp(settings: Settings) -> None:
    """Serve MCP over stdin and stdout until stdin ends; raises like :func:`create_app`."""
    try:
        from rag_chain.server.mcp_routes import serve_stdio
    except ImportError as error:
        raise _not_installed(error) from error
    serve_stdio(settings)


def refuse_open_door(settings: Settings, host: str) -> None:
    """Raise when everybody could come in and nobody has said that they may."""
    from rag_chain.keys import KeyFile

    if is_local(host) or settings.allow_anonymous or KeyFile(settings.keys_file).read():
        return
    raise SettingsError(
        f"anybody who reaches {host} could read everything: make keys (rag-chain keys add NAME), or say "
        "--allow-anonymous"
    )


def _not_installed(error: ImportError) -> SettingsError:
    return SettingsError(f"serving needs {error.name or 'its extra'}: install it with: pip install 'rag-chain[serve]'")

"""The HTTP door: a FastAPI app over the chain, with LangServe's routes under ``/rag``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.errors import SettingsError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from rag_chain.settings import Settings

__all__ = ["create_app", "serve_app"]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the app; it connects to models and Milvus when it is first asked.

    Raises :class:`~rag_chain.errors.SettingsError` when the ``serve`` extra is not installed.
    """
    try:
        from rag_chain.server.app import build_app
    except ImportError as error:
        raise SettingsError(
            f"serving needs {error.name or 'its extra'}: install it with: pip install 'rag-chain[serve]'"
        ) from error
    from rag_chain.settings import Settings as _Settings

    return build_app(settings or _Settings())


def serve_app(app: FastAPI, host: str, port: int) -> None:
    """Serve until interrupted."""
    import uvicorn

    uvicorn.run(app, host=host, port=port, log_level="info")

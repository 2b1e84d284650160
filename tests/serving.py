"""An app in a real server, and callers with keys of their own."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import uvicorn

from rag_chain.keys import KeyFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from rag_chain.keys import Role


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run an app in a real uvicorn on a free port and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def make_key(file: Path, tenant: str, *roles: Role) -> str:
    """Make a key and return it."""
    return KeyFile(file).add(f"key of {tenant}", tenant, roles or ("ask", "ingest"))[1]


def client(address: str, key: str = "") -> httpx.Client:
    """Return a client that shows this key."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=address, headers=headers, timeout=30)

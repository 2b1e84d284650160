"""Milvus Lite for many processes: whoever opens a path first serves it to the others of this machine.

Milvus Lite lets one process open a path, and serves it there over loopback. That process leaves a
note of its port beside the data; others connect to it, and when it ends one of them opens the path.
Only data goes through it: models, keys, files and progress stay with whoever was asked.
"""

from __future__ import annotations

import atexit
import json
import secrets
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from rag_chain.files import write_private
from rag_chain.store.lite_mends import mend_milvus_lite, open_once
from rag_chain.store.lite_server import ask_token, build_server

NOTE = "rag_chain.json"
STOP_SECONDS = 5.0

_held: dict[str, LiteHold] = {}
_registry = threading.Lock()


class LiteHold:
    """A Milvus Lite path that this process holds and serves.

    Raises milvus_lite's ``DataDirLockedError`` when another process holds it.
    """

    def __init__(self, path: str) -> None:
        mend_milvus_lite()
        from milvus_lite.db import MilvusLite
        from milvus_lite.server_manager import server_manager_instance

        self.path = path
        self.users = 0
        token = secrets.token_hex(16)
        self._db = MilvusLite(path)
        open_once(self._db)
        self._server = build_server(self._db, token)
        port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.uri = f"http://127.0.0.1:{port}"
        # So that a plain MilvusClient of this process finds it too, and does not open the path once more.
        server_manager_instance._servers[path] = (self._server, self._db, port)  # noqa: SLF001
        try:
            write_private(_note(path), json.dumps({"port": port, "token": token}))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Let calls in progress end, then give the path back."""
        from milvus_lite.server_manager import server_manager_instance

        with suppress(FileNotFoundError):
            _note(self.path).unlink()
        server_manager_instance._servers.pop(self.path, None)  # noqa: SLF001
        # It would wait for ever when the interpreter is ending and its threads take no more work.
        self._server.stop(STOP_SECONDS).wait(2 * STOP_SECONDS)
        self._db.close()


def hold(path: str) -> LiteHold:
    """Return this process's hold of a path, taken if need be; each call needs one :func:`let_go`."""
    _give_back_at_exit()
    with _registry:
        held = _held.get(path) or _held.setdefault(path, LiteHold(path))
        held.users += 1
        return held


def let_go(held: LiteHold) -> None:
    """Give the path back when nobody in this process uses it any more."""
    with _registry:
        held.users -= 1
        if held.users <= 0 and _held.get(held.path) is held:
            _held.pop(held.path).close()


def release_lite() -> None:
    """Give back every path that this process holds; the interpreter's own exit does so too, a signal does not."""
    with _registry:
        while _held:
            _held.popitem()[1].close()


@cache
def _give_back_at_exit() -> None:
    # After the vendor's own handler is registered, so as to run before it: that one does not wait for calls.
    import milvus_lite.server_manager  # noqa: F401

    atexit.register(release_lite)


def find_holder(path: str) -> str | None:
    """Return the address at which this path is served by others; None when none is to be found."""
    # A plain MilvusClient of this process, or another connection of ours, may have opened it.
    vendor = sys.modules.get("milvus_lite.server_manager")
    if vendor is not None and (served := vendor.server_manager_instance._servers.get(path)) is not None:  # noqa: SLF001
        return f"http://127.0.0.1:{served[2]}"
    try:
        note = json.loads(_note(path).read_bytes())
        port, token = int(note["port"]), str(note["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # The note may be older than the process that holds the path, and its port be somebody else's by now.
    return f"http://127.0.0.1:{port}" if ask_token(port) == token else None


def _note(path: str) -> Path:
    return Path(path) / NOTE

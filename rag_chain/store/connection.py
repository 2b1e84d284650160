"""Open and close connections to Milvus: Milvus Lite, a server or Zilliz Cloud; errors become ours here."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rag_chain.errors import SettingsError, StoreError, StoreLockedError, StoreUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymilvus import MilvusClient

REACH_SECONDS = 5.0
# For a server that accepts and then says nothing, or is no Milvus.
CONNECT_SECONDS = 8.0

_lite_users: Counter[str] = Counter()
_lite_locks: dict[str, threading.RLock] = {}
_registry = threading.Lock()
_abandoned: queue.SimpleQueue[tuple[Address, MilvusClient]] = queue.SimpleQueue()


@dataclass(frozen=True)
class Address:
    """Where Milvus is and who asks; ``uri`` is an absolute ``.db`` path or an http(s) address."""

    uri: str
    token: str = ""
    database: str = ""
    timeout: float = 30.0

    @property
    def is_lite(self) -> bool:
        """Whether this is a Milvus Lite path."""
        return "://" not in self.uri

    @property
    def arguments(self) -> dict[str, Any]:
        """What pymilvus wants to connect."""
        given = {"uri": self.uri, "token": self.token, "db_name": self.database}
        return {name: value for name, value in given.items() if value}


def open_client(address: Address) -> MilvusClient:
    """Connect; each call needs one :func:`close_client`.

    The first connection of a process to a Milvus Lite path takes its lock, the last one to be
    closed gives it back, so that another process can have it.
    """
    from rag_chain.store.vendor import pymilvus

    _silence_vendor()
    _start_closer()
    if not address.is_lite:
        _reach(address.uri)
        with store_errors(f"connecting to {address.uri}", unreachable=True):
            return pymilvus.MilvusClient(**address.arguments, timeout=min(address.timeout, CONNECT_SECONDS))
    Path(address.uri).parent.mkdir(parents=True, exist_ok=True)
    with _registry:
        client = _open_lite(address)
        _lite_users[address.uri] += 1
        return client


def close_client(address: Address, client: MilvusClient) -> None:
    """Give a connection back."""
    client.close()
    if not address.is_lite:
        return
    from milvus_lite.server_manager import server_manager_instance

    with _registry:
        _lite_users[address.uri] -= 1
        if _lite_users[address.uri] <= 0:
            _lite_users.pop(address.uri)
            server_manager_instance.release_server(address.uri)


def abandon_client(address: Address, client: MilvusClient) -> None:
    """Have a connection given back whose owner was garbage-collected; safe to call from a finalizer.

    A finalizer runs in any thread at any moment, also while that thread holds the lock that closing
    needs, so a thread of its own does the work.
    """
    _abandoned.put((address, client))


@cache
def _start_closer() -> None:
    threading.Thread(target=_close_abandoned, name="rag_chain closer", daemon=True).start()


def _close_abandoned() -> None:
    while True:
        close_client(*_abandoned.get())


def write_lock(address: Address) -> threading.RLock:
    """Return the lock that every write to a Milvus Lite path must hold.

    Milvus Lite 3.2 mixes up its log when two writers overlap, and a kill then loses rows that
    were acknowledged. Servers need no such lock; theirs is never contended.
    """
    with _registry:
        return _lite_locks.setdefault(address.uri if address.is_lite else "", threading.RLock())


@contextmanager
def store_errors(action: str, *, unreachable: bool = False) -> Iterator[None]:
    """Turn what pymilvus and gRPC raise into one line that says what was being done."""
    from grpc import RpcError
    from pymilvus.exceptions import MilvusException

    kind = StoreUnreachableError if unreachable else StoreError
    try:
        yield
    except MilvusException as error:
        raise kind(f"Milvus failed while {action}: {_one_line(error.message)}{_mend(error.message)}") from error
    except RpcError as error:
        raise StoreUnreachableError(f"lost the connection to Milvus while {action}: check MILVUS_URI") from error


def _mend(message: str) -> str:
    return ": check MILVUS_URI and MILVUS_TOKEN" if "illegal connection params" in message else ""


def _one_line(message: str) -> str:
    return " ".join(message.split())[:300]


def _reach(uri: str) -> None:
    """Fail within seconds, not a minute, when nothing listens at a server's address."""
    parts = urlsplit(uri)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 19530)
        socket.create_connection((parts.hostname or "", port), REACH_SECONDS).close()
    except ValueError:
        raise SettingsError(f"MILVUS_URI: {uri} is not an address") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreUnreachableError(
            f"no Milvus at {uri} ({reason}): start it, or mend MILVUS_URI (a path ending in .db needs no server)"
        ) from error


def _open_lite(address: Address) -> MilvusClient:
    from pymilvus import MilvusClient
    from pymilvus.exceptions import ConnectionConfigException

    if Path(address.uri).is_file():
        raise StoreError(
            f"{address.uri} is a file of Milvus Lite 2, which version 3 can't read: "
            "move it away and ingest again, or set MILVUS_URI to another path"
        )
    try:
        return MilvusClient(**address.arguments)
    except ConnectionConfigException as error:
        raise _why_closed(address.uri) from error


def _why_closed(path: str) -> StoreError:
    """Find out why a Milvus Lite path does not open; pymilvus only says that it does not."""
    from milvus_lite.db import MilvusLite
    from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError

    try:
        MilvusLite(path).close()
    except DataDirLockedError:
        return StoreLockedError(
            f"{path} is in use by another process: stop that one (rag-chain serve?), "
            "or set MILVUS_URI to a Milvus server, which serves many"
        )
    except (MilvusLiteError, OSError) as error:
        return StoreError(f"{path} can't be opened ({_one_line(str(error))}): check MILVUS_URI and its permissions")
    return StoreError(f"{path} could not be opened: try again")


def _silence_vendor() -> None:
    # They log every failed call with a traceback and the first row's text; the exception says enough.
    for name in ("pymilvus", "milvus_lite", "milvus_lite.server_manager", "langchain_milvus"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def release_lite() -> None:
    """Close every Milvus Lite path of this process; the interpreter's own exit does so too, a signal does not."""
    from milvus_lite.server_manager import server_manager_instance

    with _registry:
        _lite_users.clear()
        server_manager_instance.release_all()

"""Open connections to Milvus: Milvus Lite, a server or Zilliz Cloud; errors become ours here."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from rag_chain.errors import SettingsError, StoreError, StoreLockedError, StoreUnreachableError
from rag_chain.store.lite import LiteHold, find_holder, hold, let_go
from rag_chain.store.lite_host import LiteHost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymilvus import MilvusClient

REACH_SECONDS = 5.0
# For a server that accepts and then says nothing, or is no Milvus.
CONNECT_SECONDS = 8.0
# For a process that is just opening or closing a Milvus Lite path.
LITE_SECONDS = 10.0
LITE_PAUSE = 0.05
# What pymilvus says when nobody answers, and of a call that was cut off.
CONNECT_FAILED = 2

T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """Where Milvus is and who asks; ``uri`` is an absolute ``.db`` path or an http(s) address.

    With ``hosted`` a Milvus Lite path that nobody holds yet is held by a process of its own;
    ``meanwhile`` is done while that one starts.
    """

    uri: str
    token: str = ""
    database: str = ""
    timeout: float = 30.0
    hosted: bool = False
    meanwhile: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)

    @property
    def is_lite(self) -> bool:
        """Whether this is a Milvus Lite path."""
        return "://" not in self.uri

    def arguments(self, uri: str = "") -> dict[str, Any]:
        """Return what pymilvus wants to connect here, or there."""
        given = {"uri": uri or self.uri, "token": self.token, "db_name": self.database}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class _Link:
    """A client, where it is connected, and the hold or the host of the Milvus Lite path where it is ours."""

    client: MilvusClient
    arguments: dict[str, Any]
    hold: LiteHold | None = None
    host: LiteHost | None = None

    def close(self) -> None:
        self.client.close()
        if self.hold is not None:
            let_go(self.hold)
        if self.host is not None:
            self.host.close()


logger = logging.getLogger(__name__)

_abandoned: queue.SimpleQueue[_Link] = queue.SimpleQueue()


class Connection:
    """An open connection; on Milvus Lite it outlives the process that serves the path.

    Garbage collection closes it too, in a thread of its own: a finalizer runs in any thread at any
    moment, also while that thread holds the lock that closing needs.
    """

    def __init__(self, address: Address, restore: Callable[[MilvusClient], None] = lambda _: None) -> None:
        """Connect; ``restore`` puts a newly opened Milvus Lite into the state that calls rely on."""
        _start_closer()
        self.address = address
        self._link = _open_link(address)
        self._restore = restore
        self._reopening = threading.Lock()
        self._finalizer = self._watch()

    @property
    def client(self) -> MilvusClient:
        """The connected client."""
        return self._link.client

    @property
    def arguments(self) -> dict[str, Any]:
        """What pymilvus wants to connect to the same place."""
        return self._link.arguments

    def run(self, action: str, call: Callable[[MilvusClient], T]) -> T:
        """Return what a call gives; ``action`` says in an error what was being done.

        When the process that serves a Milvus Lite path has ended, the call is made once more where
        the path is served now, perhaps here: none of our calls does harm when it is repeated.
        """
        link = self._link
        try:
            with store_errors(action):
                return call(link.client)
        except StoreUnreachableError:
            if not self.address.is_lite or link.hold is not None:
                raise
        self._reopen(link)
        with store_errors(action):
            return call(self.client)

    def close(self) -> None:
        """Give the connection back; the last one of a process to a Milvus Lite path frees it for others."""
        if self._finalizer.detach():
            self._link.close()

    def _watch(self) -> weakref.finalize[[_Link], Connection]:
        finalizer = weakref.finalize(self, _abandoned.put, self._link)
        finalizer.atexit = False
        return finalizer

    def _reopen(self, broken: _Link) -> None:
        """Connect anew, unless another thread has done so since."""
        with self._reopening:
            if self._link is broken:
                self.close()
                self._link = _open_link(self.address)
                self._finalizer = self._watch()
                with store_errors("opening the collection again"):
                    self._restore(self.client)


def _open_link(address: Address) -> _Link:
    if address.is_lite:
        return _open_lite(address)
    _reach(address.uri)
    with store_errors(f"connecting to {address.uri}", unreachable=True):
        return _Link(_connect(address, address.arguments()), address.arguments())


def _connect(address: Address, arguments: dict[str, Any]) -> MilvusClient:
    from rag_chain.store.vendor import pymilvus

    _silence_vendor()
    return pymilvus.MilvusClient(**arguments, timeout=min(address.timeout, CONNECT_SECONDS))


def _open_lite(address: Address) -> _Link:
    """Hold the path, or connect to the process that does; it may be about to take it or to give it back."""
    _refuse_old_lite(address.uri)
    Path(address.uri).parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + LITE_SECONDS
    ways = (_join_lite, _host_lite, _hold_lite) if address.hosted else (_hold_lite, _join_lite)
    while time.monotonic() < end:
        if (link := next(filter(None, (way(address) for way in ways)), None)) is not None:
            return link
        time.sleep(LITE_PAUSE)
    raise StoreLockedError(
        f"{address.uri} is in use by another process, which does not share it: stop that one, "
        "or set MILVUS_URI to a Milvus server, which serves many"
    )


def _host_lite(address: Address) -> _Link | None:
    """Return a link to a process started to serve a path; None when another process holds it, or none can start."""
    try:
        host = LiteHost(address.uri)
    except OSError as error:
        logger.info("Milvus Lite stays in this process, since another can't be started: %s", error)
        return None
    import rag_chain.store.vendor  # noqa: F401  while the other process starts

    address.meanwhile()
    link = _join_lite(address) if host.is_ready() else None
    if link is None:
        host.close()
        return None
    return replace(link, host=host)


def _hold_lite(address: Address) -> _Link | None:
    """Return a link to this process's own server of a path; None when another process holds it."""
    import rag_chain.store.vendor  # noqa: F401  # isort: skip  before milvus_lite imports pymilvus
    from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError

    path = address.uri
    try:
        held = hold(path)
    except DataDirLockedError:
        return None
    except (MilvusLiteError, OSError) as error:
        raise StoreError(
            f"{path} can't be opened ({_one_line(str(error))}): check MILVUS_URI and its permissions"
        ) from error
    arguments = address.arguments(held.uri)
    try:
        with store_errors(f"opening {path}"):
            return _Link(_connect(address, arguments), arguments, held)
    except StoreError:
        let_go(held)
        raise


def _join_lite(address: Address) -> _Link | None:
    """Return a link to the process that serves a path; None when it is not to be found, or has just ended."""
    uri = find_holder(address.uri)
    if uri is None:
        return None
    arguments = address.arguments(uri)
    try:
        with store_errors(f"joining {address.uri}"):
            return _Link(_connect(address, arguments), arguments)
    except StoreUnreachableError:
        return None


def _refuse_old_lite(path: str) -> None:
    if Path(path).is_file():
        raise StoreError(
            f"{path} is a file of Milvus Lite 2, which version 3 can't read: "
            "move it away and ingest again, or set MILVUS_URI to another path"
        )


@cache
def _start_closer() -> None:
    threading.Thread(target=_close_abandoned, name="rag_chain closer", daemon=True).start()


def _close_abandoned() -> None:
    while True:
        _abandoned.get().close()


@contextmanager
def store_errors(action: str, *, unreachable: bool = False) -> Iterator[None]:
    """Turn what pymilvus and gRPC raise into one line that says what was being done."""
    import rag_chain.store.vendor  # noqa: F401  # isort: skip  before anything of pymilvus
    from grpc import RpcError, StatusCode
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        lost = unreachable or error.code in {CONNECT_FAILED, StatusCode.UNAVAILABLE, StatusCode.CANCELLED}
        kind = StoreUnreachableError if lost else StoreError
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


def _silence_vendor() -> None:
    # They log every failed call with a traceback and the first row's text; the exception says enough.
    for name in ("pymilvus", "milvus_lite", "milvus_lite.server_manager", "langchain_milvus"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

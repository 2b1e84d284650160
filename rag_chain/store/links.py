"""The ways to a Milvus: a server, Zilliz Cloud, a Milvus Lite path of this process or another's; errors become ours."""

from __future__ import annotations

import json
import logging
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rag_chain.errors import (
    ConnectionLostError,
    SettingsError,
    StoreError,
    StoreLockedError,
    StoreUnreachableError,
    in_brief,
)
from rag_chain.store.lite import LiteHold, find_holder, hold, let_go
from rag_chain.store.lite_host import LiteHost
from rag_chain.store.refusals import explain_refusal, status_of
from rag_chain.store.tls import Tls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymilvus import MilvusClient

logger = logging.getLogger(__name__)

REACH_SECONDS = 5.0
# For a server that accepts and then says nothing, or is no Milvus.
CONNECT_SECONDS = 8.0
# Beyond the time of a call, for calls that the vendors make without one; gRPC is a second or two off with these.
GRACE_SECONDS = 10.0
# For a process that is just opening or closing a Milvus Lite path.
LITE_SECONDS = 10.0
LITE_PAUSE = 0.05
# What pymilvus says when nobody answers, and of a call that was cut off.
CONNECT_FAILED = 2


NO_FILES = Tls()


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
    tls: Tls = NO_FILES
    meanwhile: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)

    @property
    def is_lite(self) -> bool:
        """Whether this is a Milvus Lite path."""
        return "://" not in self.uri

    def arguments(self, uri: str = "") -> dict[str, Any]:
        """Return what pymilvus wants to connect here, or there."""
        given = {"uri": uri or self.uri, "token": self.token, "db_name": self.database}
        connection = {name: value for name, value in given.items() if value}
        return connection if self.is_lite else connection | self.tls.arguments() | {"grpc_options": self._limits()}

    def _limits(self) -> dict[str, str]:
        """Return options that give every call a limit: some of pymilvus' and langchain-milvus' own have none."""
        limits = [{"name": [{}], "timeout": f"{self.timeout + GRACE_SECONDS:.0f}s"}]
        return {"grpc.service_config": json.dumps({"methodConfig": limits})}


@dataclass(frozen=True)
class Link:
    """A client, where it is connected, and the hold or the host of the Milvus Lite path where it is ours."""

    client: MilvusClient
    arguments: dict[str, Any]
    hold: LiteHold | None = None
    host: LiteHost | None = None

    def close(self) -> None:
        """Give back what is ours."""
        self.client.close()
        if self.hold is not None:
            let_go(self.hold)
        if self.host is not None:
            self.host.close()


def open_link(address: Address) -> Link:
    """Connect; on Milvus Lite take the path, or join the process that has it."""
    if address.is_lite:
        return _open_lite(address)
    address.tls.check(address.uri)
    _reach(address.uri)
    return _connect_remote(address)


def _connect_remote(address: Address) -> Link:
    from rag_chain.store.vendor import pymilvus

    try:
        return _connect(address)
    except pymilvus.MilvusException as error:
        raise StoreUnreachableError(explain_refusal(address, error.__cause__)) from error


def _connect(address: Address, uri: str = "", held: LiteHold | None = None) -> Link:
    """Connect here, or there; raises what pymilvus raises.

    The connection is this client's alone. pymilvus would share it with everybody in the process who has the same
    address and token, also with those whose certificates are others, or none.
    """
    from rag_chain.store.vendor import pymilvus

    _silence_vendor()
    arguments = {**address.arguments(uri), "dedicated": True}
    client = pymilvus.MilvusClient(**arguments, timeout=min(address.timeout, CONNECT_SECONDS))
    return Link(client, arguments, held)


def _open_lite(address: Address) -> Link:
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


def _host_lite(address: Address) -> Link | None:
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


def _hold_lite(address: Address) -> Link | None:
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
            f"{path} can't be opened ({in_brief(error, 300)}): check MILVUS_URI and its permissions"
        ) from error
    try:
        with store_errors(f"opening {path}"):
            return _connect(address, held.uri, held)
    except ConnectionLostError as error:
        # It is this process's own and was there a moment ago, so it is asked again.
        logger.info("%s is opened once more: %s", path, error)
        let_go(held)
        return None
    except StoreError:
        let_go(held)
        raise


def _join_lite(address: Address) -> Link | None:
    """Return a link to the process that serves a path; None when it is not to be found, or has just ended."""
    uri = find_holder(address.uri)
    if uri is None:
        return None
    try:
        with store_errors(f"joining {address.uri}"):
            return _connect(address, uri)
    except StoreUnreachableError:
        return None


def _refuse_old_lite(path: str) -> None:
    if Path(path).is_file():
        raise StoreError(
            f"{path} is a file of Milvus Lite 2, which version 3 can't read: "
            "move it away and ingest again, or set MILVUS_URI to another path"
        )


@contextmanager
def store_errors(action: str) -> Iterator[None]:
    """Turn what pymilvus and gRPC raise into one line that says what was being done."""
    import rag_chain.store.vendor  # noqa: F401  # isort: skip  before anything of pymilvus
    from grpc import RpcError, StatusCode
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        if status_of(error.__cause__)[0]:
            raise _translate(error.__cause__, action) from error
        lost = error.code in {CONNECT_FAILED, StatusCode.UNAVAILABLE, StatusCode.CANCELLED}
        kind = ConnectionLostError if lost else StoreError
        raise kind(f"Milvus failed while {action}: {in_brief(error.message, 300)}") from error
    except RpcError as error:
        raise _translate(error, action) from error


def _translate(error: BaseException | None, action: str) -> StoreError:
    code, details = status_of(error)
    if code in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return StoreError(
            f"Milvus does not allow {action} ({in_brief(details, 300)}): mend MILVUS_TOKEN, or give its user the right"
        )
    if code == "DEADLINE_EXCEEDED":
        return StoreUnreachableError(
            f"Milvus did not answer in time while {action}: see whether it hangs, or raise RAG_STORE_TIMEOUT"
        )
    said = f"{code}: {in_brief(details)}" if details else code
    return ConnectionLostError(f"lost the connection to Milvus while {action} ({said}): check MILVUS_URI")


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

"""Milvus Lite's gRPC server on a loopback port, made safe for several clients."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc
    from milvus_lite.db import MilvusLite

TOKEN_METHOD = "/rag_chain.Lite/Token"  # noqa: S105  a name, no secret
TOKEN_SECONDS = 2.0

CALL_THREADS = 16
# As Milvus has it.
MESSAGE_BYTES = 256 * 1024 * 1024

OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # pymilvus pings every 10 s, also when it has nothing to say; by default that gets it disconnected.
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    # Pings that lay in the socket while this process was busy arrive all at once, and are no attack.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
]

# Calls that change nothing; all others wait for each other.
READS = frozenset(
    "CheckHealth Connect DescribeAlias DescribeCollection DescribeDatabase DescribeIndex GetCollectionStatistics "
    "GetFlushState GetLoadState GetLoadingProgress GetVersion HasCollection HasPartition HybridSearch ListAliases "
    "ListDatabases Query Search ShowCollections ShowPartitions Token".split()
)
# Calls that take away what is being read; a flush, too, since rows in memory are let go of once they are in a file.
REMOVALS = frozenset(
    "DropCollection DropDatabase DropPartition Flush ReleaseCollection ReleasePartitions RenameCollection "
    "TruncateCollection".split()
)


class Traffic:
    """Lets calls through: reads together, one write at a time beside them, a removal alone.

    Milvus Lite 3.2 mixes up its log when two writers overlap, and a kill then loses rows that were
    acknowledged; a search in a collection that is being dropped finds nothing, or fails.
    """

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._changed = threading.Condition()
        self._reading = 0
        self._removing = False

    @contextmanager
    def read(self) -> Iterator[None]:
        """Wait for a removal to end."""
        with self._changed:
            self._changed.wait_for(lambda: not self._removing)
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Wait for other writes to end."""
        with self._writing:
            yield

    @contextmanager
    def remove(self) -> Iterator[None]:
        """Wait for everything else to end, and keep new reads waiting."""
        with self._writing:
            with self._changed:
                self._removing = True
                self._changed.wait_for(lambda: not self._reading)
            try:
                yield
            finally:
                with self._changed:
                    self._removing = False
                    self._changed.notify_all()

    def lane(self, call: str) -> Callable[[], Any]:
        """Return the one of these that a call takes."""
        return self.read if call in READS else self.remove if call in REMOVALS else self.write


def build_server(db: MilvusLite, token: str) -> grpc.Server:
    """Return a server of the opened path that regulates its traffic and tells its token to whoever asks."""
    import grpc
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from pymilvus.grpc_gen import milvus_pb2_grpc

    server = grpc.server(
        ThreadPoolExecutor(CALL_THREADS, "milvus lite"),
        interceptors=(_regulate(Traffic()),),
        options=OPTIONS,
    )
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(db), server)
    service, method = TOKEN_METHOD.strip("/").split("/")
    answer = grpc.unary_unary_rpc_method_handler(lambda _request, _context: token.encode())
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: answer}),))
    return server


def ask_token(port: int) -> str | None:
    """Return the token of the server at a port of this machine; None when there is no such server."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            reply: bytes = channel.unary_unary(TOKEN_METHOD)(b"", timeout=TOKEN_SECONDS)
        except grpc.RpcError:
            return None
    return reply.decode("utf-8", "replace")


def _regulate(traffic: Traffic) -> Any:
    import grpc

    class Regulator(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
        def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
            handler = continuation(details)
            if handler is None or handler.unary_unary is None:
                return handler
            lane = traffic.lane(details.method.rpartition("/")[2])
            work = _in_lane(handler.unary_unary, lane)
            return grpc.unary_unary_rpc_method_handler(work, handler.request_deserializer, handler.response_serializer)

    return Regulator()


def _in_lane(work: Callable[[Any, Any], Any], lane: Callable[[], Any]) -> Callable[[Any, Any], Any]:
    def call(request: Any, context: Any) -> Any:
        with lane():
            return work(request, context)

    return call

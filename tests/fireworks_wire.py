"""The loopback HTTP server under the imitated Fireworks API: connections, chunks, and how they end."""

import math
import select
import socket
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fireworks_replies import Reply

POLL = 0.01


class DroppedError(Exception):
    """The server ends the connection without saying why."""


class WireServer(ThreadingHTTPServer):
    """A threaded server on a free port that counts its connections and can end them all."""

    daemon_threads = False  # Else closing the server would not wait for the threads.
    request_queue_size = 512

    def __init__(self, handler: type["WireHandler"]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.connections = 0
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL,), name="fireworks-server")

    def start(self) -> None:
        """Serve from a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End every connection and every thread."""
        self.stopping.set()
        self.shutdown()
        for connection in list(self._open):
            _hang_up(connection)
        self.server_close()
        self._thread.join()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections += 1
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that leaves is what some tests are about; any other error is a bug and is shown.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # The other side was faster.


class WireHandler(BaseHTTPRequestHandler):
    """One connection: waits while it watches the client, and writes whole or chunked answers."""

    server: WireServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._peer = select.poll()
        self._peer.register(self.connection, select.POLLIN)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def read_body(self) -> bytes:
        """Return the request's body; a client that leaves half-way is a ``ConnectionAbortedError``."""
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionAbortedError
        return body

    def pause(self, seconds: float = 0.0) -> None:
        """Wait; raise ``ConnectionAbortedError`` when the client leaves, ``DroppedError`` at a stop."""
        left, end = seconds, time.monotonic() + seconds
        # Readable while an answer is due: most likely one side has ended the connection.
        while self._peer.poll(None if left == math.inf else left * 1000):
            self._check_peer()
            if left <= 0:
                return
            self.server.stopping.wait(POLL)
            left = max(end - time.monotonic(), 0.0)

    def _check_peer(self) -> None:
        if self.server.stopping.is_set():
            raise DroppedError
        if not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionAbortedError

    def write_reply(self, reply: Reply) -> None:
        """Write a whole answer."""
        self.write_head(reply.status, {**reply.headers, "Content-Length": str(len(reply.body))})
        self.wfile.write(reply.body)

    def write_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Write the status and the headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def write_chunk(self, data: bytes, *, last: bool = False) -> None:
        """Write a chunk of a body of unknown length; the last one takes the body's end along."""
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        # In one write: a client may leave as soon as it has read what it came for.
        self.wfile.write(chunk + (b"0\r\n\r\n" if last else b""))

"""What carries the requests: aiohttp under httpx, whose parser is in C and gives what came together as one."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

READ_BYTES = 1 << 18
# Under this name a response's extensions hold what leaves its stream alone, a context manager's constructor.
LEAVE_ALONE = "leave_alone"


class _Stream(AiohttpResponseStream):
    """Reads as much at a time as has come; as it is, at most 16 kB."""

    CHUNK_SIZE = READ_BYTES

    @contextmanager
    def leave_alone(self) -> Iterator[None]:
        """Leave what comes to the operating system, within; else the loop wakes up for all that the server sends."""
        connection = self._aiohttp_response.connection
        protocol = connection.protocol if connection else None
        if protocol is None:
            # It has been read to its end.
            yield
            return
        protocol.pause_reading()
        try:
            yield
        finally:
            protocol.resume_reading()


class _Transport(AiohttpTransport):
    """Gives replies whose streams can be left alone for a while."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        response = await super().handle_async_request(request)
        if isinstance(response.stream, AiohttpResponseStream):
            stream = _Stream(response.stream._aiohttp_response)  # noqa: SLF001  there is no other way to it
            response.stream, response.extensions[LEAVE_ALONE] = stream, stream.leave_alone
        return response


def open_transport() -> httpx.AsyncBaseTransport:
    """Return a transport with any number of connections."""
    return _Transport(verify=_trusted(), limits=httpx.Limits(max_connections=0, keepalive_expiry=15))


@cache
def _trusted() -> ssl.SSLContext:
    # Reading the root certificates takes 25 ms, so the clients of a process share them.
    return httpx.create_ssl_context()

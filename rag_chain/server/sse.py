"""Server-sent events, as several doors send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")

# A proxy that gathers what it passes on would make a stream one piece.
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def event(data: Any, name: str = "") -> bytes:
    """Return one event; JSON has no line ends in it."""
    text = data if isinstance(data, bytes) else orjson.dumps(data)
    return (f"event: {name}\r\n".encode() if name else b"") + b"data: " + text + b"\r\n\r\n"


def stream_events(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Return the response that sends these events as they come."""
    return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)


async def start(parts: AsyncIterator[T]) -> AsyncIterator[T]:
    """Wait for the first part, so that what fails before it is an HTTP status and not the middle of a stream."""
    first = await anext(parts)

    async def all_of_it() -> AsyncIterator[T]:
        try:
            yield first
            async for part in parts:
                yield part
        finally:
            await parts.aclose()  # type: ignore[attr-defined]  # generators, all of them

    return all_of_it()

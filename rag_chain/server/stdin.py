"""Requests on stdin, a line each, beside an event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

# For the last request to be taken up, and for the last answer to be written.
HANDOVER_SECONDS = 0.05


class Work:
    """Knows whether a request is being worked on."""

    def __init__(self) -> None:
        self._running = 0
        self.done = asyncio.Event()
        self.done.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a request for as long as it is worked on."""
        self._running += 1
        self.done.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self.done.set()


async def lines_of_stdin(work: Work, drain_seconds: float) -> AsyncIterator[str]:
    """Yield the lines as they come; after the last, wait for the answers, but not for longer than this.

    The thread that waits for a line does not keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def hand_on(line: str | None) -> None:
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lines.put_nowait, line)

    threading.Thread(target=_read, args=(hand_on,), name="rag_chain-stdin", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line
    await asyncio.sleep(HANDOVER_SECONDS)
    with anyio.move_on_after(drain_seconds):
        await work.done.wait()
    await asyncio.sleep(HANDOVER_SECONDS)


def _read(hand_on: Callable[[str | None], None]) -> None:
    try:
        # Python has no stdin where the process was started without one; its number may be another file's by now.
        if sys.stdin is not None:
            with open(0, encoding="utf-8", errors="replace", closefd=False) as stdin:
                for line in stdin:
                    hand_on(line)
    finally:
        hand_on(None)

"""Server-sent events, read as they come: together what came together, and not more often than is worth it.

A chat model sends an event for every token, hundreds a second. With two hundred answers at once a loop that took
each of them on its own would do nothing else, which rules out httpx-sse: it does not say what came together.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

# Looks at all streams together, in a second; each costs about half a millisecond until it has reached its reader.
LOOKS_PER_SECOND = 300
DATA, END = b"data: ", b"[DONE]"

_TEXT = re.compile(rb'"content":"([^"\\]*(?:\\.[^"\\]*)*)"')


class EventReader:
    """Cuts the bytes of a stream into the data of its events, as the specification has it.

    https://html.spec.whatwg.org/multipage/server-sent-events.html; of the fields only ``data`` is used here.
    """

    def __init__(self) -> None:
        self.done = False
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, part: bytes) -> list[bytes]:
        """Return the data of the events that are whole now; after the end mark ``done`` is set."""
        text = self._rest + part
        return self._cut_plain(text) or self._cut(text)

    def _cut_plain(self, text: bytes) -> list[bytes]:
        """Return the events of a text that holds nothing but events of one line; else none, and change nothing.

        That is what models send; it is cut at once, and not line by line.
        """
        head, _, rest = text.rpartition(b"\n\n")
        if self._data or b"\r" in text or not head.startswith(DATA):
            return []
        events = head.split(b"\n\n")
        if head.count(b"\n\n" + DATA) != len(events) - 1 or head.count(b"\n") != 2 * (len(events) - 1):
            return []
        found = [event[len(DATA) :] for event in events]
        if END in found:
            return []
        self._rest = rest
        return found

    def _cut(self, text: bytes) -> list[bytes]:
        # A carriage return at the end may be the first half of a line end.
        held = text.endswith(b"\r")
        lines = text.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + (b"\r" if held else b"")
        events = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                data, self._data = b"\n".join(self._data), []
                if data == END:
                    self.done = True
                    break
                events.append(data)
        return events


def join_texts(events: Sequence[bytes]) -> list[bytes]:
    """Return the events with each run of those that differ in nothing but the text they bring as one with all of it.

    That is what a model's tokens do, so hundreds are parsed as one.
    """
    return _join_all(events) or _join_runs(events)


def _join_all(events: Sequence[bytes]) -> list[bytes]:
    """Return the one event that many are which differ in nothing but their texts; else none."""
    found = _TEXT.search(events[0]) if len(events) > 1 else None
    if found is None:
        return []
    before, after = events[0][: found.start(1)], events[0][found.end(1) :]
    together, between = b"\n".join(events), after + b"\n" + before
    text = together[len(before) : len(together) - len(after)].replace(between, b"")
    alike = together.startswith(before) and together.endswith(after) and together.count(between) == len(events) - 1
    # With a quote in it, it may be more than a text; an event that is otherwise leaves its line end.
    return [before + text + after] if alike and b'"' not in text and b"\n" not in text else []


def _join_runs(events: Iterable[bytes]) -> list[bytes]:
    joined: list[bytes] = []
    before, after, texts = b"", b"", list[bytes]()
    for event in events:
        if texts and event.startswith(before) and event.endswith(after):
            text = event[len(before) : len(event) - len(after)]
            # With a quote in it, it may be more than a text.
            if len(event) >= len(before) + len(after) and b'"' not in text:
                texts.append(text)
                continue
        _put_together(joined, before, texts, after)
        joined.append(event)
        found = _TEXT.search(event)
        before, after = (event[: found.start(1)], event[found.end(1) :]) if found else (b"", b"")
        texts = [found[1]] if found else []
    _put_together(joined, before, texts, after)
    return joined


def _put_together(joined: list[bytes], before: bytes, texts: list[bytes], after: bytes) -> None:
    if len(texts) > 1:
        joined[-1] = b"".join([before, *texts, after])


class ReadingPace:
    """Shares the looks among the streams: each rests the longer between two of them the more there are."""

    def __init__(self) -> None:
        self._streams = 0

    @contextmanager
    def stream(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """Count a stream in; gives what to await between two looks."""
        self._streams += 1
        looked = 0.0

        async def rest() -> None:
            nonlocal looked
            wait = looked + self._streams / LOOKS_PER_SECOND - time.monotonic()
            if wait > 0:
                await anyio.sleep(wait)
            looked = time.monotonic()

        try:
            yield rest
        finally:
            self._streams -= 1

"""Server-sent events, read as they come: together what came together, and not more often than is worth it.

A chat model sends an event for every token, hundreds a second. With two hundred answers at once a loop that took
each of them on its own would do nothing else, which rules out httpx-sse: it does not say what came together.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterable

# Looks at all streams together, in a second; each costs about half a millisecond until it has reached its reader.
LOOKS_PER_SECOND = 200
DATA, END = b"data: ", b"[DONE]"

_PLAIN = rb'[^"\\]*(?:\\.[^"\\]*)*'
_TEXT = re.compile(rb'"content":"(' + _PLAIN + rb')"')
_IS_TEXT = re.compile(_PLAIN)


class EventReader:
    """Cuts the bytes of a stream into the data of its events, as the specification has it.

    https://html.spec.whatwg.org/multipage/server-sent-events.html; of the fields only ``data`` is used here.
    """

    def __init__(self) -> None:
        self.done = False
        self._rest = b""
        self._data: list[bytes] = []
        # What stood between texts last, and the pattern that finds it.
        self._between, self._parting = b"", re.compile(b"")

    def feed(self, part: bytes) -> list[bytes]:
        """Return the data of the events that are whole now; after the end mark ``done`` is set.

        A run of events that differ in nothing but the text they bring is one with all of it: that is what a model's
        tokens are, so hundreds are parsed as one.
        """
        text = self._rest + part
        return self._cut_alike(text) or join_texts(self._cut(text))

    def _cut_alike(self, text: bytes) -> list[bytes]:
        """Return the one event that many are which differ in nothing but their texts; else none, and change nothing.

        Nearly all that models send is of this kind; it is never looked at line by line.
        """
        end = text.rfind(b"\n\n")
        first = text[: max(text.find(b"\n\n", 0, end), 0)]
        found = _TEXT.search(first)
        if self._data or not (found and first.startswith(DATA)):
            return []
        before, after = first[: found.start(1)], first[found.end(1) :]
        texts = self._join(text[len(before) : end - len(after)], after + b"\n\n" + before)
        # An event that is otherwise leaves its line end, and a quote where it is more than a text.
        lines = any(mark in part for mark in (b"\n", b"\r") for part in (first, texts))
        if lines or not (text.endswith(after, 0, end) and _IS_TEXT.fullmatch(texts)):
            return []
        self._rest = text[end + 2 :]
        return [before[len(DATA) :] + texts + after]

    def _join(self, text: bytes, between: bytes) -> bytes:
        """Return a text without what stands between its parts; bytes.replace() would take three times as long."""
        if between != self._between:
            self._between, self._parting = between, re.compile(re.escape(between))
        return self._parting.sub(b"", text)

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


def join_texts(events: Iterable[bytes]) -> list[bytes]:
    """Return the events with each run of those that differ in nothing but the text they bring as one."""
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
    """Gives the looks out one after the other, evenly: the more streams there are, the longer each waits for its next.

    If each rested for as long by itself, all that came due while something took its time would be looked at in one
    go, and again so after every rest.
    """

    def __init__(self) -> None:
        self._free = 0.0

    async def rest(self) -> None:
        """Wait for the next look that nobody has."""
        now = time.monotonic()
        turn = max(now, self._free)
        self._free = turn + 1 / LOOKS_PER_SECOND
        if turn > now:
            await anyio.sleep(turn - now)

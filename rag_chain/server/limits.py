"""How much a caller, and all callers together, may ask of the server; what is more is told so at once."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from rag_chain.server.replies import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_chain.server.callers import Caller
    from rag_chain.settings import Settings

# Wrong keys that one address may try in a minute.
GUESSES = 30


class Limits:
    """Counts requests of this process; not for several threads, like the event loop that it serves."""

    def __init__(self, settings: Settings) -> None:
        self._window = MovingWindowRateLimiter(MemoryStorage())
        self._per_minute = RateLimitItemPerMinute(settings.requests_per_minute)
        self._guesses = RateLimitItemPerMinute(GUESSES)
        self._most_each = settings.concurrent_requests
        self._most = settings.total_requests
        self._running: Counter[str] = Counter()

    @property
    def running(self) -> int:
        """Requests that are being worked on."""
        return self._running.total()

    @contextmanager
    def admit(self, caller: Caller) -> Iterator[None]:
        """Count a request for as long as it is worked on; too many raise a ``Refusal``."""
        if caller.key:
            self._refuse_haste(caller.key)
            if self._running[caller.key] >= self._most_each:
                raise Refusal(429, "TooManyRequests", "this key has too many requests in flight", {"Retry-After": "1"})
        if self.running >= self._most:
            raise Refusal(503, "Overloaded", "the server is busy: try again in a moment", {"Retry-After": "1"})
        self._running[caller.key] += 1
        try:
            yield
        finally:
            self._running[caller.key] -= 1
            if not self._running[caller.key]:
                del self._running[caller.key]

    def note_guess(self, address: str) -> None:
        """Count a wrong key; raises a ``Refusal`` for an address that has tried too many, whose right ones still do."""
        if not self._window.hit(self._guesses, address):
            raise Refusal(429, "TooManyRequests", "too many wrong keys: wait a minute", {"Retry-After": "60"})

    def _refuse_haste(self, key: str) -> None:
        if self._window.hit(self._per_minute, key):
            return
        until = self._window.get_window_stats(self._per_minute, key).reset_time
        wait = max(1, ceil(until - time.time()))
        raise Refusal(429, "TooManyRequests", "this key asks too often", {"Retry-After": str(wait)})

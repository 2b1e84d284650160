"""How many requests may be in flight: one more for each round that goes well, half when the provider is busy."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rag_chain.models.fireworks.replies import RetryLaterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Pace:
    """Additive increase, multiplicative decrease (Chiu and Jain, 1989) of requests in flight, between 1 and ``most``.

    Starts at ``most``: the provider's answer, not caution, is the signal. Belongs to one event loop.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self._busy = 0
        self._started = 0
        self._cut_at = 0
        self._freed: asyncio.Condition | None = None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a free slot and hold it; what the request meets adjusts the limit."""
        number = await self._enter()
        try:
            yield
        except RetryLaterError:
            self._slow_down(number)
            raise
        else:
            self.limit = min(self.limit + 1 / self.limit, self.most)
        finally:
            await self._leave()

    async def _enter(self) -> int:
        # Made here because a condition belongs to the loop that is running.
        self._freed = self._freed or asyncio.Condition()
        async with self._freed:
            await self._freed.wait_for(lambda: self._busy < int(self.limit))
            self._busy += 1
            self._started += 1
            return self._started

    async def _leave(self) -> None:
        self._busy -= 1
        if self._freed is not None:
            async with self._freed:
                self._freed.notify_all()

    def _slow_down(self, number: int) -> None:
        # Requests that set out before the last cut tell nothing about the new limit.
        if number > self._cut_at:
            self.limit = max(self.limit / 2, 1.0)
            self._cut_at = self._started

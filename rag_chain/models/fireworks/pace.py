"""How many requests may be in flight: one more for each round that goes well, half when the provider is busy.

Where even one after the other is more than the account's rate, there are pauses between them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Protocol

from rag_chain.models.fireworks.budget import TOO_MANY
from rag_chain.models.fireworks.replies import RetryLaterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager


# The first time that slowing down turned out to be in vain it is given up for so many requests, in multiples of
# the most that may be in flight; then for twice as many.
FIRST_TRUCE = 60
# Refused among few, as a share of what it was among many; and the share from which on a provider is simply down.
NO_BETTER, MOST_REFUSED = 0.7, 0.7
# Seconds between requests when one at a time is over the account's rate: doubled while more than a share of them is
# refused for it, less when fewer are. Ten requests a minute, the least that Fireworks gives, are 6 s apart.
FIRST_PAUSE, LONGEST_PAUSE, EASING, LITTLE_REFUSED = 0.05, 8.0, 0.7, 0.2
# Pauses begin when so many of as many rounds are: where half of all are refused, whoever asks, that is not by chance.
MOST_FOR_RATE, ROUNDS = 0.75, 3
# A request that takes so many times as long as they usually do is stalled; what is usual follows each by a share.
STALLED, SHARE_OF_USUAL = 4, 0.125


class Budget(Protocol):
    """What several processes may send together in a minute; each asks before it sends, and tells what it hears."""

    async def take(self, tokens: int) -> None:
        """Wait until a request of about so many tokens may be sent."""

    def hear(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from a reply: the provider's limits are in its headers."""

    def settle(self, taken: int, billed: int) -> None:
        """Put right what was taken for a request by what it was billed."""


class Unlimited:
    """No budget: the pace alone adapts to the provider's answers."""

    async def take(self, tokens: int) -> None:
        """Go on at once."""

    def hear(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn nothing."""

    def settle(self, taken: int, billed: int) -> None:
        """Keep no account."""


class Refusals:
    """The share of requests that were refused, among as many as were asked; ``for_rate`` are those with 429."""

    def __init__(self) -> None:
        self.asked = 0
        self.refused = 0
        self.for_rate = 0

    def count(self, *, refused: bool, for_rate: bool = False) -> None:
        """Count a request."""
        self.asked += 1
        self.refused += refused
        self.for_rate += for_rate

    @property
    def share(self) -> float:
        """The share, 0 where nothing was asked."""
        return self.refused / max(self.asked, 1)


class Pace:
    """Additive increase, multiplicative decrease (Chiu and Jain, 1989) of requests in flight, between 1 and ``most``.

    Starts at ``most``: the provider's answer, not caution, is the signal. Where it refuses the same
    share of a few requests as of many, its refusals are not about us, and slowing down is given up
    for a while. Where one at a time is refused for the rate (429), pauses come between them: a
    minute's tokens may be fewer than that takes. A request that the provider stalls says nothing about the
    others and holds up none while fewer than ``most`` are in flight. The oldest is sent first, however often it
    was refused, since others may be waiting for its place. Before each request the ``budget`` is asked, which
    may be shared with other processes. Belongs to one event loop.
    """

    def __init__(self, most: int, budget: Budget | None = None) -> None:
        self.most = most
        self.budget = budget or Unlimited()
        self.limit = float(most)
        self._busy = 0
        self._stalled = 0
        self._usual_seconds = 0.0
        self._started = 0
        self._cut_at = 0
        self._truce = FIRST_TRUCE * most
        self._truce_until = 0
        self._few, self._many = Refusals(), Refusals()
        self._pause, self._resume_at = 0.0, 0.0
        self._ages = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def slots(self, tokens: int = 0) -> Callable[[], AbstractAsyncContextManager[None]]:
        """Return what gives a slot to each attempt of one request."""
        return partial(self._slot, tokens, next(self._ages))

    @asynccontextmanager
    async def _slot(self, tokens: int, age: int) -> AsyncIterator[None]:
        """Wait for a free slot, and for the budget, and hold it; what the request meets adjusts the limit."""
        number = await self._enter(age)
        level = self._few if self.limit <= max(self.most / 4, 1) else self._many
        try:
            await self.budget.take(tokens)
            await self._rest()
            with self._stalling():
                yield
        except RetryLaterError as error:
            level.count(refused=True, for_rate=error.status == TOO_MANY)
            self._slow_down(number)
            raise
        else:
            level.count(refused=False)
            if not self._pause:
                self.limit = min(self.limit + 1 / self.limit, self.most)
        finally:
            self._doubt()
            self._leave()

    async def _enter(self, age: int) -> int:
        """Wait for a slot, behind the older ones; return its number among all that had one."""
        ticket = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (age, next(self._ages), ticket))
        self._let_in()
        try:
            await ticket
        except asyncio.CancelledError:
            if not ticket.cancelled():
                self._leave()
            raise
        self._started += 1
        return self._started

    def _let_in(self) -> None:
        while self._waiting and self._busy < min(int(self.limit) + self._stalled, self.most):
            _, _, ticket = heappop(self._waiting)
            if not ticket.done():
                ticket.set_result(None)
                self._busy += 1

    def _leave(self) -> None:
        self._busy -= 1
        self._let_in()

    @contextmanager
    def _stalling(self) -> Iterator[None]:
        """Count a request as stalled from when it takes far longer than they usually do."""
        stalled = False

        def stall() -> None:
            nonlocal stalled
            stalled = True
            self._stalled += 1
            self._let_in()

        loop = asyncio.get_running_loop()
        begun, usual = loop.time(), self._usual_seconds
        timer = loop.call_later(STALLED * usual if usual else LONGEST_PAUSE, stall)
        try:
            yield
            taken = loop.time() - begun
            self._usual_seconds += SHARE_OF_USUAL * (min(taken, STALLED * usual) - usual) if usual else taken
        finally:
            timer.cancel()
            self._stalled -= stalled

    def _slow_down(self, number: int) -> None:
        # Requests that set out before the last cut tell nothing about the new limit.
        if number > max(self._cut_at, self._truce_until):
            self.limit = max(self.limit / 2, 1.0)
            self._cut_at = self._started

    async def _rest(self) -> None:
        """Wait until the last request was a pause ago."""
        now = asyncio.get_running_loop().time()
        left = self._resume_at - now
        self._resume_at = max(self._resume_at, now) + self._pause
        if left > 0:
            await asyncio.sleep(left)

    def _doubt(self) -> None:
        """Go back to the most when being slow did not help; where all is refused, slow is right, or not slow enough."""
        if self._few.asked < self.most or self._many.asked < self.most / 2:
            return
        if MOST_REFUSED > self._few.share > NO_BETTER * self._many.share:
            self.limit = float(self.most)
            self._pause = self._resume_at = 0.0
            self._truce_until = self._started + self._truce
            self._truce *= 2
            self._many = Refusals()
        elif not self._pause and self._few.asked < ROUNDS * self.most:
            return
        elif self._few.for_rate > (LITTLE_REFUSED if self._pause else MOST_FOR_RATE) * self._few.asked:
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
        else:
            self._pause = self._pause * EASING if self._pause > FIRST_PAUSE else 0.0
        self._few = Refusals()

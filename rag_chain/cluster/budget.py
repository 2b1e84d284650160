"""One budget of requests and tokens for the whole job, kept by one process that all others ask."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from rag_chain.models.fireworks.budget import HEARD, TOO_MANY, MinuteBudget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rag_chain.cluster.stages import Actor
    from rag_chain.models.fireworks.budget import Limits

# How soon one that waits looks whether something was given back.
LOOK_SECONDS = 0.2


class BudgetKeeper:
    """The process that keeps the budget; who asks first is served first.

    Started anew after a death it has no account of what was taken, and begins with nothing.
    """

    def __init__(self, limits: Limits) -> None:
        import ray

        again = ray.get_runtime_context().was_current_actor_reconstructed
        self._budget = MinuteBudget(limits, clock=time.monotonic, empty=again)
        self._turn = asyncio.Lock()

    async def take(self, tokens: float, owed: float) -> None:
        """Return when a request of so many tokens may be sent; earlier ones were billed so many more, or less."""
        self._budget.settle(owed)
        async with self._turn:
            while wait := self._budget.take(tokens):  # noqa: ASYNC110  it knows how long, at most
                await asyncio.sleep(min(wait, LOOK_SECONDS))

    async def hear(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from a reply."""
        self._budget.hear(status, headers)

    async def tokens_per_minute(self) -> float:
        """Return the limit at present."""
        return self._budget.tokens_per_minute


class SharedBudget:
    """A process's side of the budget."""

    def __init__(self, keeper: Actor) -> None:
        self._keeper = keeper
        self._heard: dict[str, str] = {}
        self._owed = 0

    async def take(self, tokens: int) -> None:
        """Wait until a request of about so many tokens may be sent."""
        owed, self._owed = self._owed, 0
        await self._keeper.take.remote(tokens, owed)

    def hear(self, status: int, headers: Mapping[str, str]) -> None:
        """Pass on what a reply says about limits, when it is news."""
        said = {name: headers[name] for name in HEARD if name in headers}
        if status == TOO_MANY or said != self._heard:
            self._heard = said
            self._keeper.hear.remote(status, said)

    def settle(self, taken: int, billed: int) -> None:
        """Put right what was taken for a request by what it was billed, when the next one is asked for."""
        self._owed += billed - taken

"""How many requests may be in flight: fewer when the provider is busy, more as it answers again."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from rag_chain.models.fireworks.pace import Pace
from rag_chain.models.fireworks.replies import RetryLaterError


async def ask(pace: Pace, error: Exception | None = None) -> None:
    """Make one request that is answered, or fails."""
    with contextlib.suppress(RetryLaterError):
        async with pace.slots()():
            await asyncio.sleep(0)
            if error:
                raise error


async def ask_at_once(pace: Pace, count: int, error: Exception | None = None) -> None:
    await asyncio.gather(*(ask(pace, error) for _ in range(count)))


class InFlight:
    """Makes requests, and counts the most that were in flight at once."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._now = 0
        self.most = 0

    async def ask(self, seconds: float) -> None:
        """Make a request that takes so long."""
        async with self._pace.slots()():
            self._now += 1
            self.most = max(self.most, self._now)
            await asyncio.sleep(seconds)
            self._now -= 1


def busy() -> RetryLaterError:
    return RetryLaterError("busy", 429)


def test_it_starts_at_the_limit() -> None:
    """All slots are there from the start, and no more than that are held at once."""
    requests = InFlight(Pace(4))

    async def hold_all() -> None:
        await asyncio.gather(*(requests.ask(0.001) for _ in range(20)))

    asyncio.run(hold_all())
    assert requests.most == 4


def test_a_busy_provider_halves_the_limit() -> None:
    """One busy reply halves the number of slots."""
    pace = Pace(8)
    asyncio.run(ask(pace, busy()))
    assert pace.limit == 4


def test_one_storm_counts_once() -> None:
    """Busy replies to requests that were in flight together halve the limit once."""
    pace = Pace(8)
    asyncio.run(ask_at_once(pace, 8, busy()))
    assert pace.limit == 4


def test_one_slot_is_always_left() -> None:
    """However busy the provider is, one request may be made."""
    pace = Pace(8)

    async def storm() -> None:
        for _ in range(10):
            await ask(pace, busy())

    asyncio.run(storm())
    assert pace.limit == 1
    asyncio.run(asyncio.wait_for(ask(Pace(1)), 5))


def test_answers_bring_slots_back() -> None:
    """A round of answers gives about one slot more, until all are back."""
    pace = Pace(8)

    async def storm_then_calm() -> list[float]:
        await ask(pace, busy())
        limits = [pace.limit]
        for _ in range(8):
            await ask_at_once(pace, int(pace.limit))
            limits.append(pace.limit)
        return limits

    limits = asyncio.run(storm_then_calm())
    assert 4.8 < limits[1] <= 5
    assert limits == sorted(limits)
    assert limits[-1] == 8


def test_slowing_down_in_vain_is_given_up() -> None:
    """A provider that refuses every other request, however few there are, is asked as much as may be."""
    pace = Pace(8)

    async def storm() -> list[float]:
        limits = []
        for number in range(400):
            await ask(pace, busy() if number % 2 else None)
            limits.append(pace.limit)
        return limits

    limits = asyncio.run(storm())
    assert min(limits) < 2
    assert sum(limit == 8 for limit in limits) > 200


def test_slowing_down_that_helps_is_kept() -> None:
    """A provider that answers three at a time is not asked much more than it answers."""
    pace, working, sent = Pace(8), 0, 0

    async def ask_three_at_a_time() -> None:
        nonlocal working, sent
        async with pace.slots()():
            sent += 1
            if working >= 3:
                await asyncio.sleep(0.001)
                raise busy()
            working += 1
            await asyncio.sleep(0.005)
            working -= 1

    async def work() -> None:
        for _ in range(40):
            while True:
                try:
                    await ask_three_at_a_time()
                    break
                except RetryLaterError:
                    await asyncio.sleep(0.002)

    async def work_at_once() -> None:
        await asyncio.gather(*(work() for _ in range(16)))

    asyncio.run(work_at_once())
    assert sent < 2 * 640


def test_other_errors_say_nothing_about_the_pace() -> None:
    """An error that is not about load leaves the limit as it is and gives the slot back."""
    pace = Pace(1)

    async def fail_twice() -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match="bad"):
                await ask(pace, ValueError("bad"))

    asyncio.run(asyncio.wait_for(fail_twice(), 5))
    assert pace.limit == 1


def test_a_cancelled_request_gives_its_slot_back() -> None:
    """A request that is cancelled, in its slot or while it waits for one, blocks no other."""
    pace = Pace(1)

    async def cancel_two() -> None:
        never = asyncio.Event()

        async def hold() -> None:
            async with pace.slots()():
                await never.wait()

        tasks = [asyncio.ensure_future(hold()) for _ in range(2)]
        await asyncio.sleep(0)
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await ask(pace)

    asyncio.run(asyncio.wait_for(cancel_two(), 5))


def test_a_stalled_request_holds_up_no_other() -> None:
    """With one slot left, a request that takes far longer than usual lets others pass, one after the other."""
    pace = Pace(3)

    async def stall(until: asyncio.Event) -> None:
        async with pace.slots()():
            await until.wait()

    async def pass_a_stalled_one() -> int:
        await asyncio.gather(InFlight(pace).ask(0.01), InFlight(pace).ask(0.01))
        pace.limit = 1
        never, others = asyncio.Event(), InFlight(pace)
        stalled = asyncio.ensure_future(stall(never))
        await asyncio.sleep(0)
        await asyncio.gather(others.ask(0.01), others.ask(0.01))
        never.set()
        await stalled
        return others.most

    assert asyncio.run(asyncio.wait_for(pass_a_stalled_one(), 5)) == 1


def test_stalled_requests_are_no_more_than_may_be() -> None:
    """Where everything stalls, no more are in flight than ever may be."""
    requests = InFlight(Pace(3))

    async def stall_all() -> None:
        await requests.ask(0.001)
        await asyncio.gather(*(requests.ask(0.02) for _ in range(10)))

    asyncio.run(stall_all())
    assert requests.most == 3


def test_the_oldest_goes_first() -> None:
    """A request that is made again goes before those that came after it."""
    pace, order = Pace(1), []

    async def hold(name: str, times: int) -> None:
        slots = pace.slots()
        for _ in range(times):
            async with slots():
                order.append(name)
                await asyncio.sleep(0)

    async def hold_all() -> None:
        await asyncio.gather(hold("first", 3), *(hold(f"later {number}", 1) for number in range(3)))

    asyncio.run(hold_all())
    assert order == ["first", "later 0", "first", "later 1", "first", "later 2"]

"""The loop in the background: results, errors and endings cross from its thread to the caller's."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain.models.background import BackgroundLoop, open_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]


class Numbers:
    """Counts up, and remembers whether it was ended."""

    def __init__(self, until: int | None = None, error: Exception | None = None) -> None:
        self.until, self.error = until, error
        self.ended = threading.Event()

    async def count(self) -> AsyncIterator[int]:
        number = 0
        try:
            while number != self.until:
                yield number
                number += 1
                await asyncio.sleep(0.001)
            if self.error:
                raise self.error
        finally:
            self.ended.set()


async def double(number: int) -> int:
    await asyncio.sleep(0.001)
    return 2 * number


async def fail() -> None:
    raise ValueError("bad")


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)


def test_there_is_one_loop() -> None:
    """Everyone in a process gets the same loop, also threads that ask for it at the same moment."""
    done = run(
        """
        from concurrent.futures import ThreadPoolExecutor
        from threading import Barrier
        from rag_chain.models.background import open_loop

        def open_together(barrier):
            barrier.wait()
            return open_loop()

        with ThreadPoolExecutor(8) as pool:
            print(len(set(pool.map(open_together, [Barrier(8)] * 8))))
        """
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_work_runs_in_one_other_thread() -> None:
    """Work of several threads runs in one thread that is none of theirs."""
    with ThreadPoolExecutor(2) as pool:
        threads = set(pool.map(lambda _: open_loop().wait(thread()), range(4)))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_results_and_errors_come_back() -> None:
    """The caller gets the result or the exception of its work, sync and async."""
    loop = open_loop()
    assert loop.wait(double(1)) == asyncio.run(loop.join(double(1))) == 2
    with pytest.raises(ValueError, match="bad"):
        loop.wait(fail())
    with pytest.raises(ValueError, match="bad"):
        asyncio.run(loop.join(fail()))


def test_a_cancelled_caller_cancels_its_work() -> None:
    """When the caller's task is cancelled, its work on the loop is."""
    begun, cancelled = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    async def give_up() -> None:
        task = asyncio.ensure_future(open_loop().join(work()))
        await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    assert cancelled.wait(5)


def test_items_come_in_order() -> None:
    """What an async iterator gives is iterated here in its order, sync and async."""
    loop = open_loop()

    async def collect() -> list[int]:
        return [number async for number in loop.aiterate(Numbers(5).count())]

    assert list(loop.iterate(Numbers(5).count())) == asyncio.run(collect()) == [0, 1, 2, 3, 4]


def test_an_error_comes_after_the_items() -> None:
    """An async iterator that fails gives its items first and then its exception, sync and async."""
    here = open_loop().iterate(Numbers(2, ValueError("bad")).count())
    assert [next(here), next(here)] == [0, 1]
    with pytest.raises(ValueError, match="bad"):
        next(here)

    async def read() -> None:
        here = open_loop().aiterate(Numbers(2, ValueError("bad")).count())
        assert [await anext(here), await anext(here)] == [0, 1]
        with pytest.raises(ValueError, match="bad"):
            await anext(here)

    asyncio.run(read())


def test_items_come_one_by_one() -> None:
    """An endless iterator is read as it gives."""
    numbers: Any = open_loop().iterate(Numbers().count())
    assert [next(numbers) for _ in range(3)] == [0, 1, 2]
    numbers.close()


def test_closing_ends_the_iterator() -> None:
    """Closing here ends the async iterator there."""
    numbers = Numbers()
    here: Any = open_loop().iterate(numbers.count())
    next(here)
    here.close()
    assert numbers.ended.wait(5)


def test_an_async_consumer_that_leaves_ends_the_iterator() -> None:
    """Closing an async iteration, or the end of its event loop, ends the async iterator there."""
    closed, forgotten = Numbers(), Numbers()

    async def leave() -> None:
        here: Any = open_loop().aiterate(closed.count())
        await anext(here)
        await here.aclose()
        async for _ in open_loop().aiterate(forgotten.count()):
            break

    asyncio.run(leave())
    assert closed.ended.wait(5)
    assert forgotten.ended.wait(5)


def test_nothing_begins_before_the_first_item_is_asked_for() -> None:
    """An iteration that nobody begins asks for nothing."""
    begun = threading.Event()

    async def items() -> AsyncIterator[int]:
        begun.set()
        yield 0

    here: Any = open_loop().iterate(items())
    here.close()
    assert open_loop().wait(double(1)) == 2
    assert not begun.is_set()


async def thread() -> int:
    return threading.get_ident()


class Connection:
    """Remembers on which thread it was closed."""

    closed_in = 0

    async def aclose(self) -> None:
        self.closed_in = threading.get_ident()


def test_a_running_loop_can_be_adopted() -> None:
    """Within, the work of all threads is done by the loop that runs, and clients are closed with it; then elsewhere."""
    loop, connection, here = BackgroundLoop(), Connection(), threading.get_ident()
    loop.attach(connection)

    async def live() -> None:
        async with loop.adopted():
            assert await loop.join(thread()) == here
            assert await asyncio.to_thread(lambda: loop.wait(thread())) == here
            assert [number async for number in loop.aiterate(Numbers(3).count())] == [0, 1, 2]
            assert await asyncio.to_thread(lambda: list(loop.iterate(Numbers(3).count()))) == [0, 1, 2]
        assert connection.closed_in == here
        assert await loop.join(thread()) != here

    asyncio.run(live())


def test_a_loop_that_runs_is_not_exchanged() -> None:
    """Clients that are connected on a loop stay on it."""
    loop, connection = BackgroundLoop(), Connection()
    loop.attach(connection)
    before = loop.wait(thread())

    async def live() -> int:
        async with loop.adopted():
            return await loop.join(thread())

    assert asyncio.run(live()) == before == loop.wait(thread())
    assert not connection.closed_in


def test_an_adopted_loop_does_not_wait_for_itself() -> None:
    """What would stand still for ever raises."""
    loop = BackgroundLoop()

    async def live() -> None:
        async with loop.adopted():
            work, numbers = double(1), Numbers(1).count()
            with pytest.raises(RuntimeError, match="async form"):
                loop.wait(work)
            with pytest.raises(RuntimeError, match="async form"):
                next(iter(loop.iterate(numbers)))
            work.close()

    asyncio.run(live())


def test_streams_on_an_adopted_loop_end_as_others_do(caplog: pytest.LogCaptureFixture) -> None:
    """Errors come after the items, closing ends the iterator, and an error that nobody waits for is not logged."""
    loop, closed, failing = BackgroundLoop(), Numbers(), Numbers(1, ValueError("unread"))

    async def live() -> None:
        async with loop.adopted():
            here: Any = loop.aiterate(Numbers(2, ValueError("bad")).count())
            assert [await anext(here), await anext(here)] == [0, 1]
            with pytest.raises(ValueError, match="bad"):
                await anext(here)
            here = loop.aiterate(closed.count())
            await anext(here)
            await here.aclose()
            await asyncio.sleep(0.01)
            assert closed.ended.is_set()
            here = loop.aiterate(failing.count())
            await anext(here)
            await asyncio.sleep(0.05)
            await here.aclose()

    asyncio.run(live())
    gc.collect()
    assert failing.ended.is_set()
    assert not caplog.records


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_loop_of_its_own() -> None:
    """A child that was forked when the loop was in use has one that works."""
    done = run(
        """
        import asyncio, os
        from rag_chain.models.background import open_loop

        open_loop().wait(asyncio.sleep(0))
        child = os.fork()
        if child == 0:
            open_loop().wait(asyncio.sleep(0))
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_a_program_ends_with_work_under_way() -> None:
    """Unfinished work and open clients do not keep a program from ending, in silence."""
    done = run(
        """
        import asyncio
        from rag_chain.models.background import open_loop
        from rag_chain.models.fireworks.client import FireworksClient
        from tests.fireworks_server import FireworksServer

        async def numbers():
            for number in range(10**9):
                yield number
                await asyncio.sleep(0)

        with FireworksServer() as server:
            client = FireworksClient(server.base, server.key, timeout=5)
            body = {"model": "nomic-ai/nomic-embed-text-v1.5", "input": ["a"]}
            client.loop.wait(client.post("/embeddings", body))
            items = open_loop().iterate(numbers())
            print(next(items))
            open_loop().submit(asyncio.sleep(60))
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")

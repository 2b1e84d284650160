"""One event loop for the network, so that sync and async callers share one client."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakSet

from rag_chain.tasks import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from concurrent.futures import Future

T = TypeVar("T")

# A cache alone would open two loops for two threads that come at once.
_OPENING = threading.Lock()


class Client(Protocol):
    """What holds connections on a loop."""

    async def aclose(self) -> None:
        """Close them."""


class StreamScope:
    """The streams that were started for one reader; entering it makes it the current one.

    Found through a context variable, because LangChain hands its own context, and nothing of
    ours, from step to step and from thread to thread.
    """

    def __init__(self) -> None:
        self._futures: list[Future[None] | asyncio.Future[None]] = []
        self._cancelled = False
        self._token: Token[StreamScope | None] | None = None
        self._around: StreamScope | None = None

    def __enter__(self) -> None:
        self._around = _scope.get()
        self._token = _scope.set(self)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _scope.reset(self._token)

    def add(self, future: Future[None] | asyncio.Future[None]) -> None:
        """Count a stream in, here and in the scopes around this one; one that comes too late ends at once."""
        if self._around is not None:
            self._around.add(future)
        if self._cancelled:
            future.cancel()
        else:
            self._futures.append(future)

    def cancel(self) -> None:
        """End all streams: their readers see a normal end."""
        self._cancelled = True
        # Let go: a stream's context holds this scope, and what holds itself is left to the garbage collector.
        while self._futures:
            self._futures.pop().cancel()


_scope: ContextVar[StreamScope | None] = ContextVar("rag_chain_streams", default=None)


class BackgroundLoop:
    """An event loop that runs from its first use for as long as the process does.

    A network client bound to it serves every thread and every event loop of the application, and
    its connections survive a second ``asyncio.run``. It has a thread of its own, unless a loop that runs
    already was :meth:`adopted` before.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()
        self._clients: WeakSet[Client] = WeakSet()

    @asynccontextmanager
    async def adopted(self) -> AsyncIterator[None]:
        """Have the running loop do the work, within; the clients that did it there are closed in the end.

        So a server's streams need not go from thread to thread. Where there is a loop already, it stays.
        """
        with self._starting:
            own = self._loop is None
            self._loop = self._loop or asyncio.get_running_loop()
        try:
            yield
        finally:
            if own:
                await asyncio.gather(*(client.aclose() for client in self._clients))
                self._loop = None

    def attach(self, client: Client) -> None:
        """Close a client with the loop, if it lives as long."""
        self._clients.add(client)

    def close(self, client: Client) -> None:
        """Close a client, from any thread and without waiting."""
        if self._loop is not None:
            self.submit(client.aclose())

    def submit(self, work: Coroutine[object, object, T]) -> Future[T]:
        """Start work on the loop and return its future."""
        with self._starting:
            self._loop = self._loop or _run_in_thread()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[object, object, T]) -> T:
        """Run work on the loop and wait for it here; an interrupt here cancels it there."""
        self._refuse_here()
        future = self.submit(work)
        try:
            return future.result()
        finally:
            future.cancel()

    async def join(self, work: Coroutine[object, object, T]) -> T:
        """Run work on the loop and await it in the caller's own; cancellation is passed on."""
        return await (work if self._is_here() else asyncio.wrap_future(self.submit(work)))

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield what an async iterator gives on the loop; closing this closes that one."""
        self._refuse_here()
        received: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        future: Future[None] = self.submit(_drain(items, received.put))
        future.add_done_callback(lambda _: received.put(None))
        _count_in(future)
        try:
            while (item := received.get()) is not None:
                yield item
            if not future.cancelled():
                future.result()
        finally:
            future.cancel()

    async def aiterate(self, items: AsyncIterator[T]) -> AsyncIterator[T]:
        """Yield, in the caller's loop, what an async iterator gives on this one."""
        received: asyncio.Queue[T | None] = asyncio.Queue()
        future = self._drain_here(items, received) if self._is_here() else self._drain_there(items, received)
        _count_in(future)
        try:
            while (item := await received.get()) is not None:
                yield item
            if not future.cancelled():
                future.result()
        finally:
            future.cancel()

    def _drain_here(self, items: AsyncIterator[T], received: asyncio.Queue[T | None]) -> asyncio.Future[None]:
        """Read in a task, which can be ended while its reader is waiting for something else."""
        task = start(_drain(items, received.put_nowait))
        task.add_done_callback(lambda _: received.put_nowait(None))
        return task

    def _drain_there(self, items: AsyncIterator[T], received: asyncio.Queue[T | None]) -> Future[None]:
        own = asyncio.get_running_loop()
        future = self.submit(_drain(items, lambda item: _hand_over(own, received, item)))
        future.add_done_callback(lambda _: _hand_over(own, received, None))
        return future

    def _is_here(self) -> bool:
        """Return whether the caller is on this loop."""
        try:
            return self._loop is asyncio.get_running_loop()
        except RuntimeError:
            return False

    def _refuse_here(self) -> None:
        if self._is_here():
            raise RuntimeError("a loop can't wait for its own work: use the async form in async code")


def _run_in_thread() -> asyncio.AbstractEventLoop:
    loop = _new_loop()
    threading.Thread(target=loop.run_forever, name="rag_chain network", daemon=True).start()
    return loop


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop, one in C where the ``serve`` extra brought it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _count_in(future: Future[None] | asyncio.Future[None]) -> None:
    if (scope := _scope.get()) is not None:
        scope.add(future)


async def _drain(items: AsyncIterator[T], put: Callable[[T], None]) -> None:
    async for item in items:
        put(item)


def _hand_over(loop: asyncio.AbstractEventLoop, received: asyncio.Queue[T | None], item: T | None) -> None:
    # The consumer's loop may have ended before this one notices.
    if not loop.is_closed():
        loop.call_soon_threadsafe(received.put_nowait, item)


def open_loop() -> BackgroundLoop:
    """Return this process's background loop; a forked child gets one of its own."""
    with _OPENING:
        return _loop_of(os.getpid())


@cache
def _loop_of(_process: int) -> BackgroundLoop:
    return BackgroundLoop()

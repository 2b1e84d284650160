"""Work on documents in processes of their own: on all cores, and where a hang, a crash or a bomb harms no other.

A parser of foreign files may run for ever, end its process, or fill the memory. Here that costs the
document its place and nothing else.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from rag_chain.errors import DocumentError, in_brief

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from typing_extensions import Self

logger = logging.getLogger(__name__)

# A process takes 0.6 s to start; with less to read it would not be ready before all is read.
WORTH_BYTES = 1_000_000
# Beyond this more readers than one writer can use.
MOST_WORKERS = 4
# What is handed over at once: enough not to notice the handing over, little enough to keep everyone busy.
GROUP_BYTES, GROUP_TASKS = 100_000, 16
GROUPS_AHEAD = 2 * MOST_WORKERS
# Larger ones are worked on here, where that is safe: their texts would be in memory several times.
LARGE_BYTES = 4_000_000
# How often a process looks whether its owner is still there.
WATCH_SECONDS = 0.5
# A crash is told in one line by the owner, and not in a hundred by its victim; what is freed is given back at once.
_ENVIRONMENT = {"PYTHONFAULTHANDLER": "", "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}


class Task(Protocol):
    """What can be worked on here or in another process."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def needs_process(self) -> bool:
        """Whether a parser works on it that may hang, crash or fill the memory."""

    def portable(self) -> Self:
        """Return it as something that can be sent to another process; ``DocumentError`` when it can't be read."""


@dataclass(frozen=True)
class Bounds:
    """What one document may take: seconds, and megabytes beyond what the process has at its start (Linux only)."""

    seconds: float = 60.0
    megabytes: int = 400


T = TypeVar("T", bound=Task)
R = TypeVar("R")


def count_workers(asked: int | None) -> int:
    """Return how many processes there may be: what was asked, else as many as there are cores to spare, but one."""
    return max(1, min(_cores() - 1, MOST_WORKERS)) if asked is None else asked


class Workers(Generic[T, R]):
    """Processes that do ``work`` on groups of tasks; ``refuse`` makes a result of the reason why there is none.

    They start when they are first needed, or at :meth:`start`. With ``count`` 0 there are none, and
    everything is done here, without bounds. ``work`` must be something that can be pickled.
    """

    def __init__(
        self, work: Callable[[T], R], refuse: Callable[[str], R], *, count: int = 1, bounds: Bounds | None = None
    ) -> None:
        self._work = work
        self._refuse = refuse
        self._count = count
        self._bounds = bounds or Bounds()
        self._pool: Any = None
        self._ready: Future[None] | None = None
        self._waiting: deque[tuple[list[T], Future[list[R]] | None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes, which takes a while in which other things can be done."""
        if self._pool is not None or not self._count:
            return
        # Unlike the standard library's, these processes do not run the caller's script again.
        from loky import ProcessPoolExecutor

        begin = (os.getpid(), self._bounds.megabytes, self._work)
        try:
            self._pool = ProcessPoolExecutor(self._count, initializer=_begin, initargs=begin, env=_ENVIRONMENT)
            self._ready = self._pool.submit(_be_there)
        except OSError as error:  # such as no shared memory in a container
            logger.warning("documents are read in this process, since no other can be started: %s", error)
            self._pool, self._count = None, 0

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        if self._pool is not None:
            self._pool.shutdown(kill_workers=True)
            self._pool = self._ready = None

    def map(self, tasks: Iterable[T]) -> Generator[R, None, None]:
        """Yield what each task gives, in order; at most a few groups are worked on ahead."""
        for group in group_tasks(tasks):
            if self._is_for_others(group):
                self._waiting.append((group, self._send(group)))
            else:
                yield from self._collect(0)
                yield from map(self._work, group)
            yield from self._collect(GROUPS_AHEAD)
        yield from self._collect(0)

    def _is_for_others(self, group: list[T]) -> bool:
        """Return whether a group is sent away: where it must be, and where others are ready and it is not too large."""
        if group[0].needs_process:
            self.start()
            return self._count > 0
        ready = self._ready is not None and self._ready.done() and self._ready.exception() is None
        return ready and sum(task.size for task in group) <= LARGE_BYTES

    def _send(self, group: Sequence[T]) -> Future[list[R]] | None:
        """Send a group to the processes; None when they have died."""
        carried = [_carry(task) for task in group]
        try:
            future: Future[list[R]] = self._pool.submit(_do, carried, self._work, self._refuse)
        except RuntimeError as error:  # broken, or shut down since
            logger.info("processes are started anew: %s", error)
            return None
        return future

    def _collect(self, left: int) -> Iterator[R]:
        """Yield results until so many groups are left."""
        while len(self._waiting) > left:
            group, future = self._waiting.popleft()
            if future is not None and self._wait(future) is None:
                yield from future.result()
            else:
                self.close()
                yield from map(self._do_alone, group)

    def _do_alone(self, task: T) -> R:
        """Have a task done that may be the one that took a process along; if it was, refuse it."""
        self.start()
        future = self._send([task]) if self._count else None
        if future is None:
            return self._work(task) if not task.needs_process else self._refuse("no process can be started for it")
        error = self._wait(future)
        if error is None:
            return future.result()[0]
        self.close()
        return self._refuse(self._explain(error))

    def _wait(self, future: Future[Any]) -> BaseException | None:
        """Return what went wrong, if anything; the time counts from when the processes have started."""
        try:
            if self._ready is not None:
                self._ready.exception()
            return future.exception(self._bounds.seconds)
        except (FutureTimeoutError, CancelledError) as error:
            return error

    def _explain(self, error: BaseException) -> str:
        if isinstance(error, FutureTimeoutError):
            return f"reading it took over {self._bounds.seconds:g} s; RAG_DOCUMENT_SECONDS raises the limit"
        if isinstance(error, BrokenProcessPool | MemoryError):
            return (
                f"its parser crashed, or needed over {self._bounds.megabytes:,} MB; "
                "RAG_DOCUMENT_MEGABYTES raises the limit"
            )
        return f"its parser failed: {type(error).__name__}: {in_brief(error)}"


def group_tasks(tasks: Iterable[T], times: int = 1) -> Iterator[list[T]]:
    """Yield the tasks in groups to be handed over at once, those that need a process apart from the others.

    Groups are so many ``times`` as large where handing over is dearer.
    """
    group: list[T] = []
    size = 0
    for task in tasks:
        full = len(group) >= times * GROUP_TASKS or size + task.size > times * GROUP_BYTES
        if group and (full or task.needs_process != group[0].needs_process):
            yield group
            group, size = [], 0
        group.append(task)
        size += task.size
    if group:
        yield group


def _carry(task: T) -> T | DocumentError:
    """Return the task with its bytes where they can't be read from elsewhere, such as from an open archive."""
    try:
        return task.portable()
    except DocumentError as error:
        return error


def _do(tasks: Sequence[T | DocumentError], work: Callable[[T], R], refuse: Callable[[str], R]) -> list[R]:
    return [refuse(str(task)) if isinstance(task, DocumentError) else work(task) for task in tasks]


def _begin(owner: int, megabytes: int, _work: object) -> None:
    """Prepare a process; that ``work`` was sent here has imported what it needs."""
    # Interrupts are for the owner. When that one is killed, nothing else tells a process of the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        threading.Thread(target=_watch_owner, args=(owner,), daemon=True).start()
    if sys.platform == "linux":
        _bound_memory(megabytes)


def _watch_owner(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _bound_memory(megabytes: int) -> None:
    import resource

    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + megabytes * 1_000_000
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _be_there() -> None:
    """Do nothing but be done: the processes have started."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

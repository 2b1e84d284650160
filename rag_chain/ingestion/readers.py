"""Read documents ahead, in processes of their own: Python parses one text at a time in each."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rag_chain.errors import DocumentError
from rag_chain.ingestion.reading import Reading, read_document

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from typing_extensions import Self

    from rag_chain.ingestion.plan import Work
    from rag_chain.ingestion.reading import Steps

logger = logging.getLogger(__name__)

# A process takes 0.6 s to start; below this it would not be ready before all is read.
WORTH_BYTES = 1_000_000
# Beyond this more readers than one writer can use.
MOST_READERS = 4
# What is handed over at once: enough not to notice the handing over, little enough to keep everyone busy.
GROUP_BYTES, GROUP_DOCUMENTS = 100_000, 16
GROUPS_AHEAD = 2 * MOST_READERS
# Larger ones are read here: their bytes would be in memory several times.
LARGE_BYTES = 4_000_000
# How often a reader looks whether its owner is still there.
WATCH_SECONDS = 0.5


def count_readers(asked: int | None) -> int:
    """Return how many processes are to read: what was asked, else as many as there are cores to spare."""
    return min(_cores() - 1, MOST_READERS) if asked is None else asked


class Readers:
    """Processes that read groups of documents; what they can't take, or die of, is read in this one.

    Starting them takes a while in which other things can be done. With ``count`` 0 there are none.
    """

    def __init__(self, steps: Steps, count: int = 0) -> None:
        self._steps = steps
        self._waiting: deque[tuple[list[Work], Future[list[Reading]]]] = deque()
        self._pool: Any = None
        self._ready: Future[None] | None = None
        if count:
            self._pool, self._ready = _start(steps, count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        if self._pool is not None:
            self._pool.shutdown(kill_workers=True)

    def read(self, works: Iterable[Work]) -> Generator[Reading, None, None]:
        """Yield what reading each document gives, in order; at most a few groups are read ahead."""
        for group in _groups(works):
            if not self._hand_over(group):
                yield from self._collect(0)
                yield from self._read_here(group)
            yield from self._collect(GROUPS_AHEAD)
        yield from self._collect(0)

    def _hand_over(self, group: list[Work]) -> bool:
        """Give a group to the readers; not while they are starting, when they are dead, or if it is too large."""
        large = sum(work.file.size for work in group) > LARGE_BYTES
        if large or self._ready is None or not self._ready.done() or self._ready.exception() is not None:
            return False
        try:
            future = self._pool.submit(_read_group, [_take_along(work) for work in group], self._steps)
        except BrokenProcessPool:
            return False
        self._waiting.append((group, future))
        return True

    def _collect(self, left: int) -> Iterator[Reading]:
        """Yield what the readers have read, until so many groups are left with them."""
        while len(self._waiting) > left:
            group, future = self._waiting.popleft()
            try:
                yield from future.result()
            except BrokenProcessPool as error:
                logger.warning("a reading process has died (%s): reading on in this one", error)
                yield from self._read_here(group)

    def _read_here(self, group: list[Work]) -> Iterator[Reading]:
        return (read_document(work, self._steps) for work in group)


def _start(steps: Steps, count: int) -> tuple[Any, Future[None] | None]:
    """Start processes; return their pool and what tells when they are ready, nothing where none can be started."""
    # Unlike the standard library's, these processes do not run the caller's script again.
    from loky import ProcessPoolExecutor

    try:
        pool = ProcessPoolExecutor(count, initializer=_follow_owner, initargs=(os.getpid(),))
        return pool, pool.submit(_import_all, steps)
    except OSError as error:  # such as no shared memory in a container
        logger.info("documents are read in this process, since others can't be started: %s", error)
        return None, None


def _groups(works: Iterable[Work]) -> Iterator[list[Work]]:
    group: list[Work] = []
    size = 0
    for work in works:
        if group and (len(group) >= GROUP_DOCUMENTS or size + work.file.size > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(work)
        size += work.file.size
    if group:
        yield group


def _take_along(work: Work) -> Work | DocumentError:
    """Return the work with its bytes read, since an open archive can't be handed to another process."""
    try:
        return replace(work, file=work.file.in_memory())
    except DocumentError as error:
        return error


def _read_group(works: Sequence[Work | DocumentError], steps: Steps) -> list[Reading]:
    return [
        Reading(reason=str(work)) if isinstance(work, DocumentError) else read_document(work, steps) for work in works
    ]


def _follow_owner(owner: int) -> None:
    """Leave interrupts to the owner, and end when that one was killed: nothing else tells a process of the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        threading.Thread(target=_watch_owner, args=(owner,), daemon=True).start()


def _watch_owner(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _import_all(steps: Steps) -> None:
    """Do nothing but be found: unpickling the steps has imported what they need."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

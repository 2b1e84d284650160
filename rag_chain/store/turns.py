"""One ingest into a collection, or repair of it, at a time: each plans from what it finds there."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rag_chain.store.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filelock import BaseFileLock

    from rag_chain.store.connection import Connection

logger = logging.getLogger(__name__)

_turns: defaultdict[tuple[str, str, str], threading.Lock] = defaultdict(threading.Lock)


class Turn(Protocol):
    """What is taken, held and given back."""

    def take(self) -> None:
        """Wait for it."""

    def try_take(self) -> bool:
        """Take it if it is free; return whether it was."""

    def release(self) -> None:
        """Give it back."""

    def check(self) -> None:
        """Raise ``StoreLockedError`` when somebody else has it by now."""


@contextmanager
def take_turn(milvus: Connection, collection: str) -> Iterator[Callable[[], None]]:
    """Wait for other ingests into this collection to end; gives what raises when the turn was lost.

    On Milvus Lite, which must be open, those are the ingests of all processes of this machine, on a
    server those of all processes that share it. A process that is killed leaves its turn to the next
    one: at once on the same machine, else after half a minute.
    """
    turn = _build(milvus, collection)
    if not turn.try_take():
        logger.warning("another ingest into %r, or its doctor, is running: waiting for it to end", collection)
        turn.take()
    try:
        yield turn.check
    finally:
        turn.release()


@contextmanager
def try_turn(milvus: Connection, collection: str) -> Iterator[bool]:
    """Take the turn if nobody has it, without waiting; gives whether it was free."""
    turn = _build(milvus, collection)
    free = turn.try_take()
    try:
        yield free
    finally:
        if free:
            turn.release()


def _build(milvus: Connection, collection: str) -> Turn:
    from filelock import FileLock

    address = milvus.address
    if address.is_lite:
        return _FileTurn(FileLock(Path(address.uri) / f"{collection}.ingest.lock", thread_local=False))
    return _ServerTurn(_turns[address.uri, address.database, collection], milvus, collection)


class _FileTurn:
    """The turn on a Milvus Lite path: a lock that the system gives back when its holder ends."""

    def __init__(self, lock: BaseFileLock) -> None:
        self._lock = lock

    def take(self) -> None:
        self._lock.acquire()

    def try_take(self) -> bool:
        from filelock import Timeout

        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        self._lock.release()

    def check(self) -> None:
        """Raise nothing: while it is held it can't be lost."""


class _ServerTurn:
    """The turn on a server: first among the threads of this process, then among all processes."""

    def __init__(self, lock: threading.Lock, milvus: Connection, collection: str) -> None:
        self._lock = lock
        self._milvus, self._collection = milvus, collection
        self._lease = Lease(milvus, collection)

    def take(self) -> None:
        self._lock.acquire()
        try:
            self._lease.take()
        except BaseException:
            self._lock.release()
            raise

    def try_take(self) -> bool:
        if not self._lock.acquire(blocking=False):
            return False
        free = False
        try:
            free = self._lease.try_take()
        finally:
            if not free:
                self._lock.release()
        return free

    def release(self) -> None:
        try:
            self._lease.release()
        finally:
            self._lock.release()

    def check(self) -> None:
        self._lease.check()

"""One ingest into a collection, or repair of it, at a time: each plans from what it finds there."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import BaseFileLock

    from rag_chain.store.links import Address

logger = logging.getLogger(__name__)

_turns: defaultdict[tuple[str, str, str], threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def take_turn(address: Address, collection: str) -> Iterator[None]:
    """Wait for other ingests into this collection to end.

    On Milvus Lite, which must be open, those of all processes of this machine; on a server those of
    this process only. A process that is killed leaves its turn to the next one.
    """
    turn = _find(address, collection)
    if not _try(turn):
        logger.warning("another ingest into %r, or its doctor, is running: waiting for it to end", collection)
        turn.acquire()
    try:
        yield
    finally:
        turn.release()


@contextmanager
def try_turn(address: Address, collection: str) -> Iterator[bool]:
    """Take the turn if nobody has it, without waiting; gives whether it was free."""
    turn = _find(address, collection)
    free = _try(turn)
    try:
        yield free
    finally:
        if free:
            turn.release()


def _find(address: Address, collection: str) -> BaseFileLock | threading.Lock:
    from filelock import FileLock

    if address.is_lite:
        return FileLock(Path(address.uri) / f"{collection}.ingest.lock", thread_local=False)
    return _turns[address.uri, address.database, collection]


def _try(turn: BaseFileLock | threading.Lock) -> bool:
    from filelock import Timeout

    try:
        return bool(turn.acquire(blocking=False))
    except Timeout:
        return False

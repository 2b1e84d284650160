"""Work that goes on beside its starter, and may be given up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")


def start(work: Awaitable[T]) -> asyncio.Future[T]:
    """Start work on the running loop; an error of it that nobody waits for any more is not logged as forgotten."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_look)
    return task


def _look(done: asyncio.Future[T]) -> None:
    if not done.cancelled():
        done.exception()

"""Work that was started and given up ends in silence; work that is waited for gives what it gives."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from rag_chain.tasks import start

if TYPE_CHECKING:
    import logging


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("bad")


def test_results_and_errors_come_to_who_waits() -> None:
    """A task that was started gives its result or its error."""

    async def wait() -> int:
        with pytest.raises(ValueError, match="bad"):
            await start(fail())
        return await start(double(2))

    assert asyncio.run(wait()) == 4


@pytest.mark.parametrize("cancelled", [True, False])
def test_an_error_that_nobody_waits_for_is_not_logged(cancelled: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Asyncio's "never retrieved" would blame who gave up."""

    async def give_up() -> None:
        task = start(fail())
        if cancelled:
            task.cancel()
        await asyncio.wait({task})

    asyncio.run(give_up())
    gc.collect()
    records: list[logging.LogRecord] = caplog.records
    assert not records

"""Progress bars, on a terminal only."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rag_chain.ingestion.run import Progress


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """Give a callback that shows documents, chunks and tokens per second."""
    from tqdm import tqdm

    with tqdm(desc="documents", unit="doc", disable=not sys.stderr.isatty(), leave=False, file=sys.stderr) as bar:

        def show(progress: Progress) -> None:
            seconds = bar.format_dict["elapsed"] or 1.0
            bar.total, bar.n = progress.total, progress.documents
            bar.set_postfix_str(f"{progress.chunks:,} chunks, {progress.tokens / seconds:,.0f} tokens/s")

        yield show


@contextmanager
def count_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a callback that shows how many of how many are done."""
    with stage_bar(what) as show:
        yield partial(show, what)


@contextmanager
def stage_bar(first: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """Give a callback that shows a stage, and how many of how many are done in it; the first may show before."""
    from tqdm import tqdm

    with tqdm(desc=first or None, unit="", disable=not sys.stderr.isatty(), leave=False, file=sys.stderr) as bar:
        shown = first

        def show(stage: str, done: int, total: int) -> None:
            nonlocal shown
            if stage != shown:
                shown = stage
                bar.reset(total)
                bar.set_description(stage)
            bar.total = total
            bar.update(done - bar.n)

        yield show

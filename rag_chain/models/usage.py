"""What the models were asked and what that took: for a process as a whole, and for one question."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Usage:
    """Requests that were sent, how many of them again, and tokens by what they were for."""

    requests: int = 0
    retries: int = 0
    tokens: Counter[str] = field(default_factory=Counter)

    @property
    def prompt_tokens(self) -> int:
        """Tokens that the chat model read."""
        return self.tokens["prompt"]

    @property
    def completion_tokens(self) -> int:
        """Tokens that the chat model wrote."""
        return self.tokens["completion"]


# Everything since the process began.
TOTAL = Usage()

# LangChain hands a context, and nothing of ours, from step to step and from thread to thread.
_tally: ContextVar[Usage | None] = ContextVar("rag_chain_usage", default=None)


@contextmanager
def tallied() -> Iterator[Usage]:
    """Count what is asked from here on, in this context and those started from it, apart as well."""
    usage = Usage()
    token = _tally.set(usage)
    try:
        yield usage
    finally:
        _tally.reset(token)


def count_request(*, again: bool) -> None:
    """Count a request that is being sent."""
    for usage in _counted():
        usage.requests += 1
        usage.retries += again


def count_tokens(kind: str, number: int) -> None:
    """Count tokens: ``embedding``, ``prompt``, ``cached`` (of the prompt) or ``completion``."""
    for usage in _counted():
        usage.tokens[kind] += number


def _counted() -> tuple[Usage, ...]:
    tally = _tally.get()
    return (TOTAL,) if tally is None else (TOTAL, tally)

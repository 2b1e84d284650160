"""How long an embedding takes at the provider's limits and at the pace of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_chain.settings import Provider

# Chunks a second of whole runs, from files into Milvus Lite, measured on two cores in November 2026:
# 41 of 120 tokens with all-MiniLM-L6-v2 (int8) ...
LOCAL_PACE = 40
# ... and 1,100 to 1,600, of 310 tokens and 768 dimensions, from Fireworks' API imitated on loopback.
FIREWORKS_PACE = 1100


@dataclass(frozen=True)
class Estimate:
    """About how many minutes it takes, and what keeps it from being faster."""

    minutes: float
    limited_by: str


def estimate_embedding(
    *,
    chunks: int,
    requests: int,
    tokens: int,
    provider: Provider,
    requests_per_minute: int,
    tokens_per_minute: int,
) -> Estimate:
    """Return the longest of what each limit asks for, in minutes of two digits; local models have no provider's."""
    minutes = limit_minutes(
        chunks=chunks,
        requests=requests,
        tokens=tokens,
        provider=provider,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    limit = max(minutes, key=minutes.__getitem__)
    return Estimate(float(f"{minutes[limit]:.2g}"), limit)


def limit_minutes(
    *,
    chunks: int,
    requests: int,
    tokens: int,
    provider: Provider,
    requests_per_minute: int,
    tokens_per_minute: int,
) -> dict[str, float]:
    """Return the minutes that each limit asks for, if it were the only one."""
    pace = LOCAL_PACE if provider == "local" else FIREWORKS_PACE
    minutes = {"this machine": chunks / pace / 60}
    if provider != "local":
        minutes["requests per minute"] = requests / requests_per_minute
        minutes["tokens per minute"] = tokens / tokens_per_minute
    return minutes

"""How long an embedding takes: the slowest of the provider's limits and this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_chain.ingestion.estimate import FIREWORKS_PACE, LOCAL_PACE, Estimate, estimate_embedding

if TYPE_CHECKING:
    from rag_chain.settings import Provider


def estimate(
    chunks: int, requests: int, tokens: int, *, provider: Provider = "fireworks", rpm: int = 6000, tpm: int = 27_000_000
) -> Estimate:
    """Return the estimate at the default limits."""
    return estimate_embedding(
        chunks=chunks,
        requests=requests,
        tokens=tokens,
        provider=provider,
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
    )


@pytest.mark.parametrize(
    ("work", "rpm", "tpm", "expected"),
    [
        ((1000, 16, 270_000), 10, 27_000_000, Estimate(1.6, "requests per minute")),
        ((1000, 16, 270_000), 6000, 90_000, Estimate(3.0, "tokens per minute")),
        ((FIREWORKS_PACE * 600, 1, 1), 6000, 27_000_000, Estimate(10.0, "this machine")),
        ((0, 0, 0), 10, 90_000, Estimate(0.0, "this machine")),
    ],
)
def test_the_slowest_limit_counts(work: tuple[int, int, int], rpm: int, tpm: int, expected: Estimate) -> None:
    """The minutes are those of the limit that is named."""
    assert estimate(*work, rpm=rpm, tpm=tpm) == expected


def test_a_local_model_has_no_limits_but_its_pace() -> None:
    """Requests and tokens are nobody's concern."""
    expected = Estimate(5.0, "this machine")
    assert estimate(LOCAL_PACE * 300, 10**6, 10**12, provider="local", rpm=1, tpm=1) == expected


def test_two_digits_are_enough() -> None:
    """An estimate is no more exact than that, whether it takes seconds or hours."""
    assert estimate(1, 123_456, 1).minutes == 21.0
    assert estimate(1, 6_789_000, 1).minutes == 1100.0
    assert estimate(1, 1, 345_678).minutes == 0.013

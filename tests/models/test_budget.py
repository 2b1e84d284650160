"""The budget of requests and tokens that all processes of a job share."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.errors import InvalidRequestError
from rag_chain.models.fireworks.budget import BURST, LIMIT_HEADERS, OVER_HEADER, SECONDS, Limits, MinuteBudget
from rag_chain.models.fireworks.client import FireworksClient
from rag_chain.models.fireworks.embedding_client import FireworksEmbeddingClient
from rag_chain.models.fireworks.replies import RetryLaterError
from tests.fireworks_faults import Status

if TYPE_CHECKING:
    from tests.fireworks_server import FireworksServer

MANY = 1e9


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def spend(budget: MinuteBudget, clock: Clock, requests: list[float]) -> list[tuple[float, float]]:
    """Take one request after the other, waiting as told; return when each was granted."""
    granted = []
    for tokens in requests:
        while wait := budget.take(tokens):
            clock.now += wait
        granted.append((clock.now, tokens))
    return granted


@given(st.lists(st.floats(0, 400), min_size=1, max_size=200), st.floats(1_000, 30_000), st.integers(10, 6_000))
def test_no_minute_has_more_than_the_limit(sizes: list[float], tokens: float, requests: int) -> None:
    """Neither of requests nor of tokens, but for the one request that is larger than a burst."""
    clock = Clock()
    granted = spend(MinuteBudget(Limits(requests, tokens), clock=clock), clock, sizes)
    for start, _ in granted:
        minute = [size for moment, size in granted if start <= moment < start + SECONDS]
        assert len(minute) <= requests + 1
        assert sum(minute) <= tokens + max(sizes) + 1


def test_the_limit_is_reached() -> None:
    """Who always has something to send gets the whole limit in the long run, but for a burst."""
    clock = Clock()
    granted = spend(MinuteBudget(Limits(600, MANY), clock=clock), clock, [1.0] * 1300)
    assert granted[-1][0] == pytest.approx(130 * (SECONDS + BURST) / SECONDS, rel=0.02)


def test_the_header_lowers_the_limit_and_lifts_it_again() -> None:
    """The provider says tokens a second, the smaller of two counts, and the settings' limit stays the most."""
    budget = MinuteBudget(Limits(MANY, 6_000_000), clock=Clock())
    budget.hear(200, {LIMIT_HEADERS[0]: "60000", LIMIT_HEADERS[1]: "15000"})
    assert budget.tokens_per_minute == 900_000
    budget.hear(200, {LIMIT_HEADERS[0]: "900000"})
    assert budget.tokens_per_minute == 6_000_000
    for nonsense in ("", "many", "-1", "nan", "inf", "0"):
        budget.hear(200, {LIMIT_HEADERS[0]: nonsense})
        assert budget.tokens_per_minute == 6_000_000


@pytest.mark.parametrize(("status", "headers"), [(429, {}), (200, {OVER_HEADER: "yes"})])
def test_a_refusal_stops_everybody_for_a_moment(status: int, headers: dict[str, str]) -> None:
    """Then they go on at a part of the rate, which grows back."""
    clock = Clock()
    budget = MinuteBudget(Limits(600, MANY), clock=clock)
    assert budget.take(1) == 0
    budget.hear(status, headers)
    budget.hear(status, headers)
    assert budget.take(1) == 1.0
    spent = spend(budget, clock, [1.0] * 100)
    assert spent[0][0] == 1.0
    assert 100 / spent[-1][0] < 9
    clock.now += 2 * SECONDS
    start = clock.now
    assert 100 / (spend(budget, clock, [1.0] * 110)[-1][0] - start) > 9


def test_retry_after_is_honoured_by_all() -> None:
    """Nobody sends before its seconds have passed, up to a minute."""
    budget = MinuteBudget(Limits(600, MANY), clock=Clock())
    budget.hear(429, {"retry-after": "7"})
    assert budget.take(1) == 7.0
    budget.hear(429, {"retry-after": "7000"})
    assert budget.take(1) == SECONDS


def test_what_was_taken_too_much_is_given_back() -> None:
    """And what was taken too little is taken then; never more than a burst is saved up."""
    budget = MinuteBudget(Limits(MANY, 61_000), clock=Clock())
    assert budget.take(1_000) == 0
    assert budget.take(500) > 0
    budget.settle(-600)
    assert budget.take(500) == 0
    budget.settle(400)
    assert budget.take(100) == pytest.approx(0.4)
    budget.settle(-5_000)
    assert budget.take(1_001) == 0
    assert budget.take(1) > 0


def test_one_that_takes_over_begins_with_nothing() -> None:
    """Who died may have granted everything a moment ago."""
    assert MinuteBudget(Limits(60, MANY), clock=Clock(), empty=True).take(1) == pytest.approx(61 / 60)


class Account:
    """A budget that grants everything and remembers."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.heard: list[tuple[int, str | None]] = []
        self.settled: list[tuple[int, int]] = []

    async def take(self, tokens: int) -> None:
        self.taken.append(tokens)

    def hear(self, status: int, headers: object) -> None:
        self.heard.append((status, dict(headers).get("x-ratelimit-limit-tokens-prompt")))  # type: ignore[call-overload]

    def settle(self, taken: int, billed: int) -> None:
        self.settled.append((taken, billed))


def test_the_client_asks_before_each_attempt_and_tells_what_it_hears(fireworks: FireworksServer) -> None:
    """A refused request is taken twice, and settled once by its bill."""
    fireworks.reply_headers["X-Ratelimit-Limit-Tokens-Prompt"] = "60000"
    fireworks.faults.add("embeddings", Status(429, headers={"Retry-After": "0"}))
    account = Account()
    client = FireworksClient(fireworks.base, fireworks.key, timeout=10)
    model = FireworksEmbeddingClient(client, "nomic-ai/nomic-embed-text-v1.5", budget=account)
    model.embed_documents(["Brown bears sleep through the winter."])
    assert len(account.taken) == 2
    assert account.heard == [(429, "60000"), (200, "60000")]
    assert account.settled == [(account.taken[0], model.usage.tokens)]


@pytest.mark.parametrize("error", [RetryLaterError("busy", 429, 3.0), InvalidRequestError("too long", 413)])
def test_errors_of_the_provider_travel_between_processes(error: RetryLaterError | InvalidRequestError) -> None:
    """With their message, status and all."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))

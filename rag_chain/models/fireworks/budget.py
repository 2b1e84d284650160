"""How much may be sent in a minute: requests and tokens, by the settings and by what the provider's headers say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Tokens a second that the account may send at present; the second counts those only that are not in the prompt
# cache, as all texts of an ingest are (docs.fireworks.ai/serverless/rate-limits). Enforced by the minute.
LIMIT_HEADERS = ("x-ratelimit-limit-tokens-prompt", "x-ratelimit-limit-tokens-cache-adjusted-prompt")
OVER_HEADER, WAIT_HEADER = "x-ratelimit-over-limit", "retry-after"
HEARD = (*LIMIT_HEADERS, OVER_HEADER, WAIT_HEADER)
TOO_MANY = 429
SECONDS = 60.0
# What may go out at once after a rest, in seconds of the limit: in no minute more than the minute's limit does.
BURST = 1.0
# Less than this part of a burst is not waited for: no clock would show it.
ROUNDING = 1e-6
# After a refusal nobody sends for a moment, then all together at this share of the limit, which grows back in a minute.
PAUSE, CUT, LEAST_SHARE = 1.0, 0.7, 0.05


@dataclass(frozen=True)
class Limits:
    """The most requests and tokens in a minute."""

    requests: float
    tokens: float


@dataclass
class Bucket:
    """A token bucket: in no minute more than so many, but that a request larger than a burst takes in advance."""

    per_minute: float
    level: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = self.burst

    @property
    def per_second(self) -> float:
        """The rate at which it fills; a burst and a minute of it are the minute's limit."""
        return self.per_minute / (SECONDS + BURST)

    @property
    def burst(self) -> float:
        """The most that it holds, at least one."""
        return max(self.per_second * BURST, 1.0)

    def fill(self, seconds: float) -> None:
        """Let time pass."""
        self.level = min(self.level + seconds * self.per_second, self.burst)

    def lack(self, amount: float, share: float) -> float:
        """Return the seconds until so much may be taken, when it fills at a share of its rate."""
        lacking = min(amount, self.burst) - self.level
        return lacking / (self.per_second * share) if lacking > ROUNDING * self.burst else 0.0


class MinuteBudget:
    """One budget for everybody who sends with one key; safe within one event loop or thread.

    The settings' limits are the most; the provider's headers and its refusals lower them. With ``empty`` it starts
    with nothing, for one that takes over from another whose account is lost.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float], empty: bool = False) -> None:
        self._clock = clock
        self._limits = limits
        self._requests, self._tokens = Bucket(limits.requests), Bucket(limits.tokens)
        self._share = 1.0
        self._looked_at = self._closed_until = clock()
        if empty:
            self._requests.level = self._tokens.level = 0.0

    @property
    def tokens_per_minute(self) -> float:
        """The limit at present."""
        return self._tokens.per_minute

    def take(self, tokens: float) -> float:
        """Take a request of so many tokens and return 0, or take nothing and return the seconds until asking again."""
        self._pass_time()
        wait = max(
            self._closed_until - self._looked_at,
            self._requests.lack(1, self._share),
            self._tokens.lack(tokens, self._share),
        )
        if wait <= 0:
            self._requests.level -= 1
            self._tokens.level -= tokens
        return max(wait, 0.0)

    def settle(self, tokens: float) -> None:
        """Take so many tokens more for a request that went out, or give back as many when negative."""
        self._tokens.level = min(self._tokens.level - tokens, self._tokens.burst)

    def hear(self, status: int, headers: Mapping[str, str]) -> None:
        """Learn from the status and the headers of a reply; names of headers in lower case."""
        limits = [number for name in LIMIT_HEADERS if (number := _read_number(headers.get(name, ""))) > 0]
        if limits:
            self._tokens.per_minute = min(self._limits.tokens, SECONDS * min(limits))
        if status == TOO_MANY or headers.get(OVER_HEADER, "").lower() == "yes":
            self._slow_down(_read_number(headers.get(WAIT_HEADER, "")))

    def _slow_down(self, seconds: float) -> None:
        self._pass_time()
        # Refusals come in company: those of one moment are one.
        if self._looked_at >= self._closed_until:
            self._share = max(self._share * CUT, LEAST_SHARE)
        self._closed_until = max(self._closed_until, self._looked_at + min(max(seconds, PAUSE), SECONDS))

    def _pass_time(self) -> None:
        now = self._clock()
        passed, self._looked_at = now - self._looked_at, now
        for bucket in (self._requests, self._tokens):
            bucket.fill(passed * self._share)
        self._share = min(self._share + passed / SECONDS, 1.0)


def _read_number(text: str) -> float:
    """Return a header's number; 0 for what is none."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 < number < float("inf") else 0.0

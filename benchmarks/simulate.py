#!/usr/bin/env python3
"""Replay an ingest of 100 M chunks against a simulated account of the provider and a simulated Milvus.

Real are the client with its retries, jitter and deadline, the pace that adapts to refusals, how far an ingest works
ahead, the size of a write, and the planner's estimate beside the result. Simulated are the clock, the account's
limits, the replies' latency and the rates of the machines and of Milvus, all from measurements or the documentation.

Nobody has to wait for each of a million requests: a run is simulated until it is steady, two windows of a minute with
less than 2 % between them, and goes on at that rate. Where the account's limit grows, that is done for each limit.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from simulation import Account, Ingest, Machine, Milvus, Supply, run_in_simulated_time
from tables import write_number, write_table

from rag_chain.ingestion.estimate import FIREWORKS_PACE, LOCAL_PACE, estimate_embedding
from rag_chain.models.prices import embedding_dollars
from rag_chain.settings import FIREWORKS_EMBEDDING_MODEL, Settings
from rag_chain.sizing import WRITE_PACE, read_count, show_hours

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKENS_PER_CHUNK = 200
# docs.fireworks.ai/serverless/rate-limits in 2026: what an account starts with, what small models reach at most, and
# the requests of an account with and without a payment method.
START, CEILING, RPM, UNPAID_RPM = 900_000, 27_000_000, 6000, 10
# "Typically, you can expect to stay within the limits if your traffic gradually doubles within an hour", said the
# page of 2025; here the limit doubles after an hour in which at least half of it was used.
HOUR, USED_ENOUGH = 3600.0, 0.5
# Assumed, since no figures are to be had: seconds for a reply, and for each 1,000 tokens in it.
LATENCY, LATENCY_PER_1000 = 0.06, 0.006
# A minute's tokens may be used at once, so the first minutes are not typical.
WARM_UP, WINDOW, MOST_WINDOWS, STEADY = 120.0, 60.0, 12, 0.02
# Where there are seconds between batches.
LONG_WINDOW = 1200.0
SAVED = Path(__file__).parent / "results" / "simulate.md"


@dataclass(frozen=True)
class Scenario:
    """Who embeds at which limits, on how many machines, into what; without ``tokens`` the machines embed themselves."""

    name: str
    tokens: float | None = CEILING
    ceiling: float = CEILING
    requests: float = RPM
    machines: int = 1
    pace: float = FIREWORKS_PACE
    write_pace: float = WRITE_PACE
    retry_after: bool = False


SCENARIOS = (
    Scenario("no payment method: 10 requests/min", requests=UNPAID_RPM),
    Scenario("starting limit, 0.9 M tokens/min, that stays", tokens=START, ceiling=START),
    Scenario("the same, refusals with Retry-After", tokens=START, ceiling=START, retry_after=True),
    Scenario("starting limit that doubles each hour to 27 M", tokens=START),
    Scenario("27 M tokens/min from the start"),
    Scenario("27 M, 4 machines", machines=4),
    Scenario("no limits (own deployment), 8 machines", tokens=inf, requests=inf, machines=8),
    Scenario(
        "the same, Milvus cluster of 4 times the rate", tokens=inf, requests=inf, machines=8, write_pace=4 * WRITE_PACE
    ),
    Scenario("local model", tokens=None, pace=LOCAL_PACE),
    Scenario("local model, 8 machines", tokens=None, pace=LOCAL_PACE, machines=8),
)


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario: hours, the busiest part and how busy it was in the end, and what was refused."""

    scenario: Scenario
    hours: float
    planned_hours: float
    dollars: float
    bottleneck: str
    busy: float
    chunks_per_second: float
    refused: float
    broken_off: int
    simulated: float


class Run:
    """One scenario in simulated time."""

    def __init__(self, scenario: Scenario, chunks: int) -> None:
        settings = Settings()
        self.scenario = scenario
        self.chunks = chunks
        self.supply = Supply(chunks)
        self.milvus = Milvus(scenario.write_pace)
        self.account = None
        if scenario.tokens is not None:
            limits = {"requests": scenario.requests, "tokens": scenario.tokens}
            speed = {"latency": LATENCY, "latency_per_1000": LATENCY_PER_1000}
            self.account = Account(**limits, **speed, retry_after=scenario.retry_after)
        self.machine = Machine(
            scenario.pace,
            settings.embedding_batch,
            settings.embedding_concurrency,
            TOKENS_PER_CHUNK,
            settings.request_timeout,
        )
        self.ingests = [
            Ingest(self.machine, self.account, self.milvus, self.supply.batches(self.machine.batch))
            for _ in range(scenario.machines)
        ]
        self.window = LONG_WINDOW if self.account is None or scenario.requests <= UNPAID_RPM else WINDOW
        self.refused = 0.0
        self.skipped = 0.0

    async def work(self) -> Outcome:
        """Simulate it and return what came of it."""
        everything = asyncio.gather(*(ingest.run() for ingest in self.ingests))
        seconds, rate, shares = 0.0, 0.0, {"this machine": 0.0}
        while not everything.done():
            before = _now()
            found = await self._settle(everything)
            if found is None:
                seconds += _now() - before
                break
            rate, shares = found
            seconds += _now() - before
            # Batches in the air are out of the supply, and not yet embedded.
            left = (self.chunks - self.skipped - self._counts()[0]) / rate
            grows = self._may_grow(shares)
            seconds += self._skip(min(left, HOUR - (_now() - before)) if grows else left, rate)
            if not grows or self.supply.left <= 0:
                break
            self._grow()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(everything, *others, return_exceptions=True)
        return self._outcome(seconds, rate or self.chunks / seconds, shares)

    async def _settle(self, everything: asyncio.Future[list[None]]) -> tuple[float, dict[str, float]] | None:
        """Return chunks a second and how busy each part is once that is steady; None when all is done before."""
        await asyncio.wait([everything], timeout=WARM_UP)
        rates: list[float] = []
        for _ in range(MOST_WINDOWS):
            before = self._counts()
            await asyncio.wait([everything], timeout=self.window)
            if everything.done():
                await everything
                return None
            spent = [now - then for now, then in zip(self._counts(), before, strict=True)]
            rates.append(spent[0] / self.window)
            if len(rates) > 1 and abs(rates[-1] - rates[-2]) <= STEADY * max(rates[-1], rates[-2]):
                break
        self.refused = spent[3] / max(spent[2] + spent[3], 1)
        return sum(rates[-2:]) / 2, self._shares(spent)

    def _counts(self) -> tuple[float, ...]:
        """Return chunks that were embedded, or read where the machine does it; tokens, requests, refusals so far."""
        if self.account is None:
            return self.chunks - self.skipped - self.supply.left, 0.0, 0.0, 0.0
        used = self.account.tokens.used
        return used / TOKENS_PER_CHUNK, used, self.account.requests.used, self.account.refused

    def _shares(self, spent: Sequence[float]) -> dict[str, float]:
        chunks, tokens, requests = (value / self.window for value in spent[:3])
        shares = {
            "this machine" if self.scenario.machines == 1 else "the machines": chunks
            / (self.scenario.pace * self.scenario.machines),
            "writing to Milvus": chunks / self.milvus.rows_per_second,
        }
        if self.account is not None:
            shares["tokens per minute"] = tokens * 60 / self.account.tokens.per_minute
            shares["requests per minute"] = requests * 60 / self.account.requests.per_minute
        return shares

    def _may_grow(self, shares: dict[str, float]) -> bool:
        if self.account is None or self.account.tokens.per_minute >= self.scenario.ceiling:
            return False
        return shares["tokens per minute"] >= USED_ENOUGH

    def _grow(self) -> None:
        assert self.account is not None
        self.account.tokens.per_minute = min(2 * self.account.tokens.per_minute, self.scenario.ceiling)

    def _skip(self, seconds: float, rate: float) -> float:
        """Take out what is ingested in so many seconds of the same; return them."""
        chunks = min(seconds * rate, self.supply.left)
        self.skipped += chunks
        self.supply.left -= chunks
        return seconds

    def _outcome(self, seconds: float, rate: float, shares: dict[str, float]) -> Outcome:
        bottleneck = max(shares, key=shares.__getitem__)
        tokens = self.chunks * TOKENS_PER_CHUNK
        return Outcome(
            scenario=self.scenario,
            hours=seconds / HOUR,
            planned_hours=plan_hours(self.scenario, self.chunks),
            dollars=0.0 if self.account is None else embedding_dollars(FIREWORKS_EMBEDDING_MODEL, tokens) or 0.0,
            bottleneck=bottleneck,
            busy=shares[bottleneck],
            chunks_per_second=rate,
            refused=self.refused,
            broken_off=sum(ingest.broken_off for ingest in self.ingests),
            simulated=(self.chunks - self.skipped - self.supply.left) / self.chunks,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def plan_hours(scenario: Scenario, chunks: int) -> float:
    """Return what ``rag-chain ingest --plan`` says: one machine, and the limit reached in the end."""
    estimate = estimate_embedding(
        chunks=chunks,
        requests=-(-chunks // Settings().embedding_batch),
        tokens=chunks * TOKENS_PER_CHUNK,
        provider="local" if scenario.tokens is None else "fireworks",
        requests_per_minute=scenario.requests,  # type: ignore[arg-type]  # no limit is infinite
        tokens_per_minute=scenario.ceiling if scenario.tokens != inf else inf,  # type: ignore[arg-type]
    )
    return estimate.minutes / 60


def simulate(scenario: Scenario, chunks: int) -> Outcome:
    """Return what comes of a scenario; the same each time."""
    random.seed(1)
    outcome: Outcome = run_in_simulated_time(Run(scenario, chunks).work())
    return outcome


def write_report(chunks: int, outcomes: Sequence[Outcome]) -> str:
    """Return the report as Markdown."""
    header = ["", "time", "planner", "cost", "bottleneck", "busy", "chunks/s", "refused", "broken off", "simulated"]
    rows = [
        [
            one.scenario.name,
            show_hours(one.hours),
            show_hours(one.planned_hours),
            f"${one.dollars:,.0f}",
            one.bottleneck,
            f"{one.busy:.0%}",
            write_number(one.chunks_per_second),
            f"{one.refused:.0%}",
            str(one.broken_off),
            f"{one.simulated:.2%}",
        ]
        for one in outcomes
    ]
    return _REPORT.format(chunks=f"{chunks:,}", tokens=TOKENS_PER_CHUNK, table=write_table(header, rows))


_REPORT = """# {chunks} chunks, simulated

`benchmarks/simulate.py --save` replays an ingest of {chunks} chunks of {tokens} tokens in simulated time. Real are the
client of the Fireworks API with its retries, jitter and deadline, the pace that adapts to refusals, how far an ingest
works ahead, the size of a write, and the planner. **The account, Milvus and the clock are simulated; nothing of this
was measured on the live service.**

{table}

- time: until the last chunk is written, in simulated time; cost: embedding at the list price of November 2026.
- planner: what `rag-chain ingest --plan` says. It knows one machine, and no limit that grows: it is given the last.
- bottleneck: the part that is busiest once the run is steady, and how busy it is: rate / limit.
- refused: requests that the account refused, of all in the last steady minute. A refusal costs nothing but a request.
- broken off: batches that met the deadline of 60 s because of refusals; each would have ended the run, to be continued
  by the same command.
- simulated: the share of the chunks that went through the simulation. The rest is reckoned at the rate at which the
  run was steady: two windows of a minute with less than 2 % between them, after the minute's worth that an account
  gives at once is used up. For a limit that grows this is done for each limit.

What is assumed: a machine reads, splits and handles 1,100 chunks a second (40 with the local model), and a Milvus of
two cores takes 7,000 rows a second, both measured; an account gives up to a minute's tokens at once and refills all the
time; its limit doubles after each hour in which half of it was used, as Fireworks' documentation said in 2025; a reply
takes 60 ms and 6 ms for each 1,000 tokens, a guess; embedding models fall under the limits of small models, which is
not documented. The batch (64 texts), requests in flight (8) and time-out are the defaults.
"""


def main() -> None:
    """Simulate the scenarios and print or save the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=read_count, default=100_000_000, metavar="N", help="default: 100M")
    parser.add_argument("--save", action="store_true", help=f"write {SAVED.relative_to(SAVED.parents[2])}")
    options = parser.parse_args()
    report = write_report(options.chunks, [simulate(scenario, options.chunks) for scenario in SCENARIOS])
    print(report)
    if options.save:
        SAVED.write_text(report, "utf-8")


if __name__ == "__main__":
    main()

"""The simulated ingest of benchmarks/simulate.py, with the real client and pace: few chunks, and no waiting."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# Chunks a second at 0.9 M tokens a minute, of 200 tokens each.
STARTING_RATE = 75


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the benchmark's module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("simulate")


@pytest.fixture
def starting(simulate: Any) -> Any:
    """Return the scenario of an account at its starting limit."""
    return next(one for one in simulate.SCENARIOS if one.tokens == simulate.START == one.ceiling)


def test_a_low_limit_is_used_up_and_little_is_refused(simulate: Any, starting: Any) -> None:
    """All tokens of each minute, about one refusal in eight, and no batch meets its deadline; with Retry-After, too."""
    for scenario in (starting, replace(starting, retry_after=True)):
        outcome = simulate.simulate(scenario, 1_000_000)
        assert outcome.chunks_per_second == pytest.approx(STARTING_RATE, rel=0.03)
        assert outcome.bottleneck == "tokens per minute"
        assert outcome.refused < 0.25
        assert outcome.broken_off == 0


def test_the_planner_agrees(simulate: Any, starting: Any) -> None:
    """Of one machine at one limit it knows the hours within a tenth; it rounds to two digits."""
    for scenario in (starting, simulate.SCENARIOS[0], replace(starting, tokens=None, pace=40)):
        outcome = simulate.simulate(scenario, 1_000_000)
        assert outcome.hours == pytest.approx(outcome.planned_hours, rel=0.1)


def test_a_limit_that_grows_is_followed(simulate: Any, starting: Any) -> None:
    """Two levels of an hour each, then the last: the hours are those of the areas under the limits."""
    outcome = simulate.simulate(replace(starting, ceiling=3_600_000.0), 1_500_000)
    expected = 2 + (1_500_000 - 3600 * STARTING_RATE * 3) / (3600 * STARTING_RATE * 4)
    assert outcome.hours == pytest.approx(expected, rel=0.03)


def test_what_is_left_out_would_have_come_out_the_same(
    simulate: Any, starting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated to its last chunk, a run takes as long as reckoned from its steady part."""
    reckoned = simulate.simulate(starting, 120_000)
    monkeypatch.setattr(simulate, "MOST_WINDOWS", 1000)
    monkeypatch.setattr(simulate, "STEADY", -1.0)
    whole = simulate.simulate(starting, 120_000)
    assert (whole.simulated, reckoned.simulated < 0.7) == (1.0, True)
    assert reckoned.hours == pytest.approx(whole.hours, rel=0.03)


def test_a_slow_store_holds_everything_up(simulate: Any) -> None:
    """What is embedded waits for what is written, and the bottleneck is named."""
    slow = simulate.Scenario("slow", write_pace=300)
    outcome = simulate.simulate(slow, 500_000)
    assert (outcome.bottleneck, outcome.chunks_per_second) == ("writing to Milvus", pytest.approx(300, rel=0.05))


def test_the_same_comes_out_each_time(simulate: Any, starting: Any) -> None:
    """Its chance is the same, too."""
    assert simulate.simulate(starting, 50_000) == simulate.simulate(starting, 50_000)


def test_the_committed_report_is_of_these_scenarios(simulate: Any) -> None:
    """Every one has its row."""
    report = (ROOT / "benchmarks" / "results" / "simulate.md").read_text("utf-8")
    assert all(f"| {scenario.name} " in report for scenario in simulate.SCENARIOS)

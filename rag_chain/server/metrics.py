"""What is counted for Prometheus; labels are ours, never a caller's text."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rag_chain.models.usage import Usage
    from rag_chain.server.limits import Limits

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The counters of one app."""

    def __init__(self, limits: Limits, usage: Callable[[], tuple[Usage, float | None]]) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._count("requests", "Requests by door and status.", "door", "status")
        self._seconds = self._time("request_seconds", "Time from a request to the end of its response.", "door")
        self._stages = self._time("stage_seconds", "Time of a question in each stage.", "stage")
        self._refused = self._count("refused_requests", "Requests that were not let in, by reason.", "reason")
        self._answers = self._count("answers", "Answers: grounded, ungrounded, refused or failed.", "outcome")
        self._verdicts = self._count("verdicts", "Citations by verdict.", "verdict")
        self._removed = self._count("removed_citations", "Citations of no source that were taken out of answers.")
        running = Gauge("rag_chain_running_requests", "Requests being worked on.", registry=self.registry)
        running.set_function(lambda: limits.running)
        self.registry.register(_UsageCollector(usage))

    def request(self, door: str, status: int, seconds: float) -> None:
        """Count a request that has ended; status 0 is one that the client left."""
        self._requests.labels(door, str(status)).inc()
        self._seconds.labels(door).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request that was not let in."""
        self._refused.labels(reason).inc()

    def stage(self, name: str, seconds: float) -> None:
        """Note how long a stage of a question took."""
        self._stages.labels(name).observe(seconds)

    def answer(self, end: dict[str, object]) -> None:
        """Count an answer by what was found of it."""
        outcome = "refused" if end.get("refused") else "grounded" if end.get("grounded") else "ungrounded"
        self._answers.labels(outcome).inc()
        citations = end.get("citations")
        for citation in citations if isinstance(citations, list) else []:
            self._verdicts.labels(citation["verdict"]).inc()
        self._removed.inc(int(str(end.get("removed_citations") or 0)))

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Count an answer that failed."""
        try:
            yield
        except Exception:
            self._answers.labels("failed").inc()
            raise

    def show(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _count(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"rag_chain_{name}", help_text, labels, registry=self.registry)

    def _time(self, name: str, help_text: str, *labels: str) -> Histogram:
        return Histogram(f"rag_chain_{name}", help_text, labels, buckets=BUCKETS, registry=self.registry)


class _UsageCollector:
    """Shows what the models' clients count themselves."""

    def __init__(self, usage: Callable[[], tuple[Usage, float | None]]) -> None:
        self._usage = usage

    def collect(self) -> Iterable[CounterMetricFamily]:
        usage, dollars = self._usage()
        tokens = CounterMetricFamily("rag_chain_tokens", "Tokens by what they were for.", labels=["kind"])
        for kind, count in usage.tokens.items():
            tokens.add_metric([kind], count)
        yield tokens
        yield CounterMetricFamily("rag_chain_model_requests", "Requests sent to the models.", value=usage.requests)
        yield CounterMetricFamily("rag_chain_model_retries", "Those of them that were retries.", value=usage.retries)
        if dollars is not None:
            yield CounterMetricFamily("rag_chain_dollars", "What the tokens cost.", value=dollars)

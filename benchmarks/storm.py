#!/usr/bin/env python3
"""Measure how much of what a failing provider lets through an ingest gets.

The storm and the corpus are those of tests/test_storm.py: half of the requests are answered 429, a fifth in some
other wrong way, and a few come ten seconds late. What the provider lets through is measured, too: a reference sends
the same batches through a storm with the same dice, always with as many requests in flight as the ingest may have,
and each at once again after a failure. It pays for what everyone must pay for, the latency, the stalls and the
replies that are wrong, and never waits in vain. Compared are the texts per second in the provider's log, from the
first request until nine tenths of the texts were answered, since the last unlucky ones wait alone at the end of a
corpus of any size.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import httpx
from tables import describe_machine, write_machine, write_number, write_table

from rag_chain import ingest
from rag_chain.errors import BadReplyError
from rag_chain.models.embedding import unit_vectors
from rag_chain.models.fireworks.embedding_client import read_vectors

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.fireworks_client import RawClient
from tests.test_storm import (
    BATCH,
    CONCURRENCY,
    DIMENSIONS,
    asked_texts,
    check_report,
    check_vectors,
    connect,
    stormy_server,
    write_corpus,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fireworks_server import FireworksServer

SAVED = Path(__file__).parent / "results" / "storm.md"
# Longer than the longest stall.
REFERENCE_SECONDS = 30


@dataclass(frozen=True)
class Storm:
    """What one storm let through to the ingest and to the reference, in texts per second."""

    seed: int
    ours: float
    reference: float

    @property
    def ratio(self) -> float:
        """The ingest's share of what the reference got."""
        return self.ours / self.reference


def rate(server: FireworksServer) -> float:
    """Return the texts per second from the first request until nine tenths of the texts were answered for good."""
    requests = server.embedding_requests
    answered: dict[str, float] = {}
    for request in requests:
        for text in request.body["input"]:
            answered[text] = max(request.finished, answered.get(text, 0.0))
    enough = len(answered) * 9 // 10
    return enough / (sorted(answered.values())[enough - 1] - requests[0].started)


def ask_until_answered(server: FireworksServer, batches: list[list[str]]) -> None:
    """Be the reference: as many requests in flight as the ingest may have, and after a failure the same again."""
    waiting = iter(batches)

    def work() -> None:
        with RawClient(server) as client:
            client.timeout = REFERENCE_SECONDS
            # A generator can't be shared by threads, a list's iterator can.
            for batch in waiting:
                while not is_answered(client, batch):
                    pass

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        for worker in [pool.submit(work) for _ in range(CONCURRENCY)]:
            worker.result()


def is_answered(client: RawClient, batch: list[str]) -> bool:
    """Ask once; return whether the right number of right vectors came."""
    try:
        reply = client.embed(*batch)
        if reply.is_success:
            unit_vectors(read_vectors(reply.json(), len(batch)), len(batch), DIMENSIONS)
    except (httpx.TransportError, BadReplyError, json.JSONDecodeError):
        return False
    return reply.is_success


def weather(corpus: Path, database: Path, seed: int) -> Storm:
    """Ingest in a storm, check what is stored, and send the same batches through the same storm as the reference."""
    with stormy_server(seed) as server:
        settings = connect(server, database)
        check_report(ingest(corpus, settings))
        ours, asked = rate(server), asked_texts(server)
    check_vectors(settings, asked)
    texts = sorted(asked)
    with stormy_server(seed) as server:
        ask_until_answered(server, [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)])
        return Storm(seed, ours, rate(server))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and with --save keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storms", type=int, default=8, help="how many, each with its own dice")
    parser.add_argument("--save", action="store_true", help="write results/storm.md")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        write_corpus(corpus)
        storms = [weather(corpus, Path(folder) / f"{seed}.db", seed) for seed in range(1, options.storms + 1)]
    rows = [[str(storm.seed), *map(write_number, (storm.ours, storm.reference, storm.ratio))] for storm in storms]
    report = f"""# A provider that fails

`python benchmarks/storm.py --save`

{write_machine(machine)}

Texts per second while 70 % of the requests are refused, answered wrongly or stalled; {CONCURRENCY} requests of {BATCH}
texts at once. Method: the docstring of `benchmarks/storm.py`. Every ingest was complete and right.

{write_table(["dice", "ingest", "let through", "share"], rows)}

- **The ingest gets {mean(storm.ratio for storm in storms):.0%} of what the provider lets through**, in the worst
  of these storms {min(storm.ratio for storm in storms):.0%}.
"""
    print(report)
    if options.save:
        SAVED.write_text(report, "utf-8")


if __name__ == "__main__":
    main()

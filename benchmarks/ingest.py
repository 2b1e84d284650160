#!/usr/bin/env python3
"""Measure the ingest: ours, what limits any ingest, the tutorial's loop, and LangChain's parts as they come.

Every contender runs in a fresh process with a fresh Milvus Lite path, against a loopback stand-in for the
Fireworks API in another process, whose latency is assumed. Its CPU seconds are told: they share the cores.

wall      from the start of the process to its end
start-up  imports and opening the store, before the first document is looked at
net       the work itself: from there until everything is written; the rest of wall is closing the store
peak      most memory of the process and all its children together, pages that they share counted once; RSS beside
          it is the sum of their resident sizes, which counts those pages for each
floor     the longer of the API's own time (the sum of the requests' latencies / as many at once as it allows)
          and of a bare MilvusClient.upsert of the same rows with flush; no ingest is quicker than either
x10       the same pages ten times over, each copy with a word of its own behind every heading and before every
          paragraph, list item and HTML block, so that no chunk of one copy is in another, too
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import Bench, Row
from corpora import DELETED, EDITED, copy_corpus, edit_corpus
from processes import HERE, ROOT, Api
from tables import describe_machine, write_machine, write_number, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCS = ROOT.parent / "shared" / "data" / "milvus_docs" / "en"
SCALES = {"1": [1], "10": [10], "both": [1, 10]}
# The quickest counts; on many pages they differ by less than the noise, so the last is enough.
BATCHES = (128, 512, 1000)
HEADER = ["", "wall s", "start-up s", "net s", "CPU s", "of it net", "peak MB", "RSS MB"]
HEADER += ["requests", "texts", "texts/s", "API CPU s", "net / floor"]


@dataclass(frozen=True)
class Findings:
    """What was measured on one corpus."""

    pages: int
    at_once: int
    first: Row
    later: list[Row]
    client: Row
    upsert: Row
    embedding: Row
    tutorial: Row
    parts: Row

    @property
    def api_seconds(self) -> float:
        """The API's own time for the requests of the first run."""
        return (self.first.api_work or 0) / self.at_once

    @property
    def floor(self) -> float:
        """Seconds that no ingest of this corpus can go below."""
        return max(self.api_seconds, self.upsert.seconds)

    @property
    def tutorial_seconds(self) -> float:
        """The tutorial's loop over all texts, extrapolated."""
        return self.tutorial.seconds * (self.first.texts or 0) / (self.tutorial.texts or 1)

    @property
    def rows(self) -> list[Row]:
        """Everything that was run, in the order of the table."""
        return [self.first, *self.later, self.client, self.upsert, self.embedding, self.tutorial, self.parts]

    def to_json(self) -> dict[str, Any]:
        """Return all numbers, unrounded."""
        floor = {"api_s": self.api_seconds, "upsert_s": self.upsert.seconds, "floor_s": self.floor}
        return {
            "pages": self.pages,
            **floor,
            "tutorial_all_s": self.tutorial_seconds,
            "rows": [*map(asdict, self.rows)],
        }


def measure(docs: Path, times: int, api: Api, options: argparse.Namespace) -> Findings:
    """Run every contender on the folder, so many times over."""
    with tempfile.TemporaryDirectory(prefix="rag_chain_benchmark_") as folder:
        bench = Bench(api, Path(folder), options.repeat)
        pages = copy_corpus(docs, bench.corpus, times)
        print(f"{pages} pages", file=sys.stderr)
        bench.run("(writing bytecode)", "compile_all")
        store = bench.new_store()
        first = bench.run("rag_chain.ingest()", "rag_chain_ingest", store=store)
        others = _measure_others(bench, store, BATCHES if times == 1 else BATCHES[-1:], options.tutorial_pieces)
        return Findings(pages, api.at_once, first, _measure_later(bench, store), **others)


def _measure_others(bench: Bench, filled: Path, batches: Sequence[int], pieces: int) -> dict[str, Row]:
    writes = [
        bench.run(f"bare upsert and flush, {batch} rows at a time", "bare_upsert", filled=str(filled), batch=batch)
        for batch in batches
    ]
    return {
        "client": bench.run("bare client, the same requests", "bare_client", at_once=bench.api.at_once).only_net(),
        "upsert": min(writes, key=lambda row: row.seconds).only_net(),
        "embedding": bench.run("our embedding stage alone", "embedding_stage"),
        "tutorial": bench.run(f"tutorial's loop, the first {pieces} texts", "tutorial_loop", pieces=pieces),
        "parts": bench.run("Milvus.from_documents", "from_documents"),
    }


def _measure_later(bench: Bench, store: Path) -> list[Row]:
    rows = [
        bench.run_command("rag-chain ingest, first", bench.new_store()),
        bench.run_command("rag-chain ingest, unchanged", store),
    ]
    edit_corpus(bench.corpus)
    return [*rows, bench.run_command(f"rag-chain ingest, {EDITED} edited, {DELETED} deleted", store)]


def write_findings(found: Findings) -> str:
    """Return the table of one corpus and what follows from it."""
    first, floor, loop = found.first, found.floor, found.tutorial_seconds
    parts, embedding = found.parts.seconds, found.embedding.seconds
    table = write_table(HEADER, [_cells(row, floor) for row in found.rows])
    return f"""## {found.pages:,} pages, {first.texts:,} texts

{table}

- Floor {floor:.2f} s: the API's own time is {found.api_seconds:.2f} s, writing the rows {found.upsert.seconds:.2f} s.
- **`rag_chain.ingest()` is {first.seconds / floor:.2f} x the floor**, `Milvus.from_documents` {parts / floor:.2f} x.
- **The embedding stage is {loop / embedding:.0f} x as fast as the tutorial's loop**, which needs {loop:,.0f} s \
for all texts (extrapolated).
- An unchanged second run sends {found.later[1].requests} requests."""


def _cells(row: Row, floor: float) -> list[str]:
    # Embedding alone and a part of it are no whole ingest.
    ratio = row.net / floor if row.net and row.startup and not row.name.startswith(("our", "tutorial")) else None
    seconds = (row.wall, row.startup, row.net, row.cpu, row.cpu_net)
    memory = (row.peak_mb and round(row.peak_mb), row.resident_mb and round(row.resident_mb))
    counts = (*memory, row.requests, row.texts)
    speed = row.texts_per_second and round(row.texts_per_second)
    return [row.name, *map(write_number, (*seconds, *counts, speed, row.api_cpu, ratio))]


def write_report(api: Api, machine: dict[str, Any], command: str, findings: Sequence[Findings]) -> str:
    """Return the whole report as Markdown."""
    assumed = (
        f"Stand-in API (assumed latencies): {api.latency_ms:g} ms + {api.ms_per_1000_tokens:g} ms per 1,000 tokens "
        f"for a request, {api.at_once} at once. Columns and method: the docstring of `benchmarks/ingest.py`."
    )
    head = f"# Ingest\n\n`{command}`\n\n{write_machine(machine)}\n\n{assumed}"
    return "\n\n".join([head, *map(write_findings, findings)]) + "\n"


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, metavar="PATH", help="folder of Markdown pages (default: the Milvus docs)")
    parser.add_argument("--scale", choices=SCALES, default="1", help="the pages once, ten times over, or both (1)")
    parser.add_argument("--latency-ms", type=float, default=60, help="of the API, for each request (60)")
    parser.add_argument("--ms-per-1000-tokens", type=float, default=6, help="of the API, beside that (6)")
    parser.add_argument("--at-once", type=int, default=8, help="requests that the API works on at once (8)")
    parser.add_argument("--tutorial-pieces", type=int, default=100, help="texts for the tutorial's loop (100)")
    parser.add_argument("--repeat", type=int, default=1, help="runs of a contender; the quickest counts (1)")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/ingest.md and ingest.json")
    options = parser.parse_args(arguments)
    options.docs = options.docs or DOCS
    if not any(options.docs.rglob("*.md")):
        parser.error(f"no Markdown pages in {os.path.relpath(options.docs)}: give a folder of them with --docs PATH")
    return options


def _write_command(docs: Path, arguments: Sequence[str]) -> str:
    """Return the command; of a folder that is not beside the checkout only the name, places tell about the machine."""
    near = docs.resolve().is_relative_to(ROOT.parent)
    shown = os.path.relpath(docs, ROOT) if near else docs.resolve().name
    given = [argument.replace(str(docs), shown) for argument in arguments]
    return shlex.join(["python", "benchmarks/ingest.py", *given])


def main() -> None:
    """Measure, print, and save if asked to."""
    options = read_options()
    api = Api(options.latency_ms, options.ms_per_1000_tokens, options.at_once)
    machine, command = describe_machine(), _write_command(options.docs, sys.argv[1:])
    findings = [measure(options.docs, times, api, options) for times in SCALES[options.scale]]
    report = write_report(api, machine, command, findings)
    print(report)
    if options.save:
        results = HERE / "results"
        results.mkdir(exist_ok=True)
        whole = {"command": command, "machine": machine, "api": asdict(api), "corpora": [f.to_json() for f in findings]}
        (results / "ingest.md").write_text(report, "utf-8")
        (results / "ingest.json").write_text(json.dumps(whole, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()

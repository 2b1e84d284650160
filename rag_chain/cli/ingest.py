"""``rag-chain ingest``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from rag_chain.ingestion.report import IngestReport


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="file, folder, glob pattern, zip, or URL of a zip")
    parser.add_argument(
        "--glob",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only these paths inside folders and zips, e.g. 'en/faq/*.md'; may be repeated; prunes nothing",
    )
    parser.add_argument("--plan", action="store_true", help="show what would be done and what it would cost")
    parser.add_argument("--rebuild", action="store_true", help="build a new collection, then put it in place")
    parser.add_argument("--no-prune", dest="prune", action="store_false", help="keep documents that are gone")
    parser.add_argument("--engine", choices=("local",), default="local", help="where the work is done")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Ingest and report."""
    from rag_chain.cli import DONE, FAILED, SOME_REFUSED
    from rag_chain.cli.common import print_json, read_settings
    from rag_chain.cli.progress import progress_bar
    from rag_chain.pipeline import ingest, plan_ingest

    settings = read_settings(options)
    choices = {"glob": options.glob, "rebuild": options.rebuild, "prune": options.prune}
    if options.plan:
        report = plan_ingest(options.paths, settings, **choices)
    else:
        with progress_bar() as show:
            report = ingest(options.paths, settings, **choices, on_progress=show)
    if options.json:
        print_json(report.to_json())
    else:
        print_report(report, planned=options.plan)
    if not report.refused:
        return DONE
    return SOME_REFUSED if report.documents else FAILED


def print_report(report: IngestReport, *, planned: bool = False) -> None:
    """Print the report for a person; refusals, each with its reason, go to stderr."""
    for refused in report.refused:
        print(f"refused {refused.source}: {refused.reason}", file=sys.stderr)
    if report.skipped:
        kinds = sorted({skipped.source.rpartition(".")[2].lower() for skipped in report.skipped})
        print(f"left out {len(report.skipped)} files of other types ({', '.join(kinds)})", file=sys.stderr)
    parts = [
        f"{len(report.added)} added",
        f"{len(report.changed)} changed",
        f"{len(report.unchanged)} unchanged",
    ]
    parts += [f"{len(report.removed)} removed", f"{len(report.refused)} refused"]
    price = "" if not report.dollars else f", ${report.dollars:.4f}"
    print(f"{'would be: ' if planned else ''}documents: {', '.join(parts)}")
    print(f"chunks: {report.chunks_embedded} to embed" if planned else _chunks(report), end="")
    requests = f" in {report.requests} requests" if report.requests else ""
    print(f"; {report.tokens:,} tokens{requests}{price}; {report.seconds:.1f} s")


def _chunks(report: IngestReport) -> str:
    return f"chunks: {report.chunks_embedded} embedded, {report.chunks_deleted} deleted, {report.chunks_total} in all"

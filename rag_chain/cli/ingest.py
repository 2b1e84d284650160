"""``rag-chain ingest``."""

from __future__ import annotations

import ctypes
import platform
import sys
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Any

from rag_chain.cli.options import add_loader_options
from rag_chain.cli.terminal import print_json, remark, say

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from rag_chain.ingestion.report import IngestReport
    from rag_chain.settings import Settings

# Options of glibc's mallopt(), by the numbers in its malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="file, folder, glob pattern, archive, or web address")
    parser.add_argument(
        "--glob",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only these paths inside folders and zips, e.g. 'en/faq/*.md'; may be repeated; prunes nothing",
    )
    parser.add_argument("--allow-private", action="store_true", help="fetch from addresses that are not public, too")
    parser.add_argument("--plan", action="store_true", help="show what would be done, its cost and time")
    parser.add_argument("--rebuild", action="store_true", help="build a new collection, then put it in place")
    parser.add_argument("--keep-old", action="store_true", help="with --rebuild: keep the old collection in Milvus")
    parser.add_argument(
        "--bulk",
        metavar="S3URL",
        help="with --rebuild: by a Milvus server's bulk import from its object store, such as s3://bucket/prefix",
    )
    parser.set_defaults(refuse_usage=parser.error)
    parser.add_argument("--no-prune", dest="prune", action="store_false", help="keep documents that are gone")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="where the work is done")
    parser.add_argument(
        "--ray-address", metavar="HOST:PORT", help="with --engine ray: its cluster, or auto; default: start one here"
    )
    parser.add_argument(
        "--refusals", metavar="FILE", help="write refused documents to this file as JSON Lines; empty when none is"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_loader_options(parser)


def run(options: argparse.Namespace) -> int:
    """Ingest and report."""
    from rag_chain.cli import DONE, FAILED, SOME_REFUSED
    from rag_chain.cli.common import read_settings
    from rag_chain.cli.progress import progress_bar
    from rag_chain.cli.refusals import write_refusals
    from rag_chain.pipeline import ingest, plan_ingest

    _check_usage(options)
    # Empty before any work: an unwritable path must not cost an ingest, nor old refusals pass for this run's.
    write_refusals(options.refusals, [])
    settings = read_settings(options)
    give_memory_back()
    choices = {"glob": options.glob, "rebuild": options.rebuild, "prune": options.prune}
    with loaders_aside(options):
        given, foreign = make_foreign(options)
        if options.plan:
            report = plan_ingest(given, settings, **choices, **foreign)
        else:
            with progress_bar() as show:
                report = ingest(
                    given,
                    settings,
                    **choices,
                    **foreign,
                    keep_old=options.keep_old,
                    bulk=options.bulk,
                    engine=options.engine,
                    ray_address=options.ray_address,
                    on_progress=show,
                )
    write_refusals(options.refusals, report.refused)
    if options.json:
        print_json(report.to_json())
    else:
        print_report(report, planned=options.plan)
        print_estimate(report, settings)
    if not report.refused:
        return DONE
    return SOME_REFUSED if report.documents else FAILED


def _check_usage(options: argparse.Namespace) -> None:
    if options.keep_old and not options.rebuild:
        options.refuse_usage("--keep-old needs --rebuild")
    if options.bulk is not None and (not options.rebuild or options.plan or options.engine == "ray"):
        options.refuse_usage("--bulk needs --rebuild, and goes with neither --plan nor --engine ray")
    if options.ray_address and options.engine != "ray":
        options.refuse_usage("--ray-address needs --engine ray")
    if not options.paths and not options.loader:
        options.refuse_usage("name a PATH, or a --loader")
    if options.loader is None and (options.loader_option or options.loader_name or options.source_key):
        options.refuse_usage("--loader-option, --loader-name and --source-key need --loader")
    if options.splitter is None and options.splitter_option:
        options.refuse_usage("--splitter-option needs --splitter")


def loaders_aside(options: argparse.Namespace) -> AbstractContextManager[Any]:
    """Have what a loader prints go to stderr: some print what they could not read, and stdout is for the result."""
    return redirect_stdout(sys.stderr) if options.loader or options.splitter else nullcontext()


def make_foreign(options: argparse.Namespace) -> tuple[list[Any], dict[str, Any]]:
    """Return what is to be ingested, and how the options say that it is named and split."""
    if options.loader is None and options.splitter is None:
        return options.paths, {}
    from langchain_core.document_loaders import BaseLoader
    from langchain_text_splitters import TextSplitter

    from rag_chain.cli.objects import make_object

    given: list[Any] = list(options.paths)
    foreign: dict[str, Any] = {}
    refuse = options.refuse_usage
    if options.loader is not None:
        given.append(make_object("loader", options.loader, options.loader_option, BaseLoader, refuse))
        foreign |= {"loader_name": options.loader_name, "source_key": options.source_key}
    if options.splitter is not None:
        made = make_object("splitter", options.splitter, options.splitter_option, TextSplitter, refuse)
        foreign["splitter"] = made
    return given, foreign


def give_memory_back() -> None:
    """Let glibc give back at once what is freed, in this process of ours; other allocators are left as they are.

    It would keep some 30 MB of a large ingest.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, 131_072), (_MMAP_THRESHOLD, 131_072)):
        libc.mallopt(option, value)


def print_report(report: IngestReport, *, planned: bool = False) -> None:
    """Print the report for a person; refusals, each with its reason, go to stderr."""
    for refused in report.refused:
        remark(f"refused {refused.source}: {refused.reason}")
    for note in report.notes:
        remark(note)
    if report.skipped:
        kinds = sorted({skipped.source.rpartition(".")[2].lower() for skipped in report.skipped})
        remark(f"left out {len(report.skipped)} files of other types ({', '.join(kinds)})")
    if report.differences and not planned:
        remark(f"not as planned: {_differences(report)}")
    documents = ", ".join(f"{count} {state}" for state, count in report.counts.items())
    say(f"{'would be: ' if planned else ''}documents: {documents}")
    say(f"chunks: {report.chunks_embedded} to embed" if planned else _chunks(report), end="")
    requests = f" in {report.requests} requests" if report.requests else ""
    say(f"; {report.tokens:,} tokens{requests}{_price(report)}; {report.seconds:.1f} s")


def print_estimate(report: IngestReport, settings: Settings) -> None:
    """Print how long the embedding would take, and at which of the limits; nothing where there is none to do."""
    limits = {
        "this machine": "the pace of this machine",
        "requests per minute": f"{settings.embedding_requests_per_minute:,} requests a minute",
        "tokens per minute": f"{settings.embedding_tokens_per_minute:,} tokens a minute",
    }
    if report.minutes:
        say(f"time: {_duration(report.minutes)} at {limits[report.limited_by]}")


def _duration(minutes: float) -> str:
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes:.2g} min" if minutes < 100 else f"about {minutes / 60:,.1f} h"


def _differences(report: IngestReport) -> str:
    return ", ".join(f"{done} {state} instead of {planned}" for state, (planned, done) in report.differences.items())


def _price(report: IngestReport) -> str:
    if report.dollars is None and report.tokens:
        return ", price not known: set RAG_EMBEDDING_PRICE"
    return f", ${report.dollars:.4f}" if report.dollars else ""


def _chunks(report: IngestReport) -> str:
    return f"chunks: {report.chunks_embedded} embedded, {report.chunks_deleted} deleted, {report.chunks_total} in all"

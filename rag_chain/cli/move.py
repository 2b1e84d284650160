"""``rag-chain move``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rag_chain.cli.terminal import complain, print_json, say

if TYPE_CHECKING:
    from rag_chain.store.move_report import MoveReport

# Here the option names the target's collection.
OWN_OPTIONS = frozenset({"--collection"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.epilog = (
        "The source is the collection that the settings name. The target's token is read from RAG_MOVE_TOKEN. "
        "An interrupted move goes on when the same command is run again."
    )
    parser.add_argument("--to", required=True, metavar="URI", help="target: path ending in .db, or http(s) address")
    parser.add_argument("--to-db", metavar="NAME", help="database on the target's server")
    parser.add_argument(
        "--collection", dest="to_collection", metavar="NAME", help="the collection's name there; default: the same"
    )
    parser.add_argument(
        "--from-collection", dest="collection", metavar="NAME", help="collection to move (RAG_COLLECTION)"
    )
    parser.add_argument("--replace", action="store_true", help="put it in the place of one that is there already")
    parser.add_argument("--keep-old", action="store_true", help="with --replace: keep the old collection in Milvus")
    parser.add_argument(
        "--bulk", metavar="S3URL", help="by a server's bulk import from its object store, such as s3://bucket/prefix"
    )
    parser.add_argument(
        "--check-only", action="store_true", help="compare what is there with the source, and change nothing"
    )
    parser.add_argument(
        "--queries", type=_count, metavar="N", help="stored vectors to measure the recall with; default: 200"
    )
    parser.add_argument("--wait", type=_seconds, metavar="SECONDS", help="how long to wait for the index; default: 600")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(refuse_usage=parser.error)


def run(options: argparse.Namespace) -> int:
    """Move or compare, and report; 1 when a comparison found a difference."""
    from rag_chain.cli import DONE, FAILED
    from rag_chain.cli.common import read_quietly
    from rag_chain.cli.progress import stage_bar
    from rag_chain.store.moving import check_move, move
    from rag_chain.store.repair import many

    if options.keep_old and not options.replace:
        options.refuse_usage("--keep-old needs --replace")
    if options.check_only and (options.replace or options.wait is not None or options.bulk is not None):
        options.refuse_usage("--check-only changes nothing: leave --replace, --wait and --bulk out")
    settings = read_quietly(options)
    place = {"database": options.to_db, "collection": options.to_collection}
    given = {"queries": options.queries, "index_seconds": options.wait}
    choices = {name: value for name, value in given.items() if value is not None}
    with stage_bar() as show:
        if options.check_only:
            report = check_move(options.to, settings, **place, **choices, on_progress=show)
        else:
            old = {"replace": options.replace, "keep_old": options.keep_old}
            report = move(options.to, settings, **place, **old, **choices, bulk=options.bulk, on_progress=show)
    if options.json:
        print_json(report.to_json())
    else:
        print_report(report)
    if report.warning:
        complain(report.warning)
    if not report.is_complete:
        complain(
            f"the two differ, {many(report.missing, 'chunk')} of the source not there, "
            f"{many(report.surplus, 'chunk')} there only: move it again with --replace"
        )
    return DONE if report.is_complete else FAILED


def print_report(report: MoveReport) -> None:
    """Print the report for a person."""
    say(f"source: {report.source:,} chunks of {report.documents:,} documents")
    say(f"target: {report.target:,} chunks; {report.copied:,} copied, {report.present:,} were there")
    if report.recall is not None:
        recall = f"{report.recall.mean:.4f}, lowest {report.recall.minimum:.2f}"
        say(f"recall@10 against exact search: {recall}, over {report.recall.queries} stored vectors")
    say(f"nothing was embedded; {report.seconds:.1f} s")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def _seconds(text: str) -> float:
    return float(_count(text))

"""``rag-chain doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.cli.terminal import print_json, say

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    from rag_chain.sizing import TOKENS_PER_CHUNK, read_count

    what = parser.add_mutually_exclusive_group()
    what.add_argument("--repair", action="store_true", help="remove what runs that broke off left in the store")
    what.add_argument(
        "--sizing", type=read_count, metavar="N", help="memory, disk, dollars and hours for N chunks, such as 10M or 1B"
    )
    parser.add_argument(
        "--dimensions", type=read_count, help="with --sizing: length of the vectors (default: the model's)"
    )
    parser.add_argument(
        "--tokens-per-chunk",
        type=read_count,
        default=TOKENS_PER_CHUNK,
        metavar="N",
        help="with --sizing: tokens in a chunk, on average (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Check everything, or repair the store, or say what a store of a size needs; 1 when something is wrong."""
    if options.sizing is not None:
        return _size(options)
    from rag_chain.cli import DONE, FAILED
    from rag_chain.cli.common import given_settings
    from rag_chain.diagnosis import diagnose, repair

    report = (repair if options.repair else diagnose)(given_settings(options))
    if options.json:
        print_json(report)
    else:
        for check in report["checks"]:
            mend = f"\n      {check['mend']}" if check["mend"] else ""
            say(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['name']}: {check['detail']}{mend}")
    return DONE if report["ok"] else FAILED


def _size(options: argparse.Namespace) -> int:
    """Print what so many chunks need; nothing is asked of a model or a store."""
    from rag_chain.cli import DONE
    from rag_chain.cli.common import read_quietly
    from rag_chain.sizing import describe_sizing, estimate_size

    sizing = estimate_size(
        options.sizing,
        read_quietly(options),
        dimensions=options.dimensions,
        tokens_per_chunk=options.tokens_per_chunk,
    )
    if options.json:
        print_json(sizing.to_json())
    else:
        say(describe_sizing(sizing))
    return DONE

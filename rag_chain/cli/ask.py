"""``rag-chain ask``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rag_chain.cli.options import add_retrieval_options

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from rag_chain.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("question", help="the question; - reads it from stdin")
    add_retrieval_options(parser)


def run(options: argparse.Namespace) -> int:
    """Answer, streaming to a person."""
    from rag_chain.cli import DONE
    from rag_chain.cli.common import print_json, read_filter, read_settings, read_text

    settings = read_settings(options)
    asked: dict[str, Any] = {"question": read_text(options.question), "filter": read_filter(options)}
    if options.json:
        from rag_chain.pipeline import build_chain

        print_json(build_chain(settings).invoke(asked))
    else:
        show_answer(settings, asked)
    return DONE


def show_answer(settings: Settings, asked: Mapping[str, Any]) -> None:
    """Print an answer as it comes, then its sources and whether it is backed by them."""
    from rag_chain.answering.types import place
    from rag_chain.cli.common import shorten
    from rag_chain.pipeline import build_chain

    sources: list[dict[str, Any]] = []
    checked: dict[str, Any] = {}
    for part in build_chain(settings).stream(asked):
        sources = part.get("sources", sources)
        print(part.get("answer", ""), end="", flush=True)
        checked = part if "grounded" in part else checked
    print("\n")
    by_number = {source["number"]: source for source in sources}
    for citation in checked["citations"]:
        where = place(by_number[citation["number"]]) if citation["number"] in by_number else "no such source"
        print(f"[{citation['number']}] {where} ({citation['verdict']})\n    {shorten(citation['quote'], 160)}")
    # A refusal has no citation either, and says so itself.
    if not checked["grounded"] and checked["citations"]:
        print("Not all of this answer is backed by the documents.", file=sys.stderr)
    elif not checked["grounded"] and not checked["refused"]:
        print("This answer is not backed by the documents.", file=sys.stderr)

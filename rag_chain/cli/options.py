"""Options that several commands have; imports nothing, so that ``--help`` stays quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_retrieval_options(parser: argparse.ArgumentParser) -> None:
    """Add what asking and searching have in common."""
    add_passage_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_passage_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which passages are looked for."""
    parser.add_argument("-k", type=int, metavar="N", help="number of passages to find (RAG_TOP_K)")
    parser.add_argument("--source", metavar="GLOB", help="only documents whose path matches, e.g. 'faq/*'")


def add_loader_options(parser: argparse.ArgumentParser) -> None:
    """Add what names a loader and a splitter."""
    group = parser.add_argument_group("LangChain loaders and splitters", "see docs/loaders.md")
    group.add_argument(
        "--loader", metavar="MODULE:CLASS", help="what this loader gives, instead of paths or beside them"
    )
    group.add_argument(
        "--loader-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="its option, as text or JSON; env:NAME is taken from the environment; may be repeated",
    )
    group.add_argument("--loader-name", metavar="NAME", help="what tells it from others (default: its class and place)")
    group.add_argument("--source-key", metavar="KEY", help="metadata that names a document (source, url, id or path)")
    group.add_argument("--splitter", metavar="MODULE:CLASS", help="split with this TextSplitter instead of ours")
    group.add_argument(
        "--splitter-option", action="append", default=[], metavar="NAME=VALUE", help="its option; may be repeated"
    )

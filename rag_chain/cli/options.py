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

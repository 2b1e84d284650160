"""``rag-chain ask``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.cli.options import add_retrieval_options
from rag_chain.cli.terminal import print_json

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("question", help="the question; - reads it from stdin")
    add_retrieval_options(parser)


def run(options: argparse.Namespace) -> int:
    """Answer, streaming to a person."""
    from rag_chain.cli import DONE
    from rag_chain.cli.answers import show_answer
    from rag_chain.cli.common import read_filter, read_settings, read_text
    from rag_chain.pipeline import build_chain

    chain = build_chain(read_settings(options))
    asked: dict[str, Any] = {"question": read_text(options.question), "filter": read_filter(options)}
    if options.json:
        print_json(chain.invoke(asked))
    else:
        show_answer(chain.stream(asked), {})
    return DONE

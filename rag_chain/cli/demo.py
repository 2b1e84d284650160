"""``rag-chain demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag_chain.errors import DocumentError

if TYPE_CHECKING:
    import argparse

QUESTION = "How is data stored in Milvus?"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("question", nargs="?", default=QUESTION, help=f"default: {QUESTION}")


def run(options: argparse.Namespace) -> int:
    """Ingest the example documents into a collection of their own and answer a question about them."""
    from rag_chain.cli import DONE
    from rag_chain.cli.ask import show_answer
    from rag_chain.cli.common import read_settings
    from rag_chain.cli.ingest import print_report
    from rag_chain.cli.progress import progress_bar
    from rag_chain.pipeline import ingest

    settings = read_settings(options)
    if not options.collection:
        settings = settings.with_changes(collection="demo")
    corpus = find_corpus()
    print(f"Ingesting {corpus}")
    with progress_bar() as show:
        print_report(ingest(corpus, settings, on_progress=show))
    print(f"\nAsking: {options.question}\n")
    show_answer(settings, {"question": options.question})
    return DONE


def find_corpus() -> Path:
    """Return the folder of the example documents, from the installed package or the checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "examples" / "corpus", package.parent / "examples" / "corpus"):
        if folder.is_dir():
            return folder
    raise DocumentError("the example documents are not installed: reinstall rag-chain")

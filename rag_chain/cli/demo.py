"""``rag-chain demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rag_chain.cli.terminal import say
from rag_chain.errors import DocumentError, FingerprintError

if TYPE_CHECKING:
    import argparse

    from rag_chain.ingestion.report import IngestReport
    from rag_chain.settings import Settings

QUESTION = "How is data stored in Milvus?"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("question", nargs="?", default=QUESTION, help=f"default: {QUESTION}")


def run(options: argparse.Namespace) -> int:
    """Ingest the example documents into a collection of their own and answer a question about them."""
    from rag_chain.cli import DONE
    from rag_chain.cli.answers import show_answer
    from rag_chain.cli.common import read_settings
    from rag_chain.cli.ingest import print_report
    from rag_chain.pipeline import build_chain

    settings = read_settings(options)
    if not options.collection:
        settings = settings.with_changes(collection="demo")
    corpus = find_corpus()
    say(f"Ingesting {corpus}")
    print_report(_ingest(corpus, settings, own=not options.collection))
    say(f"\nAsking: {options.question}\n")
    show_answer(build_chain(settings).stream(options.question), {})
    return DONE


def _ingest(corpus: Path, settings: Settings, *, own: bool) -> IngestReport:
    """Ingest, building the demo's own collection anew when another model made it: first without a key, then with."""
    from rag_chain.cli.progress import progress_bar
    from rag_chain.pipeline import ingest

    with progress_bar() as show:
        try:
            return ingest(corpus, settings, on_progress=show)
        except FingerprintError:
            if not own:
                raise
            return ingest(corpus, settings, rebuild=True, on_progress=show)


def find_corpus() -> Path:
    """Return the folder of the example documents, from the installed package or the checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "examples" / "corpus", package.parent / "examples" / "corpus"):
        if folder.is_dir():
            return folder
    raise DocumentError("the example documents are not installed: reinstall rag-chain")

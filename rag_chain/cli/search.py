"""``rag-chain search``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("query", help="what to look for; - reads it from stdin")
    parser.add_argument("-k", type=int, metavar="N", help="number of passages (RAG_TOP_K)")
    parser.add_argument("--source", metavar="GLOB", help="only documents whose path matches, e.g. 'faq/*'")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Search and print the passages."""
    from rag_chain.answering.chain import number_sources
    from rag_chain.cli import DONE
    from rag_chain.cli.ask import read_text
    from rag_chain.cli.common import place, print_json, read_settings, shorten
    from rag_chain.errors import QuestionError
    from rag_chain.pipeline import build_retriever

    settings = read_settings(options)
    if options.k is not None:
        settings = settings.with_changes(top_k=options.k)
    query = read_text(options.query)
    if not query.strip():
        raise QuestionError("the query is empty")
    conditions: dict[str, Any] = {"filter": {"source": options.source}} if options.source else {}
    sources = number_sources(build_retriever(settings).invoke(query, **conditions))
    if options.json:
        print_json({"query": query, "sources": sources})
    else:
        for source in sources:
            print(f"[{source['number']}] {place(source)}  (score {source['score']:.2f})")
            print(f"    {shorten(source['text'])}")
    return DONE

"""``rag-chain search``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.cli.options import add_retrieval_options
from rag_chain.cli.terminal import print_json, say

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("query", help="what to look for; - reads it from stdin")
    add_retrieval_options(parser)


def run(options: argparse.Namespace) -> int:
    """Search and print the passages."""
    from rag_chain.answering.packing import number_sources
    from rag_chain.answering.types import place
    from rag_chain.cli import DONE
    from rag_chain.cli.common import read_filter, read_settings, read_text, shorten
    from rag_chain.errors import QuestionError
    from rag_chain.models.building import build_embedding_client
    from rag_chain.pipeline import build_retriever

    settings = read_settings(options)
    query = read_text(options.query)
    if not query.strip():
        raise QuestionError("the query is empty")
    # LangChain's class of the model would have to be imported first, which takes longer than the search.
    retriever = build_retriever(settings, embeddings=build_embedding_client(settings))
    sources = number_sources(retriever.invoke(query, None, filter=read_filter(options)))
    if options.json:
        print_json({"query": query, "sources": sources})
    else:
        for source in sources:
            say(f"[{source['number']}] {place(source)}  (score {source['score']:.2f})")
            say(f"    {shorten(source['text'])}")
    return DONE

"""``rag-chain explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.cli.options import add_retrieval_options
from rag_chain.cli.terminal import print_json, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

MOST_DROPPED = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("question", help="the question; - reads it from stdin")
    parser.add_argument("--document", metavar="D", help="say where this document fell out; a source or a pattern")
    add_retrieval_options(parser)


def run(options: argparse.Namespace) -> int:
    """Explain and print."""
    from rag_chain.cli import DONE
    from rag_chain.cli.common import read_filter, read_settings, read_text
    from rag_chain.errors import QuestionError
    from rag_chain.explaining import explain

    question = read_text(options.question)
    if not question.strip():
        raise QuestionError("the question is empty")
    found = explain(question, read_settings(options), document=options.document, filter=read_filter(options))
    if options.json:
        print_json(found)
    else:
        _show(found)
    return DONE


def _show(found: Mapping[str, Any]) -> None:
    for stage in found["stages"]:
        say(f"{stage['stage']}: {len(stage['kept'])} kept, {len(stage['dropped'])} dropped")
        # What the search found is shown by its first; what comes after it, by what it took out.
        for chunk in stage["kept"][:10] if stage["stage"] in {"search", "budget"} else ():
            say(f"    {_line(chunk)}")
        for chunk in stage["dropped"][:MOST_DROPPED]:
            say(f"  - {_line(chunk)}: {chunk['why']}")
        if len(stage["dropped"]) > MOST_DROPPED:
            say(f"  - and {len(stage['dropped']) - MOST_DROPPED} more")
    if document := found.get("document"):
        where = f"fell out at {document['fell_out']}: " if document["fell_out"] else ""
        say(f"\n{document['document']}: {where}{document['why']}")


def _line(chunk: Mapping[str, Any]) -> str:
    numbers = [f"cosine {chunk['score']:.3f}"] if "score" in chunk else []
    numbers += [f"dense {chunk['dense_rank']}"] if "dense_rank" in chunk else []
    numbers += [f"bm25 {chunk['bm25_rank']}"] if "bm25_rank" in chunk else []
    numbers += [f"rerank {chunk['rerank_score']:.3f}"] if "rerank_score" in chunk else []
    heading = f" > {chunk['heading']}" if chunk["heading"] else ""
    return f"{chunk['source']}{heading} ({', '.join(numbers)})"

"""``rag-chain evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_chain.cli.terminal import complain, print_json, say, write_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "dataset", nargs="?", help="folder in BEIR's layout, or a file of JSON lines with question and source or answer"
    )
    parser.add_argument("--retriever", choices=("hybrid", "dense", "bm25"), help="search to measure (RAG_RETRIEVER)")
    parser.add_argument("--qrels", action="append", default=[], metavar="NAME", help="list of judgements; repeatable")
    parser.add_argument("--limit", type=int, metavar="N", help="take the first N questions")
    parser.add_argument("--answers", action="store_true", help="measure the answers, too")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the JSON into a file, to compare with later")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a Markdown report")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write an HTML report with plots")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A.json", "B.json"), help="compare two saved results")
    parser.add_argument("--generate", type=int, metavar="N", help="draft N questions from the collection's own chunks")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where --generate writes them; default: stdout")


def run(options: argparse.Namespace) -> int:
    """Evaluate, compare or draft questions."""
    from rag_chain.cli import DONE, WRONG_USAGE

    if options.compare:
        return _compare(options)
    if options.generate:
        return _generate(options)
    if not options.dataset:
        complain("name a dataset, or use --compare or --generate")
        return WRONG_USAGE
    _evaluate(options)
    return DONE


def _evaluate(options: argparse.Namespace) -> None:
    from rag_chain.cli.common import read_settings
    from rag_chain.cli.progress import count_bar, progress_bar
    from rag_chain.evaluation.datasets import read_dataset
    from rag_chain.evaluation.report import write_markdown
    from rag_chain.measuring import evaluate

    dataset = read_dataset(options.dataset, options.qrels)
    settings = read_settings(options)
    with progress_bar() as ingested, count_bar("questions") as asked:
        evaluation = evaluate(
            dataset, settings, limit=options.limit, answers=options.answers, on_ingest=ingested, on_question=asked
        )
    results = evaluation.to_json()
    _write(options, results)
    if options.json:
        print_json(results)
    else:
        say(write_markdown(results), end="")


def _write(options: argparse.Namespace, results: Mapping[str, Any]) -> None:
    import json

    from rag_chain.evaluation.plots import write_html
    from rag_chain.evaluation.report import write_markdown

    writers = {
        options.save: lambda found: json.dumps(found, ensure_ascii=False, indent=1),
        options.markdown: write_markdown,
        options.html: write_html,
    }
    for file, write in writers.items():
        if file is not None:
            file.write_text(write(results), "utf-8")


def _compare(options: argparse.Namespace) -> int:
    from rag_chain.cli import DONE
    from rag_chain.evaluation.report import compare_results, read_results

    compared = compare_results(*map(read_results, options.compare))
    if options.json:
        print_json(compared)
        return DONE
    first, second = options.compare
    say(f"A = {first}, B = {second}; p of a paired permutation test\n\n| measure | A | B | B - A | p | questions |")
    say("|---|---|---|---|---|---|")
    for measure, found in compared.items():
        values = " | ".join(f"{found[key]:.4f}" for key in ("a", "b", "difference", "p"))
        say(f"| {measure} | {values} | {found['questions']} |")
    return DONE


def _generate(options: argparse.Namespace) -> int:
    from rag_chain.cli import DONE
    from rag_chain.cli.common import read_settings
    from rag_chain.cli.progress import count_bar
    from rag_chain.measuring import draft_questions

    with count_bar("questions") as drafted:
        rows = draft_questions(read_settings(options), options.generate, on_question=drafted)
    text = "".join(write_json(row) + "\n" for row in rows)
    if options.output:
        options.output.write_text(text, "utf-8")
    else:
        say(text, end="")
    return DONE

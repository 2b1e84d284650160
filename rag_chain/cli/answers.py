"""An answer in the terminal: its text as it comes, then its sources and whether they stand behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.cli.terminal import remark, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def show_answer(parts: Iterable[Mapping[str, Any]], shown: dict[str, Any]) -> None:
    """Print an answer as it comes, then its citations with their verdicts.

    ``shown`` takes up the keys of ``Answer`` as they come, so that it is known what was seen of one that is stopped.
    """
    try:
        for part in parts:
            say(part.get("answer", ""), end="", flush=True)
            shown.update(part, answer=shown.get("answer", "") + part.get("answer", ""))
    finally:
        # What is said next, be it an error, begins on a line of its own.
        if shown.get("answer"):
            say("\n")
    _show_citations(shown)


def _show_citations(answer: Mapping[str, Any]) -> None:
    from rag_chain.answering.types import place
    from rag_chain.cli.common import shorten

    by_number = {source["number"]: source for source in answer["sources"]}
    for citation in answer["citations"]:
        where = place(by_number[citation["number"]]) if citation["number"] in by_number else "no such source"
        say(f"[{citation['number']}] {where} ({citation['verdict']})\n    {shorten(citation['quote'], 160)}")
    # A refusal has no citation either, and says so itself.
    if not answer["grounded"] and answer["citations"]:
        remark("Not all of this answer is backed by the documents.")
    elif not answer["grounded"] and not answer["refused"]:
        remark("This answer is not backed by the documents.")

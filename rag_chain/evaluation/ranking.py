"""Measure rankings of documents, with ir-measures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from langchain_core.documents import Document

# How ir-measures calls what DESIGN, BEIR and everyone else call so.
MEASURES = {"ndcg@10": "nDCG@10", "recall@5": "R@5", "recall@10": "R@10", "recall@100": "R@100", "mrr@10": "RR@10"}


def rank_documents(chunks: Iterable[Document]) -> list[str]:
    """Return the documents in the order of their best chunks."""
    return list(dict.fromkeys(str(chunk.metadata["source"]) for chunk in chunks))


def measure_rankings(
    relevant: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Return each measure's value for each question; a question with nothing relevant has none.

    ``relevant`` gives scores by question and document, where under 1 is not relevant; ``rankings`` the
    documents found, best first.
    """
    import ir_measures

    judged = {
        q: {d: max(score, 0) for d, score in of.items()}
        for q, of in relevant.items()
        if max(of.values(), default=0) > 0
    }
    # Scores that fall, so that the order found is the order measured.
    run = {q: {d: float(-place) for place, d in enumerate(rankings.get(q, ()))} for q in judged}
    measures = {ir_measures.parse_measure(theirs): ours for ours, theirs in MEASURES.items()}
    values: dict[str, dict[str, float]] = {ours: dict.fromkeys(judged, 0.0) for ours in MEASURES}
    for found in ir_measures.iter_calc(list(measures), judged, run):
        values[measures[found.measure]][found.query_id] = float(found.value)
    return values

"""Fuse two rankings by how far each result stands out in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


def fuse(
    cosines: Mapping[str, float], bm25: Mapping[str, float], *, dense_weight: float, depth: int
) -> dict[str, float]:
    """Return the fused score of every result, best first.

    A result's score is the weighted sum of its distances from each ranking's mean, in standard
    deviations. Where it is missing it counts as that ranking's last. A BM25 ranking shorter than
    ``depth`` is filled up with zeros: nothing else in the collection holds a word of the question.
    So a ranking in which all are alike says little, and one result that stands out says much; ranks
    alone would tell the two from each other no better than any pair of neighbours.
    """
    filled = [*bm25.values(), *[0.0] * (depth - len(bm25))] if bm25 else []
    dense, missing_dense = _standardize(cosines, list(cosines.values()))
    sparse, missing_sparse = _standardize(bm25, filled)
    fused = {
        chunk: dense_weight * dense.get(chunk, missing_dense) + (1 - dense_weight) * sparse.get(chunk, missing_sparse)
        for chunk in {**cosines, **bm25}
    }
    return dict(sorted(fused.items(), key=lambda pair: -pair[1]))


def _standardize(scores: Mapping[str, float], population: list[float]) -> tuple[dict[str, float], float]:
    """Return the scores in standard deviations from the mean, and that of the last."""
    if not population:
        return {}, 0.0
    values = np.array(population)
    mean, deviation = float(values.mean()), float(values.std()) or 1.0
    return {chunk: (score - mean) / deviation for chunk, score in scores.items()}, (min(population) - mean) / deviation

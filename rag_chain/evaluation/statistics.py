"""How sure a mean is, and whether two runs differ: with SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESAMPLES = 2000
SEED = 7


def mean(values: Sequence[float]) -> float:
    """Return the mean, 0 of nothing."""
    return float(np.mean(values)) if len(values) else 0.0


def confidence(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the bootstrap confidence interval of the mean (percentile method, 2,000 resamples)."""
    from scipy.stats import bootstrap

    if len(values) < 2 or len(set(values)) == 1:
        return mean(values), mean(values)
    found = bootstrap(
        (np.asarray(values, float),),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def compare(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Return means, difference and p of two runs' values over the questions that both have.

    p is that of a two-sided paired permutation test (signs of the differences are swapped).
    """
    from scipy.stats import permutation_test

    shared = sorted(one.keys() & other.keys())
    first, second = np.array([one[q] for q in shared]), np.array([other[q] for q in shared])
    differences = second - first
    p = 1.0
    if differences.any():
        found = permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            n_resamples=RESAMPLES * 5,
            rng=np.random.default_rng(SEED),
        )
        p = float(found.pvalue)
    return {
        "questions": len(shared),
        "a": mean(list(first)),
        "b": mean(list(second)),
        "difference": mean(list(differences)),
        "p": p,
    }

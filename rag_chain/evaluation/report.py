"""The results of an evaluation: as JSON, as Markdown, and compared with another's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_chain.errors import DatasetError
from rag_chain.evaluation.statistics import compare, confidence, mean

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Evaluation:
    """Each measure's value for each question, by ``measure`` and question id, and what was measured."""

    dataset: str
    retriever: str
    questions: int
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each measure."""
        return {measure: mean(list(of.values())) for measure, of in self.values.items()}

    def to_json(self) -> dict[str, Any]:
        """Return everything as one JSON document: means, 95 % intervals, groups and the single values."""
        return {
            "dataset": self.dataset,
            "retriever": self.retriever,
            "queries": self.questions,
            "metrics": self.metrics,
            "confidence": {measure: list(confidence(list(of.values()))) for measure, of in self.values.items()},
            "counts": {measure: len(of) for measure, of in self.values.items()},
            "groups": self._by_group() if len(self.groups) > 1 else {},
            "seconds": self.seconds,
            "settings": self.settings,
            "per_query": self.values,
            "questions": self.texts,
        }

    def _by_group(self) -> dict[str, dict[str, float]]:
        return {
            group: {m: mean([of[q] for q in ids if q in of]) for m, of in self.values.items()}
            for group, ids in self.groups.items()
        }


def read_results(file: str | Path) -> dict[str, Any]:
    """Return the JSON that an evaluation wrote; ``DatasetError`` when it is none."""
    try:
        found = json.loads(Path(file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} can't be read as the JSON of an evaluation: {error}") from None
    if not isinstance(found, dict) or "per_query" not in found:
        raise DatasetError(f"{file} is not the JSON of an evaluation: it has no per_query")
    return found


def compare_results(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return for each measure that both have: the means, their difference and p, see ``statistics.compare``."""
    shared = [measure for measure in one["per_query"] if measure in other["per_query"]]
    return {measure: compare(one["per_query"][measure], other["per_query"][measure]) for measure in shared}


def write_markdown(results: Mapping[str, Any]) -> str:
    """Return the results as a table with 95 % confidence intervals."""
    lines = [
        f"# {results['dataset']}, {results['retriever']}",
        "",
        f"{results['queries']} questions; intervals are 95 % bootstrap intervals of the mean.",
        "",
        "| measure | mean | 95 % | questions |",
        "|---|---|---|---|",
    ]
    for measure, value in results["metrics"].items():
        low, high = results["confidence"][measure]
        lines.append(f"| {measure} | {value:.4f} | {low:.4f} to {high:.4f} | {results['counts'][measure]} |")
    for group, values in results["groups"].items():
        lines += ["", f"## {group}", "", "| measure | mean |", "|---|---|"]
        lines += [f"| {measure} | {value:.4f} |" for measure, value in values.items()]
    return "\n".join(lines) + "\n"

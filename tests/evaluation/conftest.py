"""A small dataset of our own in BEIR's layout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CORPUS = {
    "animals/bears": ("Bears", "Brown bears sleep through the winter. They eat salmon in autumn."),
    "tides": ("Tides", "The moon pulls the ocean, which makes the tides."),
    "rows": ("", "Rows live in sealed segments on object storage."),
    "empty": ("Only a title", ""),
}
QUERIES = {"q1": "Where do bears sleep in winter?", "q2": "What makes the tides?", "q3": "Who won the cup in 1998?"}
QRELS = {"q1": {"animals/bears": 1}, "q2": {"tides": 2, "rows": 0}}
ANSWERS: dict[str, dict[str, object]] = {
    "q1": {"answers": ["through the winter"], "unanswerable": False},
    "q2": {"answers": ["the moon"], "unanswerable": False},
    "q3": {"unanswerable": True},
}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Four documents, three questions, of which one has no answer."""
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [{"_id": i, "title": t, "text": x} for i, (t, x) in CORPUS.items()])
    write_lines(folder / "queries.jsonl", [{"_id": i, "text": text} for i, text in QUERIES.items()])
    write_lines(folder / "answers.jsonl", [{"_id": i, **row} for i, row in ANSWERS.items()])
    rows = [f"{q}\t{d}\t{score}" for q, of in QRELS.items() for d, score in of.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n", "utf-8")
    return folder


def write_lines(file: Path, rows: list[dict[str, object]]) -> None:
    """Write one JSON object to a line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

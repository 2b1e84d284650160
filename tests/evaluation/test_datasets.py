"""Reading questions with what is right for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rag_chain.errors import DatasetError
from rag_chain.evaluation.datasets import read_dataset
from tests.evaluation.conftest import write_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_folder_in_beirs_layout(dataset: Path) -> None:
    """Documents, questions with their judgements and answers, and those that nothing answers."""
    read = read_dataset(dataset)
    assert [row[0] for row in read.corpus or []] == ["animals/bears", "tides", "rows", "empty"]
    first, second, third = read.questions
    assert (first.relevant, first.answers, first.unanswerable) == ({"animals/bears": 1}, ("through the winter",), False)
    assert second.relevant == {"tides": 2, "rows": 0}
    assert (third.relevant, third.unanswerable, third.group) == ({}, True, "")


def test_lists_of_judgements_can_be_chosen(dataset: Path) -> None:
    """Test is taken where there is one, else all, or those that are named; with a zero column or without a header."""
    (dataset / "qrels" / "other.tsv").write_text("q2\t0\trows\t1\n", "utf-8")
    assert {q.group for q in read_dataset(dataset).questions} == {"test", ""}
    (only, *_) = read_dataset(dataset, ["other"]).questions
    assert (only.id, only.relevant, only.group) == ("q2", {"rows": 1}, "other")
    (dataset / "qrels" / "test.tsv").rename(dataset / "qrels" / "dev.tsv")
    assert {q.group for q in read_dataset(dataset).questions} == {"dev", "other", ""}


def test_ones_own_questions(tmp_path: Path) -> None:
    """One JSON object to a line, about what is ingested already."""
    file = tmp_path / "mine.jsonl"
    write_lines(file, [
        {"question": "Where?", "source": "a.md"},
        {"question": "Who?", "source": ["a.md", "b.md"], "answer": "Ada", "id": "who"},
        {"question": "Why?", "unanswerable": True},
    ])  # fmt: skip
    read = read_dataset(file)
    assert (read.corpus, read.name) == (None, "mine")
    assert [(q.id, q.relevant, q.answers, q.unanswerable) for q in read.questions] == [
        ("1", {"a.md": 1}, (), None),
        ("who", {"a.md": 1, "b.md": 1}, ("Ada",), None),
        ("3", {}, (), True),
    ]


def spoil(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "corpus.jsonl").unlink(), r"no corpus\.jsonl"),
        (lambda folder: (folder / "qrels" / "test.tsv").unlink(), r"no qrels/\*\.tsv"),
        (spoil("queries.jsonl", '{"_id": "q1"'), r"queries\.jsonl, line 1: not JSON"),
        (spoil("queries.jsonl", "[1]\n"), "line 1: not a JSON object"),
        (spoil("queries.jsonl", '{"text": "x"}\n'), "no '_id'"),
        (spoil("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1 rows 1\n"), r"test\.tsv, line 2: expected"),
        (spoil("qrels/test.tsv", "q9\trows\t1\n"), "judges 'q9'"),
    ],
)
def test_what_is_wrong_is_named(dataset: Path, damage: Callable[[Path], Any], message: str) -> None:
    """With file and line."""
    damage(dataset)
    with pytest.raises(DatasetError, match=message):
        read_dataset(dataset)


def test_a_dataset_that_is_not_there(tmp_path: Path, dataset: Path) -> None:
    """Neither is a list of judgements that nobody wrote, nor a line without anything to compare with."""
    with pytest.raises(DatasetError, match="there is no"):
        read_dataset(tmp_path / "missing")
    with pytest.raises(DatasetError, match=r"no dev\.tsv, only test"):
        read_dataset(dataset, ["dev"])
    write_lines(tmp_path / "mine.jsonl", [{"question": "Where?"}])
    with pytest.raises(DatasetError, match="line 1: it has neither"):
        read_dataset(tmp_path / "mine.jsonl")

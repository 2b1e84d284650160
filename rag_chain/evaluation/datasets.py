"""Read questions with what is right for them: BEIR's folder layout, or one's own lines of JSON."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_chain.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CORPUS, QUERIES, ANSWERS, QRELS = "corpus.jsonl", "queries.jsonl", "answers.jsonl", "qrels"


@dataclass(frozen=True)
class JudgedQuestion:
    """A question, how relevant which documents are to it (0 is not at all), and what is a right answer.

    ``unanswerable`` is None where nobody has said; ``group`` is the list of judgements that it is from.
    """

    id: str
    text: str
    relevant: dict[str, int] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    unanswerable: bool | None = None
    group: str = ""


@dataclass(frozen=True)
class Dataset:
    """Questions, and the documents to find in: ``(id, title, text)``, or None for what is ingested already."""

    name: str
    questions: list[JudgedQuestion]
    corpus: list[tuple[str, str, str]] | None = None


def read_dataset(path: str | Path, qrels: Sequence[str] = ()) -> Dataset:
    """Return the questions of a folder in BEIR's layout, or of a file with one JSON object to a line.

    A folder holds ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/*.tsv``, and may hold ``answers.jsonl``.
    Of several lists of judgements ``test`` is taken, or all where there is none of that name, or those
    that ``qrels`` names. A line of a file holds ``question`` and at least one of ``source`` (a document or
    a list of them), ``answer`` (or a list) and ``unanswerable``. Raises ``DatasetError`` with file and line.
    """
    place = Path(path)
    if place.is_dir():
        return _read_folder(place, qrels)
    if not place.is_file():
        raise DatasetError(f"there is no {place}")
    questions = [_read_own(row, number, place) for number, row in enumerate(_read_lines(place), start=1)]
    return Dataset(place.stem, questions)


def _read_folder(folder: Path, qrels: Sequence[str]) -> Dataset:
    for name in (CORPUS, QUERIES):
        if not (folder / name).is_file():
            raise DatasetError(
                f"{folder} has no {name}: a dataset is a folder in BEIR's layout, or a file of JSON lines"
            )
    corpus = [
        (str(_need(row, "_id", folder / CORPUS)), str(row.get("title") or ""), str(row.get("text") or ""))
        for row in _read_lines(folder / CORPUS)
    ]
    texts = {
        str(_need(row, "_id", folder / QUERIES)): str(row.get("text") or "") for row in _read_lines(folder / QUERIES)
    }
    answers = (
        {str(row.get("_id")): row for row in _read_lines(folder / ANSWERS)} if (folder / ANSWERS).is_file() else {}
    )
    judged = [
        (group, question, relevant)
        for group in _choose_qrels(folder, qrels)
        for question, relevant in _read_qrels(folder / QRELS / f"{group}.tsv").items()
    ]
    unknown = next((question for _, question, _ in judged if question not in texts), None)
    if unknown is not None:
        raise DatasetError(f"{folder / QRELS} judges {unknown!r}, which {QUERIES} does not hold")
    questions = [_question(q, texts[q], relevant, answers.get(q, {}), group) for group, q, relevant in judged]
    seen = {question.id for question in questions}
    questions += [_question(q, texts[q], {}, row, "") for q, row in answers.items() if q in texts and q not in seen]
    return Dataset(folder.resolve().name, questions, corpus)


def _choose_qrels(folder: Path, wanted: Sequence[str]) -> list[str]:
    there = sorted(file.stem for file in (folder / QRELS).glob("*.tsv"))
    for name in wanted:
        if name not in there:
            raise DatasetError(f"{folder / QRELS} has no {name}.tsv, only {', '.join(there) or 'nothing'}")
    if not there:
        raise DatasetError(f"{folder} has no {QRELS}/*.tsv")
    return list(wanted) or (["test"] if "test" in there else there)


def _read_qrels(file: Path) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t"), start=1):
            if number == 1 and not row[-1].lstrip("-").isdigit():
                continue
            # BEIR has three columns; TREC a zero in second place.
            columns = row if len(row) == 3 else [row[0], *row[2:]] if len(row) == 4 else []
            if len(columns) != 3 or not columns[2].lstrip("-").isdigit():
                raise DatasetError(f"{file}, line {number}: expected question, document and score, with tabs between")
            judged.setdefault(columns[0], {})[columns[1]] = int(columns[2])
    return judged


def _question(number: str, text: str, relevant: dict[str, int], row: dict[str, Any], group: str) -> JudgedQuestion:
    return JudgedQuestion(number, text, relevant, _as_texts(row.get("answers")), row.get("unanswerable"), group)


def _read_own(row: dict[str, Any], number: int, file: Path) -> JudgedQuestion:
    text = _need(row, "question", file)
    sources, answers = _as_texts(row.get("source")), _as_texts(row.get("answer"))
    if not (sources or answers or "unanswerable" in row):
        raise DatasetError(f"{file}, line {number}: it has neither source nor answer nor unanswerable")
    relevant = dict.fromkeys(sources, 1)
    return JudgedQuestion(str(row.get("id") or number), str(text), relevant, answers, row.get("unanswerable"))


def _as_texts(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)


def _need(row: dict[str, Any], name: str, file: Path) -> Any:
    if name not in row:
        raise DatasetError(f"{file}: a line has no {name!r}")
    return row[name]


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file.read_text("utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{file}, line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DatasetError(f"{file}, line {number}: not a JSON object")
        yield row

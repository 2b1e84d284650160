"""rag-chain evaluate, from a folder to a report."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain import Settings, ingest
from rag_chain.cli import DONE, FAILED, WRONG_USAGE, main
from rag_chain.errors import SettingsError
from rag_chain.evaluation.datasets import read_dataset
from rag_chain.evaluation.plots import write_html
from rag_chain.measuring import evaluate
from tests.evaluation.conftest import write_lines

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fireworks_server import FireworksServer


@pytest.mark.parametrize(
    "retriever", ["hybrid", *(pytest.param(way, marks=pytest.mark.slow) for way in ("dense", "bm25"))]
)
def test_a_folder_is_ingested_and_measured(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], retriever: str
) -> None:
    """One JSON document with the measures; the documents stay in a collection of their own."""
    options = ["--provider", "local", "--milvus-uri", str(tmp_path / "e.db"), "--json"]
    assert main(["evaluate", str(dataset), "--retriever", retriever, *options]) == DONE
    results = json.loads(capsys.readouterr().out)
    assert (results["retriever"], results["queries"], results["dataset"]) == (retriever, 3, "small")
    assert {"ndcg@10", "recall@100", "mrr@10"} <= set(results["metrics"])
    assert results["metrics"]["ndcg@10"] == 1.0
    assert results["counts"]["ndcg@10"] == 2
    assert set(results["groups"]["test"]) == set(results["metrics"])


def test_a_second_run_ingests_nothing(dataset: Path, online: Settings, fireworks: FireworksServer) -> None:
    """And with other chunks it is another collection."""
    evaluate(read_dataset(dataset), online)
    texts = [text for request in fireworks.embedding_requests for text in request.body["input"]]
    assert any("Only a title" in text for text in texts)
    before = len(fireworks.embedding_requests)
    evaluate(read_dataset(dataset), online)
    assert len(fireworks.embedding_requests) == before + 2  # the two questions that are judged
    evaluate(read_dataset(dataset), online.with_changes(chunk_tokens=64))
    assert len(fireworks.embedding_requests) > before + 4


def test_answers_are_measured(dataset: Path, tmp_path: Path) -> None:
    """With the local answerer: it quotes, and does not know who won the cup."""
    settings = Settings(provider="local", milvus_uri=str(tmp_path / "e.db"))
    steps: list[tuple[int, int]] = []
    evaluation = evaluate(read_dataset(dataset), settings, answers=True, on_question=lambda *step: steps.append(step))
    metrics = evaluation.metrics
    assert (metrics["holds_answer"], metrics["false_refusal"], metrics["refusal_recall"]) == (1.0, 0.0, 1.0)
    assert (metrics["citation_precision"], metrics["grounded"]) == (1.0, 1.0)
    assert steps == [(number, 6) for number in range(1, 7)]


def test_ones_own_questions_are_asked_of_what_is_ingested(folder: Path, online: Settings, tmp_path: Path) -> None:
    """No collection is made; the sources are those of the ingest."""
    ingest(folder, online)
    write_lines(tmp_path / "mine.jsonl", [{"question": "Where do bears sleep?", "source": "bears.txt"}])
    evaluation = evaluate(read_dataset(tmp_path / "mine.jsonl"), online)
    assert evaluation.metrics["recall@5"] == 1.0
    assert evaluation.questions == 1


@pytest.mark.slow
def test_reports_and_a_comparison(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Saved results become Markdown, a page with its plots in it, and a table of differences."""
    options = ["--provider", "local", "--milvus-uri", str(tmp_path / "e.db")]
    files = {kind: tmp_path / f"a.{kind}" for kind in ("json", "markdown", "html")}
    reports = ["--save", str(files["json"]), "--markdown", str(files["markdown"]), "--html", str(files["html"])]
    assert main(["evaluate", str(dataset), *reports, *options]) == DONE
    assert main(["evaluate", str(dataset), "--retriever", "bm25", "--save", str(tmp_path / "b.json"), *options]) == DONE
    capsys.readouterr()
    assert "| ndcg@10 | 1.0000 | 1.0000 to 1.0000 | 2 |" in files["markdown"].read_text("utf-8")
    page = files["html"].read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 1
    assert not re.search(r"(?:src|href)=.(?!#)|url\((?!#)|@import", page)
    assert main(["evaluate", "--compare", str(files["json"]), str(tmp_path / "b.json"), "--json"]) == DONE
    compared: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(compared["ndcg@10"]) == {"questions", "a", "b", "difference", "p"}
    assert main(["evaluate", "--compare", str(files["json"]), str(tmp_path / "b.json")]) == DONE
    assert "| ndcg@10 |" in capsys.readouterr().out


def test_a_page_escapes_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions are text; without matplotlib the error says how to install it."""
    results = {
        "dataset": "<b>",
        "retriever": "hybrid",
        "queries": 1,
        "metrics": {"ndcg@10": 0.5},
        "confidence": {"ndcg@10": [0.4, 0.6]},
        "counts": {"ndcg@10": 1},
        "per_query": {"ndcg@10": {"<i>": 0.5}},
        "questions": {"<i>": "<script>alert(1)</script>"},
    }
    page = write_html(results)
    assert "<script>" not in page
    assert "<b>" not in page
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SettingsError, match=r"rag-chain\[evaluate\]"):
        write_html(results)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], WRONG_USAGE, "name a dataset"),
        (["missing"], FAILED, "there is no missing"),
        (["--compare", "a.json", "b.json"], FAILED, "can't be read"),
        (["--generate", "3", "--provider", "local"], FAILED, "needs a chat model"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, with what mends them."""
    assert main(["evaluate", *arguments]) == status
    out, err = capsys.readouterr()
    assert (out, words in err, err.count("\n")) == ("", True, 1)


def test_questions_are_drafted(
    folder: Path, online: Settings, provider: FireworksServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """One for each document first; a reply that is no question is passed over; they can be evaluated with."""
    ingest(folder, Settings())
    provider.answer = lambda body: (
        "Sorry, {}"
        if "bears" in str(body["messages"][-1])
        else '```json\n{"question": "Where?", "answer": "There"}\n```'
    )
    assert main(["evaluate", "--generate", "3"]) == DONE
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(row["source"] for row in rows) == ["guide/storage.md", "tides.html"]
    assert rows[0] == {"question": "Where?", "answer": "There", "source": rows[0]["source"]}

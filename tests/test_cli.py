"""The command line: what is printed, where, and with which exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain import Settings
from rag_chain.cli import COMMANDS, main
from rag_chain.store import links
from tests.fireworks_faults import Status
from tests.processes import end, running

if TYPE_CHECKING:
    from tests.fireworks_server import FireworksServer

ROOT = Path(__file__).parents[1]
QUESTION = "Where do rows live?"


@pytest.fixture(autouse=True)
def environment(provider: FireworksServer) -> FireworksServer:
    """Let every command find the loopback provider."""
    return provider


def read_json(capsys: pytest.CaptureFixture[str]) -> Any:
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def fail(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail: exit 1, nothing on stdout, one line on stderr; return the line."""
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rag-chain: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_ingest_prints_its_report_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON has the documented shape, and nothing else is printed."""
    assert main(["ingest", str(folder), "--json"]) == 0
    report = read_json(capsys)
    assert report["documents"] == {"added": 3, "changed": 0, "unchanged": 0, "removed": 0, "refused": 0}
    assert (report["refused"], report["as_planned"], report["planned"]) == ([], True, report["documents"])
    assert {source["state"] for source in report["sources"]} == {"added"}
    assert report["chunks"] == {"total": 4, "embedded": 4, "reused": 0, "deleted": 0}
    assert set(report["embedding"]) == {"requests", "texts", "tokens", "dollars"}
    assert report["seconds"] > 0


def test_a_plan_changes_nothing(folder: Path, provider: FireworksServer, capsys: pytest.CaptureFixture[str]) -> None:
    """--plan has the same shape and asks no model."""
    assert main(["ingest", str(folder), "--plan", "--json"]) == 0
    assert read_json(capsys)["documents"]["added"] == 3
    assert provider.requests == []


def test_a_refused_document_is_named_and_the_rest_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 3; the reason is on stderr, the other documents are in."""
    (folder / "broken.pdf").write_bytes(b"this is no PDF")
    assert main(["ingest", str(folder)]) == 3
    captured = capsys.readouterr()
    assert "refused broken.pdf: " in captured.err
    assert "3 added" in captured.out


def test_a_plan_estimates_the_time(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit that counts is named, for a person and for a machine."""
    monkeypatch.setenv("RAG_EMBEDDING_REQUESTS_PER_MINUTE", "10")
    monkeypatch.setenv("RAG_EMBEDDING_BATCH", "1")
    assert main(["ingest", str(folder), "--plan", "--json"]) == 0
    assert read_json(capsys)["estimate"] == {"minutes": 0.4, "limited_by": "requests per minute"}
    assert main(["ingest", str(folder), "--plan"]) == 0
    assert "time: less than a minute at 10 requests a minute\n" in capsys.readouterr().out
    monkeypatch.setenv("RAG_EMBEDDING_REQUESTS_PER_MINUTE", "2")
    assert main(["ingest", str(folder), "--plan"]) == 0
    assert "time: about 2 min at 2 requests a minute\n" in capsys.readouterr().out


def test_nothing_to_embed_takes_no_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan without new texts shows no estimate, and neither does an ingest."""
    assert main(["ingest", str(folder)]) == 0
    assert main(["ingest", str(folder), "--plan"]) == 0
    assert "time:" not in capsys.readouterr().out


def test_an_unknown_price_names_its_setting(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than a price of nothing; a known one is shown."""
    monkeypatch.setenv("RAG_EMBEDDING_MODEL", "somebody/unknown")
    assert main(["ingest", str(folder), "--plan"]) == 0
    assert "price not known: set RAG_EMBEDDING_PRICE" in capsys.readouterr().out
    assert main(["ingest", str(folder), "--plan", "--json"]) == 0
    assert read_json(capsys)["embedding"]["dollars"] is None
    monkeypatch.setenv("RAG_EMBEDDING_PRICE", "1000000")
    assert main(["ingest", str(folder), "--plan", "--json"]) == 0
    priced = read_json(capsys)["embedding"]
    assert priced["dollars"] == priced["tokens"]


def test_an_ingest_says_where_it_left_its_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr; nothing where all went as planned, and nothing from a plan."""
    assert main(["ingest", str(folder)]) == 0
    (folder / "blank.txt").write_text("\n", "utf-8")
    assert main(["ingest", str(folder), "--plan"]) == 3
    assert "planned" not in capsys.readouterr().err
    assert main(["ingest", str(folder)]) == 3
    assert "not as planned: 0 added instead of 1, 1 refused instead of 0\n" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--plan", "--json"])
def test_refusals_are_written_for_machines(option: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object a line: the document, the reason and the time; the old lines are gone."""
    (folder / "broken.pdf").write_bytes(b"this is no PDF")
    (folder / "blank.txt").write_text("\n", "utf-8")
    log = Path("refused.jsonl")
    log.write_text("old\n" * 9, "utf-8")
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)
    assert main(["ingest", str(folder), "--refusals", str(log), option]) == 3
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"source", "reason", "time"}] * 2
    assert {line["source"]: line["reason"] for line in lines}["blank.txt"] == "there is no text in it"
    assert all(before <= datetime.fromisoformat(line["time"]) <= datetime.now(timezone.utc) for line in lines)


def test_no_refusals_are_an_empty_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also after a run that failed: what an earlier one had refused is not this one's."""
    log = Path("refused.jsonl")
    for place, status in ((folder, 0), (folder / "nowhere", 1)):
        log.write_text("old\n", "utf-8")
        assert main(["ingest", str(place), "--refusals", str(log)]) == status
        assert log.read_text("utf-8") == ""


def test_refusals_that_cannot_be_written_stop_the_ingest(
    folder: Path, provider: FireworksServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path is named before any work is done."""
    assert "missing/refused.jsonl" in fail(capsys, "ingest", str(folder), "--refusals", "missing/refused.jsonl")
    assert provider.requests == []
    assert not Path("test.db").exists()


def test_only_refused_documents_mean_nothing_was_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 when not one document could be ingested."""
    (folder / "broken.pdf").write_bytes(b"this is no PDF")
    assert main(["ingest", str(folder / "broken.pdf")]) == 1
    assert "refused broken.pdf: " in capsys.readouterr().err


def test_search_prints_sources(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The query comes back with numbered sources, -k of them."""
    main(["ingest", str(folder), "--json"])
    capsys.readouterr()
    assert main(["search", QUESTION, "-k", "2", "--json"]) == 0
    found = read_json(capsys)
    assert found["query"] == QUESTION
    assert [source["number"] for source in found["sources"]] == [1, 2]
    assert found["sources"][0]["heading"] == "Storage > Where rows live"


def test_ask_prints_the_answer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives the Answer; without it the text, its sources and their verdicts."""
    main(["ingest", str(folder), "--json"])
    capsys.readouterr()
    assert main(["ask", QUESTION, "--json"]) == 0
    assert set(read_json(capsys)) == {"answer", "sources", "citations", "grounded", "refused", "removed_citations"}
    assert main(["ask", QUESTION]) == 0
    shown = capsys.readouterr()
    assert "[1] guide/storage.md > Storage > Where rows live (verbatim)" in shown.out
    assert shown.err == ""


CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture
def hostile(folder: Path, environment: FireworksServer, capsys: pytest.CaptureFixture[str]) -> FireworksServer:
    """A provider and an ingested document that both send sequences which a terminal obeys."""
    environment.answer = "Rows live in red\x1b[31m segments\x9b2J [1].\r\x7f"
    (folder / "evil.md").write_text(
        "# Rows\x1b]0;title\x07 and where they live\n\nRows live in red\x1b[31m segments\x9b2J.\n", "utf-8"
    )
    assert main(["ingest", str(folder)]) == 0
    capsys.readouterr()
    return environment


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("command", ["ask", "search", "explain"])
def test_documents_and_models_do_not_control_the_terminal(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Their control characters are shown for what they are; in JSON they are escaped and nothing is lost."""
    assert main([command, QUESTION, "--source", "evil.md"]) == 0
    shown = capsys.readouterr()
    assert CONTROLS.search(shown.out + shown.err) is None
    assert r"Rows\x1b]0;title\x07 and where" in shown.out
    assert command == "explain" or r"Rows live in red\x1b[31m segments\x9b2J" in shown.out
    assert main([command, QUESTION, "--source", "evil.md", "--json"]) == 0
    written = capsys.readouterr().out
    assert CONTROLS.search(written) is None
    assert r"Rows\u001b]0;title\u0007 and where" in written
    again = json.dumps(json.loads(written), ensure_ascii=False)
    assert command == "explain" or "segments\x9b2J" in again


def test_names_and_errors_do_not_control_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name is whatever whoever made the file has chosen."""
    (folder / "evil\x1b[2J.pdf").write_bytes(b"this is no PDF")
    assert main(["ingest", str(folder)]) == 3
    shown = capsys.readouterr()
    assert CONTROLS.search(shown.out + shown.err) is None
    assert r"refused evil\x1b[2J.pdf: " in shown.err
    assert r"nowhere\x1b" in fail(capsys, "ingest", "nowhere\x1b")


def test_a_question_can_come_from_stdin(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dash reads it there."""
    import io

    main(["ingest", str(folder), "--json"])
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{QUESTION}\n"))
    assert main(["ask", "-", "--json"]) == 0
    assert read_json(capsys)["grounded"]


def test_demo_answers_with_a_citation(capsys: pytest.CaptureFixture[str]) -> None:
    """The example documents are ingested and the tutorial's question is answered from them."""
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert "8 added" in shown
    assert "(verbatim)" in shown


@pytest.mark.slow
def test_demo_works_again_with_another_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tries it without a key and then sets one need not know of rebuilding."""
    assert main(["demo"]) == 0
    monkeypatch.setenv("RAG_EMBEDDING_DIMENSIONS", "128")
    assert main(["demo"]) == 0
    assert capsys.readouterr().out.count("8 added") == 2


def test_no_key_names_the_key_and_the_way_without(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RAG_PROVIDER=fireworks without a key."""
    monkeypatch.delenv("FIREWORKS_API_KEY")
    line = fail(capsys, "ask", QUESTION, "--provider", "fireworks")
    assert "FIREWORKS_API_KEY" in line
    assert "RAG_PROVIDER=local" in line


@pytest.mark.parametrize(("status", "named"), [(401, "FIREWORKS_API_KEY"), (404, "RAG_EMBEDDING_MODEL")])
def test_a_refusing_provider_is_one_line(
    status: int, named: str, provider: FireworksServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong key and an unknown model name what to set; the documents that are in stay in."""
    main(["ingest", str(folder), "--json"])
    (folder / "new.md").write_text("# New\n\nSomething new.\n", "utf-8")
    capsys.readouterr()
    provider.faults.add("embeddings", Status(status))
    assert named in fail(capsys, "ingest", str(folder))
    assert main(["ingest", str(folder), "--json"]) == 0
    assert read_json(capsys)["documents"] == {"added": 1, "changed": 0, "unchanged": 3, "removed": 0, "refused": 0}


def test_a_missing_path_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The path is named."""
    assert "nowhere/at/all" in fail(capsys, "ingest", "nowhere/at/all")


def test_an_empty_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So is a folder without documents."""
    (tmp_path / "empty").mkdir()
    assert "no document" in fail(capsys, "ingest", str(tmp_path / "empty"))


def test_asking_before_ingesting_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The command to run first is named."""
    assert "rag-chain ingest" in fail(capsys, "ask", QUESTION)


def test_an_unreachable_milvus_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The address and the setting are named."""
    line = fail(capsys, "ask", QUESTION, "--milvus-uri", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in line
    assert "MILVUS_URI" in line


def test_another_model_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection made with another embedding model names the rebuild."""
    main(["ingest", str(folder), "--json"])
    capsys.readouterr()
    monkeypatch.setenv("RAG_EMBEDDING_DIMENSIONS", "128")
    assert "ingest --rebuild" in fail(capsys, "ask", QUESTION)
    assert "ingest --rebuild" in fail(capsys, "ingest", str(folder))


def test_a_store_held_by_another_process_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is none of ours does not share its Milvus Lite; the second one is told so."""
    monkeypatch.setattr(links, "LITE_SECONDS", 0.3)
    main(["ingest", str(folder), "--json"])
    capsys.readouterr()
    code = """
        import milvus_lite
        db = milvus_lite.MilvusLite(sys.argv[1])
        print("ready", flush=True)
        sys.stdin.readline()
    """
    with running(code, Settings().milvus_uri) as holder:
        assert "another process" in fail(capsys, "ask", QUESTION)
        end(holder)
    assert main(["ask", QUESTION, "--json"]) == 0


def test_wrong_usage_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command, a missing argument, and an option without the one it belongs to are wrong usage."""
    for arguments in (["nonsense"], ["ask"], [], ["ingest", "docs", "--keep-old"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows what each option does."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    for option in re.findall(r"^  (--[\w-]+)(?: \S+)?$", shown, re.MULTILINE):
        assert re.search(rf"^  {option}.*\n\s{{10,}}\S", shown, re.MULTILINE), option


@pytest.mark.slow
def test_the_script_is_the_same_ingest(folder: Path) -> None:
    """scripts/ingest.py works from a checkout, from any folder, with the same options."""
    script = ROOT / "scripts" / "ingest.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder), "--json"], capture_output=True, text=True, check=True, env=os.environ
    )
    assert json.loads(done.stdout)["documents"]["added"] == 3


def test_python_m_is_the_same_program() -> None:
    """`python -m rag_chain` answers too."""
    done = subprocess.run([sys.executable, "-m", "rag_chain", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("rag-chain ")


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("kind", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_ingest_is_whole(
    kind: signal.Signals, provider: FireworksServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C and a polite kill end in one line; the same command afterwards completes what is missing."""
    many = tmp_path / "many"
    many.mkdir()
    for number in range(200):
        (many / f"{number}.md").write_text(f"# Page {number}\n\nThis page is about number {number}.\n", "utf-8")
    provider.latency = 0.5
    provider.concurrency = 1
    command = [sys.executable, "-m", "rag_chain", "ingest", str(many)]
    # A shell that starts the tests in the background ignores Ctrl-C for them, and so for their children.
    before = signal.signal(kind, signal.default_int_handler)
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        signal.signal(kind, before)
        deadline = time.monotonic() + 30
        while len(provider.embedding_requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(kind)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, "")
    assert errors == "rag-chain: interrupted; what was done is kept\n"
    provider.latency = 0.0
    assert main(["ingest", str(many), "--json"]) == 0
    report = read_json(capsys)
    assert report["documents"]["added"] + report["documents"]["unchanged"] == 200
    assert report["chunks"]["total"] == 200


def test_an_own_chat_model_that_is_not_served_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names a model wants that one: the default's fallback does not step in."""
    main(["ingest", str(folder), "--json"])
    capsys.readouterr()
    monkeypatch.setenv("RAG_CHAT_MODEL", "accounts/somebody/models/unknown")
    assert "RAG_CHAT_MODEL" in fail(capsys, "ask", QUESTION, "--json")


def test_a_fallback_says_that_it_steps_in(
    provider: FireworksServer, folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """When the default model is not served any more, the fallback answers and the log says so."""
    main(["ingest", str(folder), "--json"])
    capsys.readouterr()
    provider.models -= {"accounts/fireworks/models/gpt-oss-120b"}
    assert main(["ask", QUESTION]) == 0
    assert "(verbatim)" in capsys.readouterr().out
    assert "glm-5p3-flash answers instead" in caplog.text

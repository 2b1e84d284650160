"""langchain-community's loaders, used for real: an ingest keeps the collection in step with what they load from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rag_chain import build_retriever, ingest, plan_ingest
from rag_chain.cli import main
from tests.loaders.inputs import INPUTS, Input, make_input

if TYPE_CHECKING:
    from pathlib import Path

    from rag_chain import Settings
    from rag_chain.ingestion.report import IngestReport
    from tests.fireworks_server import FireworksServer

TEXTS = {
    "bears": "Brown bears sleep through the winter.",
    "tides": "The moon pulls the ocean, which makes the tides.",
    "salmon": "Salmon swim up the river in autumn.",
    "storks": "Storks fly to Africa before the first frost.",
}


@pytest.fixture(params=INPUTS)
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Input:
    """One of the five, with four texts in it."""
    made = make_input(request.param, tmp_path)
    made.write(TEXTS)
    return made


def load(given: Input, settings: Settings) -> IngestReport:
    return ingest(given.loader(), settings, source_key=given.source_key)


def find(settings: Settings, question: str) -> str:
    return "\n".join(chunk.page_content for chunk in build_retriever(settings).invoke(question))


def test_what_is_the_same_is_not_embedded_again(given: Input, online: Settings, fireworks: FireworksServer) -> None:
    """The first ingest embeds each document, the second asks the model nothing; the plan knows both."""
    assert plan_ingest(given.loader(), online, source_key=given.source_key).counts["added"] == 4
    report = load(given, online)
    assert (report.counts["added"], report.chunks_embedded, report.refused) == (4, 4, [])
    fireworks.requests.clear()
    report = load(given, online)
    assert (report.counts["unchanged"], report.chunks_embedded, report.as_planned) == (4, 0, True)
    assert fireworks.requests == []
    assert plan_ingest(given.loader(), online, source_key=given.source_key).tokens == 0


def test_changed_and_gone(given: Input, online: Settings) -> None:
    """Of four documents one is changed and one is gone: one is embedded, one is removed and is not found any more."""
    load(given, online)
    assert "Storks fly" in find(online, "Where do storks fly?")
    changed = {**TEXTS, "tides": "The sun pulls the ocean, too."}
    del changed["storks"]
    given.write(changed)
    report = load(given, online)
    counts = {"added": 0, "changed": 1, "unchanged": 2, "removed": 1, "refused": 0}
    assert (report.counts, report.chunks_embedded, report.chunks_deleted, report.chunks_total) == (counts, 1, 2, 3)
    found = find(online, "Where do storks fly? What pulls the ocean?")
    assert "sun pulls" in found
    assert "moon pulls" not in found
    assert "Storks fly" not in found


@pytest.mark.usefixtures("provider")
def test_the_command_line_makes_the_same_loader(given: Input, capsys: pytest.CaptureFixture[str]) -> None:
    """The documented options are enough; stdout holds the report alone."""
    assert main(["ingest", *given.options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"]["added"] == 4
    assert main(["ingest", *given.options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"]["unchanged"] == 4


@pytest.mark.parametrize("kind", ["obsidian", "slack"])
def test_a_command_says_nothing_of_the_package(kind: str, tmp_path: Path, provider: FireworksServer) -> None:
    """langchain-community's warning about its own future is for nobody who runs a command, whatever filter is set."""
    given = make_input(kind, tmp_path)
    given.write(TEXTS)
    command = [sys.executable, "-W", "always::DeprecationWarning", "-m", "rag_chain", "ingest", *given.options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, "sunset" in done.stderr) == (0, False), done.stderr


def test_equal_names_in_two_folders_are_two_notes(tmp_path: Path, online: Settings) -> None:
    """Obsidian's source is the file's name; notes of one name go by their paths, all others by their names."""
    vault = make_input("obsidian", tmp_path)
    vault.write(TEXTS)
    report = load(vault, online)
    twins = [str(vault.path / f"folder {number}" / "index.md") for number in (0, 1)]
    assert sorted(report.added) == sorted([*twins, "salmon.md", "storks.md"])


def test_rows_without_a_name_are_refused(tmp_path: Path, online: Settings) -> None:
    """By itself the SQL loader puts no column into the metadata: each row is refused, with what mends it."""
    from langchain_community.document_loaders import SQLDatabaseLoader

    database = make_input("sql", tmp_path)
    database.write(TEXTS)
    made = database.loader()
    assert isinstance(made, SQLDatabaseLoader)
    report = ingest(SQLDatabaseLoader(made.query, made.db), online)
    assert (report.documents, len(report.refused)) == (0, 4)
    assert all("--source-key" in refused.reason for refused in report.refused)

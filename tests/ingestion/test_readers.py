"""Reading in processes of their own gives what reading here gives, whatever happens to them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rag_chain.documents import find_documents
from rag_chain.documents.loading import load_file
from rag_chain.documents.splitting import SectionSplitter, text_to_embed
from rag_chain.ingestion import readers
from rag_chain.ingestion.plan import Work, make_plan
from rag_chain.ingestion.readers import Readers, count_readers
from rag_chain.ingestion.reading import Steps
from tests.ingestion.conftest import long_text
from tests.ingestion.test_run import write_zip

if TYPE_CHECKING:
    from langchain_core.documents import Document

ROOT = Path(__file__).parents[2]
STEPS = Steps(load_file, SectionSplitter(32, 0).iterate_chunks, text_to_embed)


def split_or_die(document: Document) -> list[Document]:
    """Split a document, unless it tells the process to die and that is a reader's."""
    if "die" in document.page_content and multiprocessing.current_process().name != "MainProcess":
        os.kill(os.getpid(), signal.SIGKILL)
    return list(STEPS.split(document))


@pytest.fixture
def works(tmp_path: Path) -> list[Work]:
    """60 documents in a folder and a zip, one of them empty, one no PDF."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(long_text(f"salmon {number}", 40), "utf-8")
    (folder / "empty.md").write_text("", "utf-8")
    (folder / "no.pdf").write_bytes(b"no PDF")
    write_zip(tmp_path / "more.zip", **{f"{number:02}": long_text(f"eels {number}", 40) for number in range(20)})
    return make_plan(find_documents([folder, tmp_path / "more.zip"]), {}, prune=True, rebuild=False).work


def read(works: list[Work], readers: int, steps: Steps = STEPS) -> list[tuple[str, list[tuple[str | None, str]]]]:
    with Readers(steps, readers) as processes:
        found = list(processes.read(works))
    return [(reading.reason, [(chunk.id, chunk.page_content) for chunk in reading.chunks]) for reading in found]


def test_they_read_what_is_read_here(works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    """Same chunks and refusals in the same order, from folders and archives."""
    monkeypatch.setattr(readers, "GROUP_DOCUMENTS", 3)
    expected = read(works, 0)
    assert sum(bool(reason) for reason, _ in expected) == 2
    assert read(works, 2) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")
def test_the_death_of_a_reader_loses_nothing(
    works: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a reader that died had been given is read here."""
    monkeypatch.setattr(readers, "GROUP_DOCUMENTS", 3)
    monkeypatch.setattr(Future, "done", lambda self: self.result() is None)
    (tmp_path / "docs" / "05.txt").write_text("Here one has to die.", "utf-8")
    works = make_plan(find_documents([tmp_path / "docs", tmp_path / "more.zip"]), {}, prune=True, rebuild=False).work
    deadly = Steps(load_file, split_or_die, text_to_embed)
    assert read(works, 1, deadly) == read(works, 0)
    assert "has died" in caplog.text


def test_as_many_as_asked_for() -> None:
    """Else one core is left for the writer."""
    assert (count_readers(3), count_readers(0)) == (3, 0)
    assert 0 <= count_readers(None) <= readers.MOST_READERS


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    """Calling ingest at the top of a script works, as it stands in the README."""
    (tmp_path / "docs").mkdir()
    for number in range(30):
        (tmp_path / "docs" / f"{number}.txt").write_text(long_text(f"salmon {number}", 1000), "utf-8")
    script = tmp_path / "script.py"
    script.write_text(
        "from rag_chain import Settings, plan_ingest\n"
        "print('started', flush=True)\n"
        "print(len(plan_ingest('docs', Settings(provider='local', readers=2)).added))\n",
        "utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("started\n30\n", "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the readers in /proc")
def test_readers_end_with_their_owner(tmp_path: Path) -> None:
    """No process is left when the one that started them is killed."""
    script = (
        "import os, signal\n"
        "from tests.ingestion.test_readers import STEPS, Readers\n"
        "with Readers(STEPS, 2) as readers:\n"
        "    ready = [readers._pool.submit(os.getpid) for _ in range(20)]\n"
        "    print(*{future.result() for future in ready}, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # It ends when the last process that can write to its output has ended.
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30, cwd=ROOT
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split()

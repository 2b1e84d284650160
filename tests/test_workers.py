"""Work in other processes gives what work here gives; what hangs, crashes or grows is refused and harms no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rag_chain import workers
from rag_chain.errors import DocumentError
from rag_chain.workers import Bounds, Workers, count_workers
from tests.ingestion.conftest import long_text

ROOT = Path(__file__).parents[1]
# How a parser may fail on a document that says so.
FAILURES = {
    "hang": "reading it took over 1.5 s; RAG_DOCUMENT_SECONDS raises the limit",
    "die": "its parser crashed, or needed over 200 MB; RAG_DOCUMENT_MEGABYTES raises the limit",
    "fail": "its parser failed: ZeroDivisionError: integer division or modulo by zero",
}


@dataclass(frozen=True)
class Text:
    """A task that is its own text."""

    text: str
    needs_process: bool = False

    @property
    def size(self) -> int:
        return len(self.text)

    def portable(self) -> Text:
        if self.text == "gone":
            raise DocumentError("it is not there any more")
        return self


def count_words(task: Text) -> str:
    """Count, unless the text makes a parser fail."""
    if task.text == "hang":
        time.sleep(60)
    elif task.text == "die":
        os.kill(os.getpid(), 9)
    elif task.text == "fail":
        return str(1 // len(task.text[4:]))
    elif task.text == "grow":
        return str(len(bytearray(10**9)))
    return f"{len(task.text.split())} words"


def do(texts: list[str], count: int = 1, *, needs_process: bool = True) -> list[str]:
    bounds = Bounds(seconds=1.5, megabytes=200)
    with Workers[Text, str](count_words, str, count=count, bounds=bounds) as them:
        return list(them.map([Text(text, needs_process) for text in texts]))


@pytest.mark.parametrize("needs_process", [True, False])
def test_they_do_what_is_done_here(monkeypatch: pytest.MonkeyPatch, *, needs_process: bool) -> None:
    """Same results in the same order, whoever did which."""
    monkeypatch.setattr(workers, "GROUP_TASKS", 3)
    texts = ["word " * (number % 7) for number in range(60)]
    assert do(texts, 2, needs_process=needs_process) == do(texts, 0) == [f"{number % 7} words" for number in range(60)]


@pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")
@pytest.mark.parametrize(
    "failure", ["die", *(pytest.param(failure, marks=pytest.mark.slow) for failure in ("hang", "fail"))]
)
@pytest.mark.slow
def test_what_fails_is_refused_and_the_rest_goes_on(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before it, beside it in its group, and after it are done."""
    monkeypatch.setattr(workers, "GROUP_TASKS", 3)
    texts = [f"text {number}" for number in range(10)]
    texts[4] = failure
    assert do(texts) == ["2 words"] * 4 + [FAILURES[failure]] + ["2 words"] * 5


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="bounds memory as Linux does")
def test_what_fills_the_memory_is_refused() -> None:
    """A process may take so many megabytes and no more."""
    assert do(["a b", "grow", "c"]) == ["2 words", FAILURES["die"], "1 words"]


def test_what_cannot_be_carried_is_refused() -> None:
    """A file that can't be read when it is to be sent has its own reason."""
    assert do(["gone", "a"]) == ["it is not there any more", "1 words"]


def test_where_no_process_can_be_started_it_is_done_here(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container without shared memory; that is said."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("no shared memory")

    monkeypatch.setattr("loky.ProcessPoolExecutor", fail)
    assert do(["a b"]) == ["2 words"]
    assert "no shared memory" in caplog.text


def test_as_many_as_asked_for() -> None:
    """Else one core is left for the writer, but there is always one."""
    assert (count_workers(3), count_workers(0)) == (3, 0)
    assert 1 <= count_workers(None) <= workers.MOST_WORKERS


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds out by a pipe that all hold")
def test_they_end_with_their_owner() -> None:
    """No process is left when the one that started them is killed."""
    script = (
        "import os, signal\n"
        "from tests.test_workers import Text, Workers, count_words\n"
        "with Workers(count_words, str, count=2) as them:\n"
        "    print(*them.map([Text('a', True) for _ in range(20)]), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # It ends when the last process that can write to its output has ended.
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30, cwd=ROOT
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split()

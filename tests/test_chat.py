"""``rag-chain chat``: a conversation in a terminal, or with a script that writes to its stdin."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain.cli import main
from rag_chain.pipeline import ingest
from tests.fireworks_chat import prompt_text
from tests.fireworks_faults import CutStream, Status
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fireworks_server import FireworksServer

    Say = Callable[..., int]

ROWS, BEARS = "Where do rows live?", "When do brown bears sleep?"
ROWS_LIVE, BEARS_SLEEP = "Rows live in sealed segments on object storage", "Brown bears sleep through the winter"
CHAT = "import sys; from rag_chain.cli import main; sys.exit(main(['chat']))"
REWRITTEN = "Where does the metadata of rows live?"


def answer_or_rewrite(body: dict[str, Any]) -> str:
    """Answer from the documents; a question to be rewritten becomes another one."""
    if "Rewrite" in prompt_text(body["messages"][0]):
        return REWRITTEN
    asked = prompt_text(body["messages"][-1])
    return f"{BEARS_SLEEP if BEARS in asked else ROWS_LIVE} [1]."


@pytest.fixture
def documents(provider: FireworksServer, folder: Path) -> FireworksServer:
    """The loopback provider, with three documents ingested."""
    ingest(folder)
    provider.answer = answer_or_rewrite
    provider.requests.clear()
    return provider


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Return what runs the chat on lines from a pipe and gives its exit status."""

    def chat(*lines: str, options: tuple[str, ...] = ()) -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return main(["chat", *options])

    return chat


def prompts(provider: FireworksServer) -> list[str]:
    """Return what the chat model was asked, the whole conversation as text."""
    return [str(request.body["messages"]) for request in provider.chat_requests]


def test_each_line_is_a_question(documents: FireworksServer, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers with their checked sources come in turn; empty lines are none, and a pipe sees no prompt."""
    assert say(ROWS, "", "   ", "/new", BEARS) == 0
    shown = capsys.readouterr()
    rows, bears = shown.out.split("The conversation is forgotten.\n")
    assert rows.startswith(f"{ROWS_LIVE} [1].\n\n[1] guide/storage.md > Storage")
    assert "(verbatim)\n" in rows
    assert bears.startswith(f"{BEARS_SLEEP} [1].\n\n[1] bears.txt (verbatim)\n")
    assert (shown.err, len(documents.chat_requests)) == ("", 2)


def test_a_follow_up_knows_what_was_said(documents: FireworksServer, say: Say) -> None:
    """It is made to stand alone from the conversation; after /new there is none."""
    assert say(ROWS, "And the metadata?", "/new", BEARS) == 0
    first, rewriting, followed, alone = prompts(documents)
    assert "And the metadata?" in rewriting
    assert ROWS in rewriting
    assert f"{ROWS_LIVE} [1]." in rewriting
    assert REWRITTEN in followed
    assert ROWS not in alone
    assert "assistant" not in first + alone


def test_the_last_sources_are_shown_whole(
    documents: FireworksServer, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that the model was given, not only what it cited; before the first answer there are none."""
    assert say("/sources", ROWS, "/sources") == 0
    before, _, after = capsys.readouterr().out.partition(ROWS_LIVE)
    assert before == "There are none: nothing has been asked yet, or nothing was found.\n"
    assert re.search(r"^\[1\] guide/storage.md > Storage.*\n    ", after, re.MULTILINE)
    assert f"{ROWS_LIVE}. Metadata lives in etcd." in after
    assert "[2] " in after


def test_commands_are_explained(documents: FireworksServer, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    """/help names them, one that does not exist is an error, and a space makes a question of a slash."""
    assert say("/help") == 0
    assert {"/help", "/sources", "/new", "/quit"} <= set(re.findall(r"^/\w+", capsys.readouterr().out, re.MULTILINE))
    assert say("/etc") == 1
    assert capsys.readouterr().err == "rag-chain: /etc is no command of the chat: /help shows them\n"
    assert documents.chat_requests == []
    assert say(" /etc holds what?") == 0
    assert "/etc holds what?" in prompts(documents)[0]


def test_nothing_is_read_after_quit(documents: FireworksServer, say: Say) -> None:
    """The lines after it are not asked."""
    assert say("/quit", ROWS) == 0
    assert documents.chat_requests == []


def test_options_are_those_of_ask(documents: FireworksServer, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    """The filter and the number of passages hold for every question."""
    assert say(ROWS, "/sources", options=("--source", "bears*", "-k", "1")) == 0
    assert set(re.findall(r"^\[\d\] (\S+)", capsys.readouterr().out, re.MULTILINE)) == {"bears.txt"}


def test_what_is_not_backed_is_said(documents: FireworksServer, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``ask`` does, on stderr; "I don't know" says so itself. Neither is a failure."""
    answers = iter(["I don't know.", "Napoleon wrote Faust [1]."])
    documents.answer = lambda _: next(answers)
    assert say(ROWS, "/new", ROWS) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("I don't know.\n\n")
    assert "(unsupported)" in shown.out
    assert shown.err == "Not all of this answer is backed by the documents.\n"


def test_sources_do_not_control_the_terminal(
    documents: FireworksServer, folder: Path, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers and whole sources are shown with their control characters for what they are."""
    (folder / "evil.md").write_text("# Rows\x1b]0;title\x07\n\nRows live in red\x1b[31m segments\x9b2J.\n", "utf-8")
    ingest(folder)
    documents.answer = "Rows\x1b[2J live [1]."
    assert say(ROWS, "/sources", options=("--source", "evil.md")) == 0
    shown = capsys.readouterr().out
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown) is None
    assert r"Rows\x1b[2J live [1]." in shown
    assert r"    Rows live in red\x1b[31m segments\x9b2J." in shown


@pytest.mark.parametrize("fault", [Status(400), CutStream(3)])
def test_an_error_is_one_line_and_the_chat_goes_on(
    fault: Status | CutStream, documents: FireworksServer, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    """What failed is no part of the conversation, and a script learns of it from the status."""
    documents.faults.add("chat", fault)
    assert say(ROWS, BEARS) == 1
    shown = capsys.readouterr()
    assert re.fullmatch(r"rag-chain: .+\n", shown.err)
    assert f"{BEARS_SLEEP} [1].\n" in shown.out
    assert ROWS not in prompts(documents)[-1]


def test_a_line_that_is_no_text_is_refused_alone(
    documents: FireworksServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines around it are answered."""
    lines = f"{ROWS}\n".encode() + b"caf\xe9?\n" + f"/new\n{BEARS}\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines), "utf-8"))
    assert main(["chat"]) == 1
    shown = capsys.readouterr()
    assert re.fullmatch(r"rag-chain: the line is not text in utf-8: .+\n", shown.err)
    assert ROWS_LIVE in shown.out
    assert BEARS_SLEEP in shown.out


def test_nothing_ingested_ends_it(provider: FireworksServer, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    """So does a missing key: before a question is asked."""
    assert say(ROWS) == 1
    assert "rag-chain ingest PATH" in capsys.readouterr().err
    assert provider.requests == []


def test_no_key_ends_it(documents: FireworksServer, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    """The setting is named, once."""
    del os.environ["FIREWORKS_API_KEY"]
    assert say(ROWS, BEARS, options=("--provider", "fireworks")) == 1
    shown = capsys.readouterr()
    assert shown.err.count("FIREWORKS_API_KEY") == 1
    assert shown.out == ""


class Terminal:
    """A program in a terminal of its own, and what it shows there."""

    def __init__(self, program: subprocess.Popen[bytes], screen: int) -> None:
        self.program = program
        self._screen = screen
        self._unread = ""

    def type(self, text: str) -> None:
        """Press keys, at once."""
        os.write(self._screen, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until the program has shown this."""
        end = time.monotonic() + 60
        while text not in self._unread:
            assert time.monotonic() < end, self._unread
            if select.select([self._screen], [], [], 2)[0]:
                self._unread += os.read(self._screen, 4096).decode()
        self._unread = self._unread.partition(text)[2]

    def interrupt(self) -> None:
        """Press Ctrl-C until it is noticed: readline sees a signal only if it comes while it waits for a key."""
        self.type("\x03")
        while not select.select([self._screen], [], [], 5)[0]:
            self.type("\x03")


@contextmanager
def terminal(code: str) -> Iterator[Terminal]:
    """Run a script in a terminal of its own, whose keys reach it as a person's do."""
    import pty

    screen, theirs = pty.openpty()
    # A session without a terminal takes this one, and with it the signals of its keys.
    take = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    # A shell that starts the tests in the background ignores Ctrl-C for them, and so for their children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [sys.executable, "-c", f"{take}\n{code}"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb"},
        start_new_session=True,
    ) as program:
        signal.signal(signal.SIGINT, before)
        os.close(theirs)
        try:
            yield Terminal(program, screen)
        finally:
            program.kill()
            os.close(screen)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_ctrl_c_stops_the_answer_and_not_the_chat(documents: FireworksServer) -> None:
    """The model is stopped; what was read of its answer stays in the conversation; the next question is answered."""
    documents.answer = "Rows live here [1]. " + "And so on. " * 2000
    documents.token_delay = 0.01
    with terminal(CHAT) as chat:
        chat.wait_for("> ")
        chat.type(f"{ROWS}\n")
        chat.wait_for("And so on. And")
        chat.type("\x03")
        chat.wait_for("Ctrl-D or /quit leaves.\r\n")
        documents.settle()
        assert documents.chat_requests[0].client_gone
        chat.wait_for("> ")
        documents.answer, documents.token_delay = answer_or_rewrite, 0.0
        chat.type(f"{BEARS}\n")
        chat.wait_for("(verbatim)")
        assert "Rows live here [1]. And so on." in prompts(documents)[1]
        chat.wait_for("> ")
        chat.type("half a question")
        chat.wait_for("half a question")
        chat.interrupt()
        chat.wait_for("Ctrl-D or /quit leaves.\r\n")
        chat.wait_for("> ")
        chat.type("\x04")
        assert chat.program.wait(30) == 0
        assert len(documents.chat_requests) == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_a_polite_kill_ends_the_chat(documents: FireworksServer) -> None:
    """It is no Ctrl-C: not one that only stops an answer, nor one at the prompt."""
    documents.answer, documents.token_delay = "And so on. " * 2000, 0.01
    for question, shown in (("", "> "), (f"{ROWS}\n", "And so on. And")):
        with terminal(CHAT) as chat:
            chat.wait_for("> ")
            chat.type(question + "\n")
            chat.wait_for(shown)
            time.sleep(0.5)  # Until readline waits for a key, see above.
            chat.program.terminate()
            chat.wait_for("interrupted")
            assert chat.program.wait(30) == 130

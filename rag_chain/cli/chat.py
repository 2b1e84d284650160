"""``rag-chain chat``."""

from __future__ import annotations

import io
import json
import sys
from contextlib import closing, suppress
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, cast

from rag_chain.cli.options import add_passage_options
from rag_chain.cli.terminal import complain, notice, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterable, Mapping

    from langchain_core.runnables import Runnable

COMMANDS = {
    "/help": "show this",
    "/sources": "show the sources of the last answer whole",
    "/new": "forget the conversation",
    "/quit": "leave, as Ctrl-D does",
}
GREETING = "Ask about the documents. Ctrl-C stops an answer, Ctrl-D leaves, /help shows what else there is."
HELP = "A line is a question; one that begins with / needs a space before it. Ctrl-C stops an answer."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_passage_options(parser)
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="go on with this conversation: a JSON list of messages, as OpenAI or LangChain write them",
    )
    parser.epilog = "Where stdin is no terminal, nothing is prompted, and the status is 1 if a question failed."


def run(options: argparse.Namespace) -> int:
    """Converse until the input ends."""
    from rag_chain.cli.common import read_filter, read_settings
    from rag_chain.models.building import build_embeddings
    from rag_chain.pipeline import build_chain, make_fingerprint
    from rag_chain.store.collection import open_store

    turns = read_history(options.history) if options.history else []
    settings = read_settings(options)
    embeddings = build_embeddings(settings)
    conversation = Conversation(build_chain(settings, embeddings=embeddings), read_filter(options), turns)
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Else a line that is no text would take its neighbours along.
        sys.stdin.reconfigure(errors="surrogateescape")
    with open_store(settings) as store:
        # What every question would fail of is said before the first one is typed.
        store.open_for(make_fingerprint(settings, embeddings), writing=False)
        return _converse(conversation, to_person=sys.stdin.isatty(), debug=options.debug)


def read_history(path: Path) -> list[dict[str, str]]:
    """Return the conversation in a JSON file; raises ``QuestionError`` for what is none."""
    from rag_chain.answering.question import read_question
    from rag_chain.errors import QuestionError

    try:
        said = json.loads(path.read_text("utf-8"))
        turns: list[dict[str, str]] = read_question({"question": "?", "chat_history": said})["chat_history"]
    except OSError as error:
        raise QuestionError(f"--history: {path} can't be read: {error.strerror}") from error
    except (ValueError, QuestionError) as error:
        raise QuestionError(f"--history: {path} is no JSON list of messages: {error}") from error
    return turns


def _converse(conversation: Conversation, *, to_person: bool, debug: bool) -> int:
    """Take line by line; a person goes on after an error and after Ctrl-C, a script learns of them."""
    from rag_chain.cli import DONE, FAILED, Terminated
    from rag_chain.errors import RagChainError

    status = DONE
    if to_person:
        _edit_lines()
        notice(GREETING)
    while True:
        try:
            if not conversation.take(_read_line("> " if to_person else "")):
                return status
        except RagChainError as error:
            if debug:
                raise
            complain(str(error))
            status = DONE if to_person else FAILED
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt, Terminated) or not to_person:
                raise
            say()
            notice("Ctrl-D or /quit leaves.")


def _edit_lines() -> None:
    """Let ``input`` edit lines and remember them, where Python has what that takes."""
    with suppress(ImportError):
        import readline  # noqa: F401


def _read_line(prompt: str) -> str:
    """Return the next line; the end of the input is a ``/quit``."""
    from rag_chain.errors import QuestionError

    try:
        line = input(prompt)
        line.encode()
    except EOFError:
        if prompt:
            say()
        return "/quit"
    except UnicodeEncodeError:
        raise QuestionError(f"the line is not text in {sys.stdin.encoding}: convert it first") from None
    return line


class Conversation:
    """Questions with what was said before them; its chain is the one of ``ask``."""

    def __init__(
        self, chain: Runnable[Any, dict[str, Any]], conditions: Mapping[str, Any], turns: Iterable[dict[str, str]] = ()
    ) -> None:
        self._chain = chain
        self._filter = conditions
        self._turns = list(turns)
        self._sources: list[dict[str, Any]] = []

    def take(self, line: str) -> bool:
        """Do what a line says: a command, or a question; False when it is to leave."""
        if not line.startswith("/"):
            if line.strip():
                self._answer(line.strip())
            return True
        command = line.strip()
        if command == "/sources":
            self._show_sources()
        elif command == "/new":
            self._turns.clear()
            say("The conversation is forgotten.")
        elif command != "/quit":
            _show_help(command)
        return command != "/quit"

    def _answer(self, question: str) -> None:
        from rag_chain.cli.answers import show_answer

        shown: dict[str, Any] = {}
        asked = {"question": question, "chat_history": self._turns, "filter": self._filter}
        try:
            with closing(cast("Generator[dict[str, Any]]", self._chain.stream(asked))) as parts:
                show_answer(parts, shown)
        except KeyboardInterrupt:
            # What comes next may well be about what was read until then.
            self._keep(question, shown)
            raise
        self._keep(question, shown)
        say(flush=True)

    def _keep(self, question: str, shown: Mapping[str, Any]) -> None:
        if shown.get("answer"):
            self._sources = shown["sources"]
            turns = {"user": question, "assistant": shown["answer"]}
            self._turns += [{"role": role, "content": content} for role, content in turns.items()]

    def _show_sources(self) -> None:
        from rag_chain.answering.types import place

        for source in self._sources:
            say(f"[{source['number']}] {place(source)}\n{indent(source['text'], '    ')}\n")
        if not self._sources:
            say("There are none: nothing has been asked yet, or nothing was found.")


def _show_help(command: str) -> None:
    from rag_chain.errors import QuestionError

    if command != "/help":
        raise QuestionError(f"{command.split(maxsplit=1)[0]} is no command of the chat: /help shows them")
    say("\n".join([*(f"{name:<9} {purpose}" for name, purpose in COMMANDS.items()), HELP]))

"""``rag-chain``: one file per command; errors become one line here and nowhere else."""

from __future__ import annotations

import argparse
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "ingest": "bring the collection in step with documents",
    "ask": "answer a question from the documents, with citations",
    "chat": "converse about the documents; each line is a question, follow-ups are understood",
    "search": "show the passages that a question finds",
    "explain": "show how a question's sources were found, and where a document fell out",
    "evaluate": "measure retrieval and answers on questions whose answers are known",
    "serve": "serve the chain over HTTP: chat page, OpenAI-compatible, LangServe, MCP",
    "mcp": "serve the documents to a model's client over stdin and stdout (MCP)",
    "keys": "make, list and revoke the API keys of the server",
    "doctor": "check the settings, the models and the store",
    "move": "move the collection to another Milvus without embedding anything again",
    "reindex": "build the index that the settings name over the vectors that are there",
    "demo": "ingest the example documents and ask a question about them",
}

DONE, FAILED, WRONG_USAGE, SOME_REFUSED, INTERRUPTED = 0, 1, 2, 3, 130


class Terminated(KeyboardInterrupt):
    """A polite kill; it runs the same clean-up as Ctrl-C, or Milvus Lite is left open."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 done; 1 nothing done, one line on stderr says why; 2 wrong usage; 3 done, but some documents
    were refused; 130 interrupted.
    """
    options = build_parser(arguments).parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    return _run(options)


def _terminate(*_: object) -> None:
    raise Terminated


def build_parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser; only the command that is asked for is imported."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="rag-chain",
        description="From a folder of documents to a cited answer.",
        epilog="Every setting is an environment variable or a line in .env; rag-chain doctor shows them.",
    )
    from rag_chain import __version__

    parser.add_argument("--version", action="version", version=f"rag-chain {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = next((word for word in given if not word.startswith("-")), "")
    for command, purpose in COMMANDS.items():
        sub = commands.add_parser(command, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if command == named:
            module = import_module(f"rag_chain.cli.{command}")
            module.configure(sub)
            _add_common(sub, getattr(module, "OWN_OPTIONS", frozenset()))
    return parser


def _add_common(parser: argparse.ArgumentParser, own: frozenset[str]) -> None:
    group = parser.add_argument_group("settings", "each overrides its environment variable")
    group.add_argument("--milvus-uri", metavar="URI", help="path ending in .db, or http(s) address (MILVUS_URI)")
    if "--collection" not in own:
        group.add_argument("--collection", metavar="NAME", help="collection (RAG_COLLECTION)")
    group.add_argument("--tenant", metavar="NAME", help="whose documents (RAG_TENANT)")
    group.add_argument("--provider", choices=("auto", "fireworks", "local"), help="models (RAG_PROVIDER)")
    group.add_argument("--debug", action="store_true", help="show where an error comes from")


def _run(options: argparse.Namespace) -> int:
    from rag_chain.cli.terminal import complain
    from rag_chain.errors import RagChainError

    try:
        status: int = import_module(f"rag_chain.cli.{options.command}").run(options)
    except RagChainError as error:
        if options.debug:
            raise
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        complain("interrupted; what was done is kept")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; writing on would print a traceback at exit.
        sys.stderr.close()
        return DONE
    return status

"""The one door to the terminal: what documents and models say is shown, and can't control it."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

# All of C0 and C1 but newlines and tabs: a terminal obeys sequences that begin with them, and may be made to hide or
# overwrite text, to write into the clipboard or to answer as if its user had typed.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def say(text: str = "", *, end: str = "\n", flush: bool = False) -> None:
    """Print a part of the result."""
    print(_escape(text, r"\x{:02x}"), end=end, flush=flush)


def remark(text: str) -> None:
    """Say something about the result beside it, on stderr."""
    print(_escape(text, r"\x{:02x}"), file=sys.stderr)


def complain(text: str) -> None:
    """Say on stderr what was wrong."""
    remark(f"rag-chain: {text}")


def notice(text: str) -> None:
    """Say something beside the result; only to a person."""
    if sys.stderr.isatty():
        remark(text)


def print_json(value: Any) -> None:
    """Print one JSON document, the only thing on stdout."""
    say(write_json(value, indent=2))


def write_json(value: Any, indent: int | None = None) -> str:
    """Return JSON in which the characters of all languages are themselves, and controls are escaped.

    ``json`` itself leaves 7F and C1 as they are.
    """
    return _escape(json.dumps(value, ensure_ascii=False, indent=indent), r"\u{:04x}")


def _escape(text: str, form: str) -> str:
    return _CONTROLS.sub(lambda found: form.format(ord(found[0])), text)

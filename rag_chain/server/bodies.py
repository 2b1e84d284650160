"""The bodies of requests: within their bounds before anything is done with them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from rag_chain.errors import QuestionError, SettingsError
from rag_chain.server.replies import Refusal

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Receive

# Deeper JSON is made to exhaust its readers.
MOST_DEPTH = 64

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(rb"[\[\]{}]")


async def read_body(receive: Receive, headers: Headers, most: int) -> bytes:
    """Return the body; one that is too large is refused, if possible before it is read."""
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "Disconnected", "the request was not sent to its end")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(most: int) -> Refusal:
    return Refusal(413, "TooLarge", f"a request may have {most:,} bytes", {"Connection": "close"})


def check_json(method: str, headers: Headers, body: bytes) -> None:
    """Refuse bodies that are no JSON, or JSON that is made to exhaust its readers."""
    if not body or method not in {"POST", "PUT", "PATCH"}:
        return
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "NotJson", "a request's body is application/json")
    depth = 0
    for found in _BRACKETS.finditer(_STRINGS.sub(b"", body)):
        depth += 1 if found[0] in b"[{" else -1
        if depth > MOST_DEPTH:
            raise Refusal(422, "TooDeep", f"JSON may be nested {MOST_DEPTH} deep")
    try:
        json.loads(body)
    except ValueError as error:
        raise Refusal(422, "NotJson", f"the body is no JSON: {error}") from None


def check_question_body(body: object) -> None:
    """Raise for a body of LangServe's routes that LangServe fails at, or leaves out without a word."""
    if not isinstance(body, dict):
        raise QuestionError("the body is an object with input, or inputs")
    if not isinstance(body.get("inputs", []), list):
        raise QuestionError("inputs is a list of questions")
    given = body.get("config", {})
    if not all(isinstance(config, dict) for config in (given if isinstance(given, list) else [given])):
        raise SettingsError("config is an object; leave it out")

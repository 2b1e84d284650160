"""What the imitated chat model generates, as one message or as the chunks of a stream."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fireworks_replies import Reply, count_tokens, encode

# A line that starts with [1], or with a tag that has the number as an attribute.
SOURCE = re.compile(r"""^[ \t]*(?:\[(\d+)\]|<\w+\b[^>\n]*?=["']?(\d+)["']?(?=[\s/>])[^>\n]*>)\s*""", re.MULTILINE)
END_OF_SOURCE = re.compile(r"</|\n\s*\n|\n[ \t]*\[\d+\]")


def prompt_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message, whether its content is a text or a list of parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def answer_from_first_source(body: Mapping[str, Any]) -> str:
    """Repeat the first sentence of the first numbered source, and cite it.

    A source starts on a line of its own, with ``[1]`` or with a tag such as ``<source number="1">``.
    The last message is searched first: it is the one that asks.
    """
    for message in reversed(body["messages"]):
        text = prompt_text(message)
        if found := SOURCE.search(text):
            source = " ".join(END_OF_SOURCE.split(text[found.end() :], maxsplit=1)[0].split())
            sentence = re.split(r"(?<=[.!?])\s", source, maxsplit=1)[0].rstrip(".!?")
            return f"{sentence} [{found[1] or found[2]}]."
    return "I don't know."


def split_tokens(text: str) -> list[str]:
    """Split a text after its spaces; joined, the tokens are the text again."""
    return re.findall(r"\S+\s*|\s+", text)


@dataclass(frozen=True)
class Generation:
    """The tokens that a chat model generates for one request: reasoning first, then the answer."""

    model: str
    prompt_tokens: int
    tokens: list[tuple[str, str]]
    finish_reason: str
    usage_apart: bool
    call: dict[str, Any] | None = None

    @property
    def usage(self) -> dict[str, int]:
        """What the request costs; reasoning counts as completion."""
        completion = len(self.tokens)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    def reply(self) -> Reply:
        """Return the whole answer as one message."""
        message: dict[str, Any] = {"role": "assistant", "content": self._text("content")}
        if self.call:
            message["tool_calls"] = [self.call]
        if reasoning := self._text("reasoning_content"):
            message["reasoning_content"] = reasoning
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return encode(self._body("chat.completion", [choice], self.usage))

    def opening(self) -> bytes:
        """Return the stream's first event, which names the role."""
        return self._event({"role": "assistant", "content": ""})

    def deltas(self, cut_after: int | None) -> Iterator[bytes]:
        """Yield one event for each token; the last says why it is the last, unless the stream is cut."""
        if cut_after is not None:
            yield from (self._event({kind: token}) for kind, token in self.tokens[:cut_after])
            return
        for kind, token in self.tokens[:-1]:
            yield self._event({kind: token})
        kind, token = self.tokens[-1] if self.tokens else ("content", "")
        usage = None if self.usage_apart else self.usage
        yield self._event({kind: token}, self.finish_reason, usage)

    def closing(self) -> bytes:
        """Return what ends the stream: the usage when it was asked for, and the end mark."""
        usage = write_event(self._body("chat.completion.chunk", [], self.usage)) if self.usage_apart else b""
        return usage + b"data: [DONE]\n\n"

    def _text(self, kind: str) -> str:
        return "".join(token for its_kind, token in self.tokens if its_kind == kind)

    def _event(self, delta: dict[str, str], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return write_event(self._body("chat.completion.chunk", [choice], usage))

    def _body(self, kind: str, choices: list[dict[str, Any]], usage: dict[str, int] | None) -> dict[str, Any]:
        body = {
            "id": "chatcmpl-0",
            "object": kind,
            "created": 1_700_000_000,
            "model": self.model,
            "choices": choices,
        }
        return {**body, "usage": usage} if usage else body


def write_event(body: object) -> bytes:
    """Write one server-sent event."""
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def call_first_tool(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the question to the first tool that there is, until a tool has answered; streams call none."""
    if not body.get("tools") or body.get("stream") or body["messages"][-1]["role"] == "tool":
        return None
    tool = body["tools"][0]["function"]
    arguments = {name: prompt_text(body["messages"][-1]) for name in tool["parameters"]["required"]}
    return {"id": "call_0", "type": "function", "function": {"name": tool["name"], "arguments": json.dumps(arguments)}}


def generate(body: Mapping[str, Any], answer: str, reasoning: str) -> Generation:
    """Let the model say this; ``max_tokens`` cuts it, and reasoning eats from the same allowance."""
    if call := call_first_tool(body):
        return Generation(body["model"], 0, [], "tool_calls", usage_apart=False, call=call)
    tokens = [("reasoning_content", token) for token in split_tokens(reasoning)]
    tokens += [("content", token) for token in split_tokens(answer)]
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 2048
    return Generation(
        model=body["model"],
        prompt_tokens=sum(count_tokens(prompt_text(message)) for message in body["messages"]),
        tokens=tokens[:most],
        finish_reason="stop" if len(tokens) <= most else "length",
        usage_apart=bool((body.get("stream_options") or {}).get("include_usage")),
    )

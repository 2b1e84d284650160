"""Read a conversation in the forms that LangChain knows, and in OpenAI's, as turns of user and assistant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

ROLES = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant"}
# Streamed messages that LangChain wrote down have these types.
ROLES |= {"HumanMessageChunk": "user", "AIMessageChunk": "assistant"}
# What they say is for the model alone: who asks does not decide what counts as a source.
LEFT_OUT = frozenset({"system", "developer", "tool", "function", "remove", "SystemMessageChunk", "ToolMessageChunk"})


def read_turns(given: object) -> list[dict[str, str]]:
    """Return a conversation as mappings with ``role`` (``user`` or ``assistant``) and ``content``, oldest first.

    A message is a ``BaseMessage``, a pair ``(role, content)``, a mapping with ``role`` or ``type`` and ``content``,
    or a message that LangChain wrote to JSON. Roles are ``user`` or ``human`` and ``assistant`` or ``ai``. System and
    tool messages, and messages without text, are left out. Raises ``ValueError`` for anything else.
    """
    if given is None:
        return []
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise ValueError(f"a conversation is a list of messages, not {_name_of(given)}")  # noqa: TRY004  for pydantic
    turns = (_read_turn(message, number) for number, message in enumerate(given))
    return [{"role": ROLES[role], "content": text} for role, text in turns if role in ROLES and text.strip()]


def read_text(content: object) -> str:
    """Return the text of a message's content: a text, or a list of blocks, of which those with text count."""
    if isinstance(content, BaseMessage):
        return str(content.text)
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if not isinstance(content, Sequence):
        raise ValueError(  # noqa: TRY004  pydantic turns this one into its own
            f"the content of a message is a text or a list of blocks, not {_name_of(content)}"
        )
    return "".join(_text_of_block(block) for block in content)


def _read_turn(message: object, number: int) -> tuple[str, str]:
    role, content = _role_and_content(message)
    if role not in ROLES and role not in LEFT_OUT:
        raise ValueError(f"message {number} has no role: expected user or human, assistant or ai, found {role!r}")
    return str(role), read_text(content)


def _role_and_content(message: object) -> tuple[object, object]:
    if isinstance(message, BaseMessage):
        # A ChatMessage carries its role beside its type.
        return (getattr(message, "role", None) if message.type == "chat" else message.type), message
    if isinstance(message, str):
        return "user", message
    if isinstance(message, BaseModel):
        return _read_mapping(message.model_dump())
    if isinstance(message, Mapping):
        return _read_mapping(message)
    if isinstance(message, Sequence) and len(message) == 2:
        return message[0], message[1]
    return None, None


def _read_mapping(message: Mapping[str, Any]) -> tuple[object, object]:
    if "kwargs" in message and message.get("type") == "constructor":
        # As langchain_core.load.dumpd writes it.
        return message["kwargs"].get("type"), message["kwargs"].get("content")
    if isinstance(message.get("data"), Mapping):
        # As langchain_core.messages.messages_to_dict writes it.
        return message.get("type"), message["data"].get("content")
    return message.get("role") or message.get("type"), message.get("content")


def _text_of_block(block: object) -> str:
    if isinstance(block, str):
        return block
    return str(block.get("text") or "") if isinstance(block, Mapping) else ""


def _name_of(thing: object) -> str:
    return type(thing).__name__

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


def read_turns(given: object) -> list[Any]:
    """Return a conversation as mappings with ``role`` (``user`` or ``assistant``) and ``content``, oldest first.

    A message is a ``BaseMessage``, a pair ``(role, content)``, a mapping with ``role`` and ``content``, or a message
    that LangChain wrote to JSON. Roles are ``user`` or ``human`` and ``assistant`` or ``ai``. LangChain's system and
    tool messages, and messages without text, are left out. What is no message is returned as it is, for ``Message``
    to refuse. Raises ``ValueError`` for what is no list.
    """
    if given is None:
        return []
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise ValueError(f"a conversation is a list of messages, not {_name_of(given)}")  # noqa: TRY004  for pydantic
    return [turn for turn in map(_read_turn, given) if turn is not None]


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


def _read_turn(message: object) -> object:
    """Return a message as a mapping, None for one that is left out, and what is none as it is."""
    role, content, is_langchains = _role_and_content(message)
    if not isinstance(role, str):
        return message
    if is_langchains and role in LEFT_OUT:
        return None
    text = read_text(content)
    return {"role": ROLES.get(role, role), "content": text} if text.strip() or role not in ROLES else None


def _role_and_content(message: object) -> tuple[Any, Any, bool]:
    """Return the role, the content, and whether LangChain made the message."""
    if isinstance(message, BaseMessage):
        # A ChatMessage carries its role beside its type.
        return (getattr(message, "role", None) if message.type == "chat" else message.type), message, True
    if isinstance(message, str):
        return "user", message, False
    if isinstance(message, BaseModel):
        return _read_mapping(message.model_dump())
    if isinstance(message, Mapping):
        return _read_mapping(message)
    if isinstance(message, Sequence) and len(message) == 2:
        return message[0], message[1], False
    return None, None, False


def _read_mapping(message: Mapping[str, Any]) -> tuple[Any, Any, bool]:
    # As langchain_core.load.dumpd writes it, and as langchain_core.messages.messages_to_dict does.
    for inner in ("kwargs", "data"):
        if isinstance(message.get(inner), Mapping):
            return message[inner].get("type") or message.get("type"), message[inner].get("content"), True
    if "role" in message:
        return message["role"], message.get("content"), False
    return message.get("type"), message.get("content"), True


def _text_of_block(block: object) -> str:
    if isinstance(block, str):
        return block
    return str(block.get("text") or "") if isinstance(block, Mapping) else ""


def _name_of(thing: object) -> str:
    return type(thing).__name__

"""Who is asking: the tenant whose documents a request may see, and what it may do with them."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_chain.keys import ROLES

if TYPE_CHECKING:
    from rag_chain.keys import ApiKey, Role


@dataclass(frozen=True)
class Caller:
    """Who made a request; ``key`` is the id of the API key, empty for everybody while there are none."""

    tenant: str
    roles: tuple[Role, ...]
    key: str = ""


# It has no default: who forgets to set it gets an error, and not somebody's documents.
_current: ContextVar[Caller] = ContextVar("rag_chain_caller")


def current_caller() -> Caller:
    """Return who made the request that is being worked on; ``LookupError`` outside of one."""
    return _current.get()


def set_caller(caller: Caller) -> None:
    """Let the rest of this context, and what is started from it, work for this caller."""
    _current.set(caller)


def anybody(tenant: str) -> Caller:
    """Return the caller that everybody is while there are no API keys."""
    return Caller(tenant, ROLES)


def caller_of(key: ApiKey) -> Caller:
    """Return whom a key stands for."""
    return Caller(key.tenant, key.roles, key.id)

"""What an ingest on a cluster is made of: how each process there builds its part, and the parts themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from rag_chain.errors import ClusterError, RagChainError, in_brief

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Plan, Work
    from rag_chain.ingestion.reading import Reading
    from rag_chain.ingestion.writing import Target
    from rag_chain.models.embedding import EmbeddingModel
    from rag_chain.models.fireworks.budget import Limits
    from rag_chain.models.fireworks.pace import Budget
    from rag_chain.store.writing import Share
    from rag_chain.workers import Workers

# Handles and references of Ray, which has no types to speak of.
Actor: TypeAlias = Any
Reference: TypeAlias = Any


@dataclass(frozen=True)
class Stages:
    """How a process of the cluster builds what it works with; all of it is pickled and sent there.

    ``lanes`` is how many batches one embedding process works on at once, ``limits`` what all of
    them may send together.
    """

    version: str
    build_readers: Callable[[], Workers[Work, Reading]]
    build_embeddings: Callable[[Budget], EmbeddingModel]
    open_share: Callable[[Share], Target]
    text_of: Callable[[Document], str]
    lanes: int
    batch_size: int
    batch_tokens: int
    limits: Limits


@dataclass(frozen=True)
class Parcel:
    """Documents that one writer gets at once; those with the same content are in one parcel."""

    number: int
    plan: Plan


@dataclass(frozen=True)
class Sent:
    """A parcel on its way, with the number of the writer that has it.

    ``tries`` counts those that broke off, too, ``waits`` how often the writer was still being started.
    """

    parcel: Parcel
    share: Share
    writer: int
    tries: int = 1
    waits: int = 0


def raise_own(error: Any) -> NoReturn:
    """Raise what a process of the cluster raised on purpose, as if it had been raised here."""
    if isinstance(error.cause, RagChainError):
        raise error.cause from None
    raise error


def give_up(what: str, error: Exception) -> ClusterError:
    """Return the exception for a process that died each time."""
    return ClusterError(
        f"the process that {what} died each time ({in_brief(error)}): see the logs in /tmp/ray/session_latest/logs on "
        "the nodes, and their memory"
    )

"""What is where after a move."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_chain.store.recall import Recall

RECALL_WANTED = 0.99


@dataclass(frozen=True)
class MoveReport:
    """What is where after a move, or as :func:`check_move` found it."""

    collection: str
    source: int
    target: int
    documents: int
    copied: int = 0
    present: int = 0
    missing: int = 0
    surplus: int = 0
    recall: Recall | None = None
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether the target holds every chunk of the source once, and no other."""
        return not self.missing and not self.surplus and self.source == self.target

    @property
    def queries(self) -> int:
        """How many stored vectors the recall was measured with."""
        return self.recall.queries if self.recall else 0

    @property
    def warning(self) -> str:
        """What to do about an index that misses too much of what is there; empty where it does not."""
        if self.recall is None or not self.is_complete or self.recall.mean >= RECALL_WANTED:
            return ""
        return (
            f"recall@10 of the index is {self.recall.mean:.3f}, less than {RECALL_WANTED}: all chunks are there, "
            "but searches miss some; search with larger parameters, or index with them and move again with --replace"
        )

    def after(self, started: float) -> MoveReport:
        """Return it with the seconds since a moment of the monotonic clock."""
        return replace(self, seconds=time.monotonic() - started)

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "collection": self.collection,
            "chunks": {
                name: getattr(self, name) for name in ("source", "target", "copied", "present", "missing", "surplus")
            },
            "documents": self.documents,
            # Nothing here knows a model.
            "embedding": {"requests": 0},
            "recall@10": self.recall.mean if self.recall else None,
            "minimum_recall@10": self.recall.minimum if self.recall else None,
            "queries": self.queries,
            "seconds": self.seconds,
        }

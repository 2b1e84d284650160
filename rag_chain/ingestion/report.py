"""What an ingest did, or would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Refused:
    """A document that was left out, and why."""

    source: str
    reason: str


@dataclass
class IngestReport:
    """The sources by what became of them, and the chunks and tokens that it took.

    ``skipped`` are files in folders and archives whose type no loader knows; ``refused`` are
    documents that should have been ingested and could not. ``dollars`` is None where the model's
    price is not known.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    skipped: list[Refused] = field(default_factory=list)
    chunks_total: int = 0
    chunks_embedded: int = 0
    chunks_reused: int = 0
    chunks_deleted: int = 0
    requests: int = 0
    tokens: int = 0
    dollars: float | None = 0.0
    seconds: float = 0.0

    @property
    def documents(self) -> int:
        """Return how many documents the report is about, refused ones aside."""
        return len(self.added) + len(self.changed) + len(self.unchanged) + len(self.removed)

    def to_json(self) -> dict[str, Any]:
        """Return the report in the shape that ``rag-chain ingest --json`` prints."""
        states = ("added", "changed", "unchanged", "removed", "refused")
        return {
            "documents": {state: len(getattr(self, state)) for state in states},
            "refused": [vars(refused) for refused in self.refused],
            "skipped": [vars(skipped) for skipped in self.skipped],
            "chunks": {
                "total": self.chunks_total,
                "embedded": self.chunks_embedded,
                "reused": self.chunks_reused,
                "deleted": self.chunks_deleted,
            },
            "embedding": {
                "requests": self.requests,
                "texts": self.chunks_embedded,
                "tokens": self.tokens,
                "dollars": self.dollars,
            },
            "seconds": round(self.seconds, 3),
        }

"""What an ingest did, or would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

STATES = ("added", "changed", "unchanged", "removed", "refused")
# Why a document is in its state, where nothing else is known.
_REASONS = {
    "added": "new",
    "changed": "its content changed",
    "unchanged": "same content",
    "removed": "gone from its place",
}


def _now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Refused:
    """A document that was left out, why, and when that was found."""

    source: str
    reason: str
    time: datetime = field(default_factory=_now, compare=False)


@dataclass
class IngestReport:
    """The sources by what became of them, and the chunks and tokens that it took.

    ``skipped`` are files in folders and archives whose type no loader knows; ``refused`` are
    documents that should have been ingested and could not. ``planned`` counts the documents by
    state as they were before any was loaded; ``reasons`` has those that are not the usual ones of
    a state. ``notes`` say what else a person should know, such as what of a loader's metadata could not be
    kept. ``dollars`` is None where the model's price is not known. ``minutes`` is what the
    embedding would take, and ``limited_by`` why not less; empty once it is done.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    skipped: list[Refused] = field(default_factory=list)
    planned: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    chunks_total: int = 0
    chunks_embedded: int = 0
    chunks_reused: int = 0
    chunks_deleted: int = 0
    requests: int = 0
    tokens: int = 0
    dollars: float | None = 0.0
    minutes: float = 0.0
    limited_by: str = ""
    seconds: float = 0.0

    @property
    def documents(self) -> int:
        """Return how many documents the report is about, refused ones aside."""
        return len(self.added) + len(self.changed) + len(self.unchanged) + len(self.removed)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of documents in each state."""
        return {state: len(getattr(self, state)) for state in STATES}

    @property
    def differences(self) -> dict[str, tuple[int, int]]:
        """Return, for each state that came out otherwise, how many were planned and how many there are."""
        counts = self.counts
        return {state: (planned, counts[state]) for state, planned in self.planned.items() if planned != counts[state]}

    @property
    def as_planned(self) -> bool:
        """Return whether as many documents are in each state as were planned."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """Return the report in the shape that ``rag-chain ingest --json`` prints."""
        return {
            "documents": self.counts,
            "planned": self.planned,
            "as_planned": self.as_planned,
            "refused": [_left_out(refused) for refused in self.refused],
            "skipped": [_left_out(skipped) for skipped in self.skipped],
            "sources": list(self._sources()),
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
            "estimate": {"minutes": self.minutes, "limited_by": self.limited_by} if self.limited_by else None,
            "seconds": round(self.seconds, 3),
            **({"notes": self.notes} if self.notes else {}),
        }

    def _sources(self) -> Iterator[dict[str, str]]:
        """Yield every document with its state and the reason for it."""
        for state, usual in _REASONS.items():
            for source in getattr(self, state):
                yield {"source": source, "state": state, "reason": self.reasons.get(source, usual)}
        for refused in self.refused:
            yield {"source": refused.source, "state": "refused", "reason": refused.reason}


def _left_out(outcome: Refused) -> dict[str, str]:
    return {"source": outcome.source, "reason": outcome.reason}

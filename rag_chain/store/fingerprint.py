"""What a collection was made with, kept in its properties, and the check against the settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from rag_chain.errors import FingerprintError

if TYPE_CHECKING:
    from collections.abc import Mapping

Fingerprint: TypeAlias = dict[str, Any]

PROPERTY = "rag_chain.fingerprint"

# A question can be asked whatever the splitter's settings are; an ingest must keep to them.
INGEST_ONLY = frozenset({"splitter"})


def as_properties(fingerprint: Fingerprint) -> dict[str, str]:
    """Return the collection properties that keep a fingerprint."""
    return {PROPERTY: json.dumps(fingerprint, sort_keys=True)}


def read_fingerprint(described: Mapping[str, Any]) -> Fingerprint | None:
    """Return the fingerprint of a described collection; None for one that rag_chain did not make."""
    text = (described.get("properties") or {}).get(PROPERTY)
    fingerprint: Fingerprint | None = json.loads(text) if text else None
    return fingerprint


def check_fingerprint(name: str, found: Fingerprint | None, wanted: Fingerprint | None, *, writing: bool) -> None:
    """Raise ``FingerprintError`` when a collection is not ours, or was made with other settings than wanted."""
    if found is None:
        raise FingerprintError(f"{name!r} is a collection that rag_chain did not make: set RAG_COLLECTION")
    if wanted is None:
        return
    compared = (found.keys() | wanted.keys()) - (frozenset() if writing else INGEST_ONLY)
    # The model explains most of what else may differ.
    for key in sorted((key for key in compared if found.get(key) != wanted.get(key)), key=lambda key: key != "model"):
        raise FingerprintError(
            f"{name!r} was made with {key} {found.get(key)!r}, the settings say {wanted.get(key)!r}: "
            "set it back, use another RAG_COLLECTION, or build anew with: rag-chain ingest --rebuild PATH"
        )

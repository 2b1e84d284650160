"""Open clients of the Fireworks API from plain values; no request is sent yet."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from rag_chain.models.fireworks.client import FireworksClient
from rag_chain.models.fireworks.embedding_client import FireworksEmbeddingClient

if TYPE_CHECKING:
    from rag_chain.models.fireworks.pace import Budget

# An ingest would rather get there, and has a pace that slows it down where need be: it tries until the request's
# deadline.
EMBEDDING_ATTEMPTS, EMBEDDING_PAUSE = math.inf, 1.0


def open_client(base: str, key: str, *, timeout: float, attempts: float, longest_pause: float = 8.0) -> FireworksClient:
    """Return a client of one API base and key."""
    # These print requests, and so documents and questions, at DEBUG.
    for name in ("httpx", "httpcore", "fireworks"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return FireworksClient(base, key, timeout=timeout, attempts=attempts, longest_pause=longest_pause)


def open_embedding_client(
    base: str,
    key: str,
    model: str,
    *,
    timeout: float,
    dimensions: int | None,
    batch_size: int,
    batch_tokens: int,
    concurrency: int,
    budget: Budget | None = None,
) -> FireworksEmbeddingClient:
    """Return a client of one embedding model; ``budget`` is what several processes share."""
    return FireworksEmbeddingClient(
        open_client(base, key, timeout=timeout, attempts=EMBEDDING_ATTEMPTS, longest_pause=EMBEDDING_PAUSE),
        model,
        dimensions=dimensions,
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        concurrency=concurrency,
        budget=budget,
    )

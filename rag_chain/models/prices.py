"""What embedding costs: Fireworks' prices, dollars for a million tokens, as of November 2026."""

from __future__ import annotations

# https://fireworks.ai/pricing, by the size of the model.
_PRICES = (
    ("qwen3-embedding-8b", 0.10),
    ("nomic-embed", 0.008),
    ("bge-", 0.008),
    ("gte-", 0.008),
    ("minilm", 0.008),
    ("mxbai-embed-large", 0.016),
    ("uae-large", 0.016),
)


def embedding_dollars(model: str, tokens: int, price: float | None = None) -> float | None:
    """Return what embedding this many tokens costs, at ``price`` or the list's; None where neither is known."""
    if price is None:
        price = next((listed for part, listed in _PRICES if part in model.lower()), None)
    return None if price is None else round(tokens * price / 1_000_000, 6)

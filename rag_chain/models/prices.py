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


def embedding_dollars(model: str, tokens: int) -> float | None:
    """Return the price of embedding this many tokens; None where the model's price is not known."""
    price = next((price for part, price in _PRICES if part in model.lower()), None)
    return None if price is None else round(tokens * price / 1_000_000, 6)

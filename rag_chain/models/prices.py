"""What models cost: Fireworks' prices, dollars for a million tokens, as of November 2026."""

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
# Prompt, cached prompt, answer: https://fireworks.ai/pricing as of September 2026.
_CHAT_PRICES = (
    ("gpt-oss-120b", (0.15, 0.015, 0.60)),
    ("glm-5p3-flash", (0.15, 0.03, 0.50)),
    ("glm-5p3", (1.40, 0.26, 4.40)),
    ("deepseek-v4p1-flash", (0.30, 0.006, 1.20)),
    ("nemotron-lightning-3p5-30b-a3b", (0.05, 0.01, 0.20)),
    ("minimax-m3", (0.30, 0.06, 1.20)),
    ("kimi-k3", (3.00, 0.30, 15.00)),
)


def embedding_dollars(model: str, tokens: int, price: float | None = None) -> float | None:
    """Return what embedding this many tokens costs, at ``price`` or the list's; None where neither is known."""
    if price is None:
        price = next((listed for part, listed in _PRICES if part in model.lower()), None)
    return None if price is None else round(tokens * price / 1_000_000, 6)


def chat_dollars(model: str, *, prompt: int, cached: int, completion: int) -> float | None:
    """Return what a chat model's tokens cost, ``cached`` of the ``prompt`` at their own price; None if not known."""
    prices = next((listed for part, listed in _CHAT_PRICES if part in model.lower()), None)
    if prices is None:
        return None
    fresh, again, answer = prices
    return round((max(0, prompt - cached) * fresh + cached * again + completion * answer) / 1_000_000, 6)

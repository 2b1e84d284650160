"""What every reranker of rag_chain is: something that scores texts against a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Reranker(Protocol):
    """Scores texts by how well they answer a question; more is better, the scale is the model's own."""

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one score for each text, in order."""

    async def ascore(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one score for each text, in order."""

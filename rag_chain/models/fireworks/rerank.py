"""Reranking over the Fireworks API."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rag_chain.errors import BadReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_chain.models.fireworks.client import FireworksClient


class FireworksReranker:
    """A rerank model of Fireworks, e.g. ``fireworks/qwen3-reranker-8b``."""

    def __init__(self, client: FireworksClient, model: str) -> None:
        self.model = model
        self._client = client

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one relevance score for each text, in order."""
        return self._client.loop.wait(self._ask(question, texts))

    async def ascore(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return one relevance score for each text, in order; from any event loop."""
        return await self._client.loop.join(self._ask(question, texts))

    async def _ask(self, question: str, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        body = {"model": self.model, "query": question, "documents": list(texts), "return_documents": False}
        return read_scores(await self._client.post("/rerank", body), len(texts))


def read_scores(reply: Any, expected: int) -> list[float]:
    """Return the scores of a rerank reply, ordered by ``index``; ``BadReplyError`` unless each text has one."""
    try:
        scores = {int(item["index"]): float(item["relevance_score"]) for item in reply["data"]}
    except (KeyError, TypeError, ValueError) as error:
        raise BadReplyError(f"the rerank reply can't be read ({type(error).__name__})") from error
    if scores.keys() != set(range(expected)) or not all(map(math.isfinite, scores.values())):
        raise BadReplyError(f"asked for {expected} rerank scores, the reply holds {len(scores)} or others")
    return [scores[number] for number in range(expected)]

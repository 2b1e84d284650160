"""Reranking with the loopback provider."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rag_chain import Settings, build_chain, build_retriever, ingest
from rag_chain.errors import BadReplyError, SettingsError
from rag_chain.models.fireworks.rerank import read_scores

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fireworks_server import FireworksServer

QUESTION = "Where do rows live?"


@pytest.fixture
def reranking(online: Settings, folder: Path) -> Settings:
    """Settings with a rerank model, over three ingested documents."""
    ingest(folder, online)
    return online.with_changes(rerank_model="fireworks/qwen3-reranker-8b", top_k=2)


def test_the_best_scored_chunks_are_kept(reranking: Settings, fireworks: FireworksServer) -> None:
    """All nearest chunks are scored in one request, and top_k of them come back, best first."""
    found = build_retriever(reranking).invoke(QUESTION)
    (request,) = fireworks.rerank_requests
    assert (request.body["query"], len(request.body["documents"])) == (QUESTION, 4)
    scores = [document.metadata["rerank_score"] for document in found]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)


def test_the_chain_uses_it_async_too(reranking: Settings, fireworks: FireworksServer) -> None:
    """A chain built from the settings reranks, and passes its filter on."""
    asked = {"question": QUESTION, "filter": {"source": "guide/*"}}
    answer = asyncio.run(build_chain(reranking).ainvoke(asked))
    assert answer["grounded"]
    assert {source["source"] for source in answer["sources"]} == {"guide/storage.md"}
    assert len(fireworks.rerank_requests[0].body["documents"]) == 2


def test_the_local_provider_has_none() -> None:
    """A rerank model without Fireworks is an error, not ignored."""
    with pytest.raises(SettingsError, match="RAG_RERANK_MODEL"):
        build_retriever(Settings(provider="local", rerank_model="fireworks/qwen3-reranker-8b"))


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "relevance_score": 0.5}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.5}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": float("nan")}],
        [{"index": 0}, {"index": 1}],
    ],
)
def test_a_reply_without_a_score_for_each_text_is_an_error(data: list[dict[str, float]]) -> None:
    """Missing, repeated and non-finite scores are seen."""
    with pytest.raises(BadReplyError):
        read_scores({"data": data}, 2)

"""Build the models that the settings name, from Fireworks or on this machine, behind one pair of functions."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from rag_chain.errors import SettingsError
from rag_chain.models.prices import chat_dollars, embedding_dollars
from rag_chain.settings import FIREWORKS_EMBEDDING_MODEL

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable

    from rag_chain.models.embedding import EmbeddingModel
    from rag_chain.models.fireworks.client import FireworksClient
    from rag_chain.models.fireworks.pace import Budget
    from rag_chain.models.reranking import Reranker
    from rag_chain.models.usage import Usage
    from rag_chain.settings import Settings

# Chat waits for a person, who would rather hear of it; an ingest would rather get there, and has a pace
# that slows it down where need be: it tries until the request's deadline.
CHAT_ATTEMPTS = 4
EMBEDDING_PAUSE = 1.0


def build_embeddings(settings: Settings, budget: Budget | None = None) -> EmbeddingModel:
    """Return the embedding model; no request is sent and no weights are read yet.

    ``budget`` is what several processes share; a model on this machine needs none.
    """
    if settings.resolved_provider == "local":
        from rag_chain.models.local import LocalEmbeddings
        from rag_chain.models.multilingual import MULTILINGUAL, MultilingualEmbeddings

        if settings.embedding_model == MULTILINGUAL:
            return MultilingualEmbeddings(settings.embedding_dimensions)
        own = settings.embedding_model != FIREWORKS_EMBEDDING_MODEL
        folder = settings.embedding_model if own else None
        return LocalEmbeddings(folder, dimensions=settings.embedding_dimensions)
    from rag_chain.models.fireworks.embeddings import FireworksEmbeddings

    return FireworksEmbeddings(
        _open_client(settings, attempts=math.inf, longest_pause=EMBEDDING_PAUSE),
        settings.embedding_model,
        dimensions=settings.embedding_dimensions,
        batch_size=settings.embedding_batch,
        batch_tokens=settings.embedding_batch_tokens,
        concurrency=settings.embedding_concurrency,
        budget=budget,
    )


def build_chat_model(settings: Settings, embeddings: EmbeddingModel) -> Runnable[LanguageModelInput, Any]:
    """Return the chat model that answers; the local one picks sentences with ``embeddings``."""
    if settings.resolved_provider == "local":
        from rag_chain.models.extractive import ExtractiveChatModel

        return ExtractiveChatModel(embeddings=embeddings)
    from rag_chain.models.fireworks.chat import build_chat

    client = _open_client(settings, attempts=CHAT_ATTEMPTS)
    return build_chat(client, settings.chat_models, _key(settings), max_tokens=settings.max_answer_tokens)


def _open_client(settings: Settings, *, attempts: float, longest_pause: float = 8.0) -> FireworksClient:
    from rag_chain.models.fireworks.client import FireworksClient

    # These print requests, and so documents and questions, at DEBUG.
    for name in ("httpx", "httpcore", "fireworks"):
        logging.getLogger(name).setLevel(logging.WARNING)
    base, timeout = settings.fireworks_api_base, settings.request_timeout
    return FireworksClient(base, _key(settings), timeout=timeout, attempts=attempts, longest_pause=longest_pause)


def _key(settings: Settings) -> str:
    return settings.fireworks_api_key.get_secret_value().strip() if settings.fireworks_api_key else ""


def vector_length(settings: Settings) -> int | None:
    """Return the length of the vectors that the settings' model gives; None for a model that is not known."""
    if settings.embedding_dimensions is not None:
        return settings.embedding_dimensions
    if settings.resolved_provider == "local" and settings.embedding_model == FIREWORKS_EMBEDDING_MODEL:
        from rag_chain.models.local import MINILM_DIMENSIONS

        return MINILM_DIMENSIONS
    from rag_chain.models.fireworks.cards import known_length

    return known_length(settings.embedding_model)


def price_embedding(settings: Settings, tokens: int) -> float | None:
    """Return what embedding this many tokens costs in dollars; None where that is not known."""
    if settings.resolved_provider == "local":
        return 0.0
    return embedding_dollars(settings.embedding_model, tokens, settings.embedding_price)


def price_chat(settings: Settings, usage: Usage) -> float | None:
    """Return what the chat model's tokens cost in dollars; None where that is not known."""
    if settings.resolved_provider == "local":
        return 0.0
    tokens = {kind: usage.tokens[kind] for kind in ("prompt", "cached", "completion")}
    return chat_dollars(settings.chat_model, **tokens)


def build_reranker(settings: Settings) -> Reranker | None:
    """Return the rerank model that the settings name, or None when they name none.

    Raises :class:`~rag_chain.errors.SettingsError` for the local provider, which has none.
    """
    if settings.rerank_model is None:
        return None
    if settings.resolved_provider == "local":
        raise SettingsError("RAG_RERANK_MODEL needs Fireworks: set FIREWORKS_API_KEY, or unset RAG_RERANK_MODEL")
    from rag_chain.models.fireworks.rerank import FireworksReranker

    return FireworksReranker(_open_client(settings, attempts=CHAT_ATTEMPTS), settings.rerank_model)

"""Build the models that the settings name, from Fireworks or on this machine, behind one pair of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.errors import SettingsError
from rag_chain.models.prices import chat_dollars, embedding_dollars
from rag_chain.settings import FIREWORKS_EMBEDDING_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable

    from rag_chain.models.embedding import EmbeddingModel
    from rag_chain.models.fireworks.client import FireworksClient
    from rag_chain.models.fireworks.pace import Budget
    from rag_chain.models.reranking import Reranker
    from rag_chain.models.usage import Usage
    from rag_chain.settings import Settings

# Chat waits for a person, who would rather hear of it.
CHAT_ATTEMPTS = 4


def build_embeddings(settings: Settings) -> EmbeddingModel:
    """Return the embedding model, of Fireworks as LangChain's class; no request is sent and no weights are read yet."""
    if settings.resolved_provider == "local":
        return _build_local(settings)
    from pydantic import SecretStr

    from rag_chain.models.fireworks.embeddings import FireworksEmbeddings

    return FireworksEmbeddings(
        model=settings.embedding_model,
        api_key=SecretStr(_key(settings)),
        base_url=settings.fireworks_api_base,
        timeout=settings.request_timeout,
        dimensions=settings.embedding_dimensions,
        batch_size=settings.embedding_batch,
        batch_tokens=settings.embedding_batch_tokens,
        concurrency=settings.embedding_concurrency,
    )


def build_embedding_client(settings: Settings, budget: Budget | None = None) -> EmbeddingModel:
    """Return the same model for an ingest: ``langchain_fireworks``, which takes 2.7 s to import, stays out of it.

    ``budget`` is what several processes share; a model on this machine needs none.
    """
    if settings.resolved_provider == "local":
        return _build_local(settings)
    from rag_chain.models.fireworks.opening import open_embedding_client

    return open_embedding_client(
        settings.fireworks_api_base,
        _key(settings),
        settings.embedding_model,
        timeout=settings.request_timeout,
        dimensions=settings.embedding_dimensions,
        batch_size=settings.embedding_batch,
        batch_tokens=settings.embedding_batch_tokens,
        concurrency=settings.embedding_concurrency,
        budget=budget,
    )


def choose_embeddings(
    settings: Settings,
    given: Embeddings | None,
    build: Callable[[Settings], EmbeddingModel] = build_embeddings,
) -> EmbeddingModel:
    """Return the ``Embeddings`` that are given, of whatever kind, as an embedding model, else the settings' own."""
    if given is None:
        return build(settings)
    from rag_chain.models.adapter import EmbeddingsAdapter
    from rag_chain.models.embedding import EmbeddingModel

    if isinstance(given, EmbeddingModel):
        return given
    size, tokens = settings.embedding_batch, settings.embedding_batch_tokens
    return EmbeddingsAdapter(given, batch_size=size, batch_tokens=tokens)


def _build_local(settings: Settings) -> EmbeddingModel:
    from rag_chain.models.local import LocalEmbeddings
    from rag_chain.models.multilingual import MULTILINGUAL, MultilingualEmbeddings

    if settings.embedding_model == MULTILINGUAL:
        return MultilingualEmbeddings(settings.embedding_dimensions)
    own = settings.embedding_model != FIREWORKS_EMBEDDING_MODEL
    folder = settings.embedding_model if own else None
    return LocalEmbeddings(folder, dimensions=settings.embedding_dimensions)


def build_chat_model(settings: Settings, embeddings: EmbeddingModel) -> Runnable[LanguageModelInput, Any]:
    """Return the chat model that answers; the local one picks sentences with ``embeddings``."""
    if settings.resolved_provider == "local":
        from rag_chain.models.extractive import ExtractiveChatModel

        return ExtractiveChatModel(embeddings=embeddings)
    from rag_chain.models.fireworks.chat import build_chat

    client = _open_client(settings)
    return build_chat(client, settings.chat_models, _key(settings), max_tokens=settings.max_answer_tokens)


def _open_client(settings: Settings) -> FireworksClient:
    from rag_chain.models.fireworks.opening import open_client

    base, timeout = settings.fireworks_api_base, settings.request_timeout
    return open_client(base, _key(settings), timeout=timeout, attempts=CHAT_ATTEMPTS)


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


def price_embedding(settings: Settings, tokens: int, given: Embeddings | None = None) -> float | None:
    """Return what embedding this many tokens costs in dollars; None where that is not known, as of a model given."""
    if given is not None:
        return None
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

    return FireworksReranker(_open_client(settings), settings.rerank_model)

"""Check what can go wrong between the settings and an answer, one thing after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.errors import EmptyStoreError, RagChainError
from rag_chain.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rag_chain.models.embedding import EmbeddingModel


def diagnose(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"ok", "checks": [{"name", "ok", "detail", "mend"}]}``; later checks need the earlier ones."""
    checks: list[dict[str, Any]] = []

    def check(name: str, look: Callable[[], str]) -> bool:
        try:
            checks.append(_result(name, True, look()))
        except EmptyStoreError as error:
            detail, _, mend = str(error).rpartition(": ")
            checks.append(_result(name, True, detail, mend))
        except RagChainError as error:
            detail, _, mend = str(error).partition(": ")
            checks.append(_result(name, False, detail, mend))
        return bool(checks[-1]["ok"])

    if check("settings", lambda: _show_settings(Settings(**given))):
        settings = Settings(**given)
        check("embeddings", lambda: _try_embeddings(settings))
        check("chat model", lambda: _try_chat(settings))
        check("milvus", lambda: _try_store(settings))
    return {"ok": all(entry["ok"] for entry in checks), "checks": checks}


def _result(name: str, ok: bool, detail: str, mend: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail, "mend": mend}


def _show_settings(settings: Settings) -> str:
    return f"provider {settings.resolved_provider}, Milvus at {settings.milvus_uri}, collection {settings.collection}"


def _try_embeddings(settings: Settings) -> str:
    from rag_chain.models.building import build_embeddings

    embeddings: EmbeddingModel = build_embeddings(settings)
    vector = embeddings.embed_query("Is anyone there?")
    return f"{embeddings.identity['model']} gives vectors of length {len(vector)}"


def _try_chat(settings: Settings) -> str:
    if settings.resolved_provider == "local":
        return "extractive: quotes the documents, no language model"
    from rag_chain.models.building import build_chat_model, build_embeddings

    build_chat_model(settings, build_embeddings(settings)).invoke("Say yes.")
    return f"{settings.chat_model} answers"


def _try_store(settings: Settings) -> str:
    from rag_chain.models.building import build_embeddings
    from rag_chain.pipeline import make_fingerprint
    from rag_chain.store.collection import open_store

    with open_store(settings) as store:
        store.open_for(make_fingerprint(settings, build_embeddings(settings)), writing=True)
        documents, chunks, version = len(store.catalogue()), store.count(), store.version()
    return f"{version}, collection {settings.collection} holds {documents} documents in {chunks} chunks"

"""Check what can go wrong between the settings and an answer, one thing after the other; mend the store."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from rag_chain.errors import EmptyStoreError, RagChainError
from rag_chain.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rag_chain.models.embedding import EmbeddingModel
    from rag_chain.store.collection import Store
    from rag_chain.store.fingerprint import Fingerprint
    from rag_chain.store.layout import StoredIndex
    from rag_chain.store.repair import Inventory, LeftOver

REPAIR, INGEST = "rag-chain doctor --repair", "rag-chain ingest PATH"

_NOT_BUILT = "look again in a minute; if rows are still missing, see Milvus' log, or set RAG_INDEX_TYPE and reindex"

T = TypeVar("T")


def diagnose(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"ok", "checks": [{"name", "ok", "detail", "mend"}]}``; later checks need the earlier ones.

    Beside it, once the store can be reached, are ``collections``: ``[{"name", "state", "chunks"}]``,
    and the ``fingerprint`` of the current one.
    """
    from rag_chain.models.building import build_embeddings
    from rag_chain.pipeline import make_fingerprint

    checks = _Checks()
    settings = checks.attempt("settings", lambda: Settings(**given), _show_settings)
    if settings is not None:
        _check_encryption(checks, settings)
        build = cache(lambda: build_embeddings(settings))
        checks.attempt("embeddings", lambda: _try_embeddings(build()))
        checks.attempt("chat model", lambda: _try_chat(settings, build))
        _with_store(
            checks, settings, lambda store: _check_store(checks, store, lambda: make_fingerprint(settings, build()))
        )
    return checks.report()


def repair(given: Mapping[str, Any]) -> dict[str, Any]:
    """Remove from the store what broken-off runs left, when no ingest is running; ask no model.

    Returns the shape of :func:`diagnose`, and beside it ``repaired``: ``{"orphaned chunks": {"chunks":
    12, "of": ["a.md"]}}``, empty when there was nothing. Collections that a rebuild kept are not touched.
    """
    checks = _Checks()
    settings = checks.attempt("settings", lambda: Settings(**given), _show_settings)
    if settings is not None:
        _with_store(checks, settings, lambda store: _repair_store(checks, store))
    return checks.report()


class _Checks:
    """The checks' results, in order, and what the report shows beside them."""

    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}
        self._results: list[dict[str, Any]] = []

    def attempt(self, name: str, look: Callable[[], T], show: Callable[[T], str] = str, *, mend: str = "") -> T | None:
        """Return what was found, and add it as a check; None when it failed, or nothing is there yet."""
        try:
            found = look()
            self.add(name, show(found), mend=mend)
        except EmptyStoreError as error:
            detail, _, mend = str(error).rpartition(": ")
            self.add(name, detail, mend=mend)
        except RagChainError as error:
            detail, _, mend = str(error).partition(": ")
            self.add(name, detail, ok=False, mend=mend)
        else:
            return found
        return None

    def add(self, name: str, detail: str, *, ok: bool = True, mend: str = "") -> None:
        """Add a result."""
        self._results.append({"name": name, "ok": ok, "detail": detail, "mend": mend})

    def mend(self, command: str) -> None:
        """Say what mends the last result."""
        self._results[-1]["mend"] = command

    def report(self) -> dict[str, Any]:
        """Return all of it."""
        return {"ok": all(result["ok"] for result in self._results), "checks": self._results, **self.shown}


def _show_settings(settings: Settings) -> str:
    place = f"Milvus at {settings.milvus_uri}, collection {settings.tenant_collection}"
    return f"provider {settings.resolved_provider}, {place}"


def _check_encryption(checks: _Checks, settings: Settings) -> None:
    if settings.is_milvus_in_clear:
        detail = "token and texts travel unencrypted to Milvus"
        checks.add("encryption", detail, mend="https:// in MILVUS_URI, unless the network between is your own")


def _try_embeddings(embeddings: EmbeddingModel) -> str:
    vector = embeddings.embed_query("Is anyone there?")
    return f"{embeddings.identity['model']} gives vectors of length {len(vector)}"


def _try_chat(settings: Settings, build: Callable[[], EmbeddingModel]) -> str:
    if settings.resolved_provider == "local":
        return "extractive: quotes the documents, no language model"
    from rag_chain.models.building import build_chat_model

    build_chat_model(settings, build()).invoke("Say yes.")
    return f"{settings.chat_model} answers"


def _with_store(checks: _Checks, settings: Settings, work: Callable[[Store], None]) -> None:
    from rag_chain.store.collection import open_store

    store = checks.attempt("milvus", lambda: open_store(settings), lambda store: store.version())
    if store is not None:
        with store:
            work(store)


def _check_store(checks: _Checks, store: Store, wanted: Callable[[], Fingerprint]) -> None:
    from rag_chain.store.repair import KINDS, count_contents, many, take_inventory

    show = partial(_show_collections, alias=store.name)
    with store.try_turn() as free:
        look = take_inventory if free else count_contents
        inventory = checks.attempt("collections", lambda: look(store), show)
    if inventory is None:
        return
    checks.shown["collections"] = [asdict(generation) for generation in inventory.collections]
    checks.attempt("fingerprint", lambda: _compare(checks, store, wanted()), _show_fingerprint)
    _check_index(checks, store)
    checks.add("documents", f"{many(inventory.documents, 'document')} in {many(inventory.chunks, 'chunk')}")
    for left in inventory.left_over:
        checks.add(left.kind, str(left) if left else "none", ok=not left, mend=_mend(left) if left else "")
    for kind in () if free else KINDS:
        checks.add(kind, "not looked for: an ingest is running, or another doctor")


def _mend(left: LeftOver) -> str:
    from rag_chain.store.repair import INCOMPLETE

    return f"{INGEST} fills it; where its place is gone, {REPAIR}" if left.kind == INCOMPLETE else REPAIR


def _show_collections(inventory: Inventory, alias: str) -> str:
    from rag_chain.store.repair import many

    target = next((one.name for one in inventory.collections if one.state == "current"), "nothing")
    parts = [f"{one.name} ({one.state}, {many(one.chunks, 'chunk')})" for one in inventory.collections]
    return "; ".join([f"{alias} points at {target}", *parts])


def _compare(checks: _Checks, store: Store, wanted: Fingerprint) -> Fingerprint:
    if store.exists():
        checks.shown["fingerprint"] = store.fingerprint()
    store.open_for(wanted, writing=True)
    return wanted


def _check_index(checks: _Checks, store: Store) -> None:
    """Show the index; one that is not what the settings say serves all the same, so that is no fault."""
    if not store.exists():
        checks.add("index", "none yet")
        return
    index = checks.attempt("index", lambda: _read_index(store), lambda index: f"{index}; {index.progress}")
    if index is None:
        return
    checks.shown["index"] = index.to_json()
    if index.is_idle:
        checks.add("index progress", "Milvus is not building it at the moment", mend=_NOT_BUILT)
    if other := checks.attempt("index settings", store.index.differences, lambda other: "; ".join(other) or "as set"):
        checks.mend("; ".join(dict.fromkeys(other.values())))


def _read_index(store: Store) -> StoredIndex:
    from rag_chain.errors import StoreError
    from rag_chain.store.indexing import REINDEX

    index = store.index.read()
    if index is None:
        raise StoreError(f"there is none, so that nothing can be searched: {REINDEX}")
    return index


def _show_fingerprint(fingerprint: Fingerprint) -> str:
    parts = sorted(fingerprint.items(), key=lambda part: (part[0] != "model", part[0]))
    return ", ".join(f"{name} {value!r}" for name, value in parts)


def _repair_store(checks: _Checks, store: Store) -> None:
    from rag_chain.store.repair import take_inventory

    with store.take_turn():
        show = partial(_show_collections, alias=store.name)
        inventory = checks.attempt("collections", lambda: take_inventory(store, thorough=True), show)
        if inventory is not None:
            removed = {left.kind: left.to_json() for left in inventory.left_over if _remove(checks, store, left)}
            checks.shown["repaired"] = removed


def _remove(checks: _Checks, store: Store, left: LeftOver) -> bool:
    from rag_chain.store.repair import INCOMPLETE, remove

    if not left:
        checks.add(left.kind, "none")
        return False
    mend = INGEST if left.kind == INCOMPLETE else ""
    return checks.attempt(left.kind, lambda: remove(store, left), lambda left: f"removed {left}", mend=mend) is not None

"""Whether the server can answer: the models and the store, each by its name, asked no more often than needed."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from rag_chain.errors import RagChainError
from rag_chain.pipeline import make_fingerprint
from rag_chain.server.replies import message_of
from rag_chain.store.collection import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from rag_chain.server.service import Service

logger = logging.getLogger(__name__)

# For how long an answer counts. Asking a model costs tokens; a failure is looked at again soon.
SECONDS = {"store": 5.0, "embeddings": 60.0, "chat_model": 300.0}
AGAIN_SECONDS = 5.0


class Readiness:
    """Asks what answers depend on; safe to use from several threads."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: dict[str, tuple[float, str, str]] = {}
        self._lock = threading.Lock()

    def check(self) -> dict[str, Any]:
        """Return ``{"ok", "checks": {"store": {"ok", "detail"}, ...}}``."""
        looks = {"store": self._ask_store, "embeddings": self._ask_embeddings, "chat_model": self._ask_chat}
        with self._lock:
            found = {name: self._look(name, look) for name, look in looks.items()}
        return {"ok": all(check["ok"] for check in found.values()), "checks": found}

    def _look(self, name: str, look: Callable[[], str]) -> dict[str, Any]:
        until, detail, failure = self._known.get(name, (0.0, "", ""))
        if time.monotonic() >= until:
            detail, failure = _try(name, look)
            until = time.monotonic() + (AGAIN_SECONDS if failure else SECONDS[name])
            self._known[name] = (until, detail, failure)
        return {"ok": not failure, "detail": failure or detail}

    def _ask_store(self) -> str:
        settings = self._service.settings
        with open_store(settings) as store:
            if not store.exists():
                return "nothing has been ingested yet"
            store.open_for(make_fingerprint(settings, self._service.embeddings), writing=False)
        return "the collection can be asked"

    def _ask_embeddings(self) -> str:
        self._service.embeddings.embed_query("Is anyone there?")
        return "the model answers"

    def _ask_chat(self) -> str:
        self._service.ask_chat_model()
        return "the model answers"


def _try(name: str, look: Callable[[], str]) -> tuple[str, str]:
    try:
        return look(), ""
    except RagChainError as error:
        logger.warning("not ready, %s: %s", name, error)
        return "", f"{type(error).__name__}: {message_of(error)}"

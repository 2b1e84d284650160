"""What serves questions: the models, shared by all, and for each tenant a chain over that tenant's collection."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.concurrency import run_in_threadpool

from rag_chain.errors import StoreError
from rag_chain.models.building import build_chat_model, build_embeddings, price_chat, price_embedding
from rag_chain.models.usage import TOTAL
from rag_chain.pipeline import build_chain, build_refined_retriever
from rag_chain.server.callers import anybody
from rag_chain.store.collection import open_store
from rag_chain.store.documents import list_documents, read_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.runnables import Runnable

    from rag_chain.models.usage import Usage
    from rag_chain.retrieval.refined import RefinedRetriever
    from rag_chain.server.callers import Caller
    from rag_chain.settings import Settings
    from rag_chain.store.collection import Store
    from rag_chain.store.documents import Entry

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Tenants whose collections stay open; the one that has been quiet for longest is closed first.
OPEN_TENANTS = 64


@dataclass(frozen=True)
class Tenancy:
    """What answers one tenant's questions."""

    settings: Settings
    chain: Runnable[Any, dict[str, Any]]
    retriever: RefinedRetriever


class Service:
    """Builds what each tenant needs when it is first asked for; connects to nothing before."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.embeddings = build_embeddings(settings)
        self._chat_model = build_chat_model(settings, self.embeddings)
        self._open: OrderedDict[str, Tenancy] = OrderedDict()
        self._lock = threading.Lock()

    def for_caller(self, caller: Caller) -> Tenancy:
        """Return what answers this caller; a caller without a tenant is an error, not everybody."""
        with self._lock:
            tenancy = self._open.pop(caller.tenant, None) or self._build(caller.tenant)
            self._open[caller.tenant] = tenancy
            while len(self._open) > OPEN_TENANTS:
                self._open.popitem(last=False)
            return tenancy

    def open_store(self, caller: Caller) -> Store:
        """Connect to the caller's collection; close it again."""
        return open_store(self.for_caller(caller).settings)

    async def list_documents(self, caller: Caller) -> list[Entry]:
        """Return the caller's documents by name."""
        return await run_in_threadpool(self._look, caller, list_documents)

    async def read_document(self, caller: Caller, source: str) -> str | None:
        """Return the text of one of the caller's documents, or None where there is no such document."""
        return await run_in_threadpool(self._look, caller, lambda store: read_document(store, source))

    def host_store(self) -> Store | None:
        """Give Milvus Lite a process of its own until what is returned is closed; None where there is nothing to host.

        A store that can't be opened is for ``/readyz`` and the first question to tell of.
        """
        if not self.settings.is_milvus_lite:
            return None
        try:
            return open_store(self.settings, hosted=True)
        except StoreError as error:
            logger.warning("the store could not be opened: %s", error)
            return None

    def warm_up(self) -> None:
        """Import and build what the first question would have to."""
        import rag_chain.store.vectorstore  # noqa: F401

        self.for_caller(anybody(self.settings.tenant))

    def ask_chat_model(self) -> None:
        """Raise what is wrong with the chat model, if anything is; the local one is always there."""
        if self.settings.resolved_provider != "local":
            self._chat_model.invoke("Say yes.")

    def count_usage(self) -> tuple[Usage, float | None]:
        """Return what the models were asked since the process began, and what that cost, where prices are known."""
        embedded = price_embedding(self.settings, TOTAL.tokens["embedding"])
        answered = price_chat(self.settings, TOTAL)
        known = embedded is not None and answered is not None
        return TOTAL, (embedded or 0) + (answered or 0) if known else None

    def _look(self, caller: Caller, look: Callable[[Store], T]) -> T:
        with self.open_store(caller) as store:
            return look(store)

    def _build(self, tenant: str) -> Tenancy:
        # Checked like any setting: an empty name, or one that is none, raises.
        settings = self.settings.with_changes(tenant=tenant)
        retriever = build_refined_retriever(settings, self.embeddings)
        chain = build_chain(settings, retriever=retriever, chat_model=self._chat_model, embeddings=self.embeddings)
        return Tenancy(settings, chain, retriever)

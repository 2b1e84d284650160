"""``langchain_milvus.Milvus`` over the collection, with what it gets wrong for this use set right."""

from __future__ import annotations

import rag_chain.store.vendor  # noqa: F401  # isort: skip  must come before langchain_milvus

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from langchain_core.runnables.config import run_in_executor
from langchain_milvus import Milvus

from rag_chain.errors import ConnectionLostError, StoreError
from rag_chain.store.connection import close_with
from rag_chain.store.filters import build_expression, matches, within_tenant
from rag_chain.store.links import store_errors
from rag_chain.store.schema import (
    DENSE,
    KEY,
    OUTPUT_FIELDS,
    SPARSE,
    SPARSE_SEARCH,
    TEXT,
)
from rag_chain.store.terms import find_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from numpy.typing import NDArray

    from rag_chain.store.collection import Store
    from rag_chain.store.filters import Filter
    from rag_chain.store.fingerprint import Fingerprint

T = TypeVar("T")

# Before a search that failed is made again, in seconds.
PAUSES = (0.0, 0.3)
# How much further to look when a filter's wildcards left too little, and the most that Milvus returns.
FURTHER, MOST_RESULTS = 8, 16_384


class ChunkStore(Milvus):
    """A LangChain vector store for reading the chunks that an ingest wrote.

    Scores are raw cosines, 1 best. Async calls run in threads: pymilvus' async client dies with
    the first event loop that used it, and Milvus Lite works in this process anyway.
    """

    def __init__(self, store: Store, embeddings: Embeddings) -> None:
        # Keeps the connection open for as long as this object lives.
        self._store = store
        self._index = store.index.require()
        try:
            with store_errors("opening the collection"):
                super().__init__(
                    embedding_function=embeddings,
                    collection_name=store.name,
                    connection_args=store.arguments,
                    consistency_level=store.layout.consistency,
                    index_params=store.layout.index_arguments(on_lite=store.address.is_lite),
                    search_params=self.search_arguments(1),
                    primary_field=KEY,
                    text_field=TEXT,
                    vector_field=DENSE,
                    enable_dynamic_field=True,
                )
        finally:
            # The parent connects by itself and never closes; it may fail after it has connected.
            if hasattr(self, "_milvus_client"):
                close_with(self, self.client)

    def nearest(self, vector: list[float], k: int, conditions: Filter | None = None) -> list[tuple[Document, float]]:
        """Return the ``k`` chunks nearest to a unit-length vector with their cosines, best first."""

        def search(limit: int, expression: str) -> list[tuple[Document, float]]:
            return self.similarity_search_with_score_by_vector(vector, k=limit, expr=expression or None)

        return self._find(search, k, conditions or {})

    def matching(self, text: str, k: int, conditions: Filter | None = None) -> list[tuple[Document, float]]:
        """Return the ``k`` chunks with the most BM25 for a text, best first; none where Milvus has no BM25."""
        terms = " ".join(find_terms(text, self._store.language)) if self._store.understands_text else ""

        def search(limit: int, expression: str) -> list[tuple[Document, float]]:
            found = self.client.search(
                self.collection_name,
                data=[terms],
                anns_field=SPARSE,
                search_params=SPARSE_SEARCH,
                limit=limit,
                filter=expression,
                output_fields=self._get_output_fields(),
                consistency_level=self._store.layout.consistency,
                timeout=self._timeout,
            )
            # Milvus Lite gives what it sorts by, which is the negative.
            return [(chunk, abs(score)) for chunk, score in self._parse_documents_from_search_results(found)]

        return self._find(search, k, conditions or {}) if terms else []

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the unit-length vectors of these chunks, of those that are there."""
        with store_errors("reading vectors"):
            rows = self.client.get(self.collection_name, list(ids), [DENSE], timeout=self._store.address.timeout)
        return {row[KEY]: np.asarray(row[DENSE], np.float32) for row in rows}

    def _find(
        self, search: Callable[[int, str], list[tuple[Document, float]]], k: int, conditions: Filter
    ) -> list[tuple[Document, float]]:
        """Return ``k`` results that satisfy a filter.

        Milvus' patterns may select too much; what is dropped is made up for by looking further.
        """
        conditions = within_tenant(conditions, self._store.tenant)
        expression = build_expression(conditions, prefixes_only=not self._store.understands_text)
        limit = k
        while True:
            with store_errors("searching"):
                found = search(limit, expression)
            kept = [pair for pair in found if matches(conditions, pair[0].metadata)] if conditions else found
            if len(kept) >= k or len(found) < limit or limit >= MOST_RESULTS:
                return kept[:k]
            limit = min(limit * FURTHER, MOST_RESULTS)

    async def asimilarity_search_with_score_by_vector(self, *args: Any, **kwargs: Any) -> list[tuple[Document, float]]:
        """Search in a thread."""
        return await run_in_executor(None, self.similarity_search_with_score_by_vector, *args, **kwargs)

    async def asimilarity_search_with_score(self, *args: Any, **kwargs: Any) -> list[tuple[Document, float]]:
        """Search in a thread."""
        return await run_in_executor(None, self.similarity_search_with_score, *args, **kwargs)

    async def asimilarity_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        """Search in a thread."""
        return await run_in_executor(None, self.similarity_search, *args, **kwargs)

    async def amax_marginal_relevance_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        """Search in a thread."""
        return await run_in_executor(None, self.max_marginal_relevance_search, *args, **kwargs)

    def add_texts(self, *_: Any, **__: Any) -> list[str]:
        """Refuse: chunks are written by an ingest, which keeps ids, versions and records in step."""
        raise StoreError("chunks are written by rag_chain.ingest(), not through the vector store")

    aadd_texts = add_texts  # type: ignore[assignment]  # it raises either way

    def search_arguments(self, k: int) -> dict[str, Any]:
        """Return how pymilvus is to search the index that is there for the ``k`` nearest."""
        return self._store.layout.search_arguments(self._index, k)

    def _collection_search(
        self,
        embedding_or_text: Any,
        k: int = 4,
        param: dict[str, Any] | None = None,
        expr: str | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        # All dense searches come through here; the parent's take neither k nor the consistency into account.
        options = {"consistency_level": self._store.layout.consistency, **kwargs}
        return super()._collection_search(
            embedding_or_text, k, param or self.search_arguments(k), expr, timeout or self._timeout, **options
        )

    @property
    def _timeout(self) -> float:
        return self._store.layout.search_timeout or self._store.address.timeout

    def _get_output_fields(self) -> list[str]:
        # The parent's list holds the BM25 field, which can't be returned, and grows with every search.
        return [*OUTPUT_FIELDS, "$meta"]


class ChunkIndex:
    """The collection to search, opened when it is first asked; it may come into being later than this.

    Building a chain connects to nothing, so a server can start before the first ingest.
    """

    def __init__(self, open_store: Callable[[], Store], fingerprint: Fingerprint, embeddings: Embeddings) -> None:
        self._open_store = open_store
        self._fingerprint = fingerprint
        self._embeddings = embeddings
        self._opened: ChunkStore | None = None
        self._lock = threading.Lock()

    def nearest(self, vector: list[float], k: int, conditions: Filter | None = None) -> list[tuple[Document, float]]:
        """Return the ``k`` nearest chunks with their cosines, best first; see :meth:`ChunkStore.nearest`."""
        return self._ask(lambda store: store.nearest(vector, k, conditions))

    def matching(self, text: str, k: int, conditions: Filter | None = None) -> list[tuple[Document, float]]:
        """Return the ``k`` chunks with the most BM25 for a text, best first; see :meth:`ChunkStore.matching`."""
        return self._ask(lambda store: store.matching(text, k, conditions))

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the unit-length vectors of these chunks, of those that are there."""
        return self._ask(lambda store: store.vectors(ids))

    def _ask(self, ask: Callable[[ChunkStore], T]) -> T:
        """Ask the collection.

        It may be replaced by a rebuild, or the process that serves it end, while it is searched:
        then it is opened anew and asked once more.
        """
        for pause in PAUSES:
            store = self.open()
            try:
                return ask(store)
            except StoreError:
                self._forget(store)
                time.sleep(pause)
        return ask(self.open())

    def open(self) -> ChunkStore:
        """Return the opened collection."""
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._open()
                except ConnectionLostError:
                    # The process that served the path ended in the middle of it.
                    self._opened = self._open()
            return self._opened

    def _open(self) -> ChunkStore:
        store = self._open_store()
        try:
            store.open_for(self._fingerprint, writing=False)
            return ChunkStore(store, self._embeddings)
        except StoreError:
            store.close()
            raise

    def _forget(self, failed: ChunkStore) -> None:
        # It is closed when the last search in it has ended, by the garbage collector.
        with self._lock:
            if self._opened is failed:
                self._opened = None

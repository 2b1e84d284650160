"""The collection to search, opened when it is first asked, and once more when it is lost."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from rag_chain.errors import ConnectionLostError, StoreError
from rag_chain.store.vectorstore import ChunkStore

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

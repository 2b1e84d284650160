"""Where an ingest writes: into the collection, which it may have to create, or into one that will replace it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_chain.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.documents import Document
    from numpy.typing import NDArray

    from rag_chain.store.collection import Store, StoredDocument
    from rag_chain.store.fingerprint import Fingerprint


# Milvus Lite keeps what is not flushed in memory beside what is, and makes one file of every four: larger portions
# take more memory, smaller ones more time. A server decides for itself.
ROWS_PER_FLUSH = 8192


@dataclass(frozen=True)
class _Found:
    """What a collection held: the sources and versions of complete documents; ``whole`` if no other chunk was there."""

    sources: set[str]
    versions: set[str]
    whole: bool


class CollectionWriter:
    """Creates the collection when the first vectors show their length; a rebuild goes into a new one beside it.

    With ``keep_old`` the collections that a rebuild replaces stay beside it. ``catalogue`` saves
    looking for it once more.
    """

    def __init__(
        self,
        store: Store,
        fingerprint: Fingerprint,
        *,
        rebuild: bool,
        keep_old: bool = False,
        catalogue: Mapping[str, StoredDocument] | None = None,
    ) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._catalogue = catalogue
        self._rebuild = rebuild
        self._keep_old = keep_old
        self._found: _Found | None = None
        self._target: Store | None = None
        self._recorded: dict[str, str] = {}
        self._unflushed = 0

    def write(self, chunks: Sequence[Document], vectors: NDArray[Any], counts: Mapping[str, int]) -> None:
        """Upsert chunks with their vectors."""
        self._store.check_turn()
        self._look()
        target = self._target = self._target or self._open(vectors.shape[1])
        target.write(chunks, vectors, counts)
        self._unflushed += len(chunks)
        if target.address.is_lite and self._unflushed >= ROWS_PER_FLUSH:
            target.flush()
            self._unflushed = 0
        for chunk in chunks:
            if not chunk.metadata["position"]:
                self._recorded[chunk.metadata["source"]] = chunk.metadata["content_hash"]

    def remove(self, versions: Mapping[str, str]) -> int:
        """Delete what these sources hold of other versions than these; return how many chunks."""
        self._store.check_turn()
        return (self._target or self._store).remove(versions)

    def discard(self, source: str, version: str) -> None:
        """Delete the chunks of one version of a document."""
        self._store.check_turn()
        if self._target is not None:
            self._target.discard(source, version)

    def held(self, sources: Sequence[str], versions: Sequence[str]) -> Iterator[tuple[Document, NDArray[Any]]]:
        """Yield stored chunks of these sources or versions with their vectors; a rebuild takes none over.

        What can't be there is not asked for: on Milvus Lite a question takes the longer the more it holds.
        """
        if self._rebuild:
            return
        found = self._look()
        if found.whole:
            sources = [source for source in sources if source in found.sources]
            versions = [version for version in versions if version in found.versions]
        if sources or versions:
            yield from self._store.held(sources, versions)

    def close(self, *, complete: bool) -> None:
        """Make durable what was written; a complete rebuild takes the old collection's place."""
        if self._target is None:
            return
        self._store.check_turn()
        if not self._look().whole:
            # A run that broke off may have left chunks of what these documents held then.
            self._target.remove(self._recorded)
        self._target.flush()
        if self._rebuild:
            if complete:
                self._store.publish(self._target, keep_old=self._keep_old)
            self._target.close()

    def _look(self) -> _Found:
        """Return what was there before anything was written."""
        if self._found is None:
            self._found = self._find()
        return self._found

    def _find(self) -> _Found:
        if self._rebuild or not self._store.exists():
            return _Found(set(), set(), whole=True)
        catalogue = self._store.catalogue() if self._catalogue is None else self._catalogue
        documents = catalogue.values()
        whole = self._store.count() == sum(document.chunks for document in documents)
        return _Found(set(catalogue), {document.version for document in documents}, whole=whole)

    def _open(self, dimensions: int) -> Store:
        if self._rebuild:
            return self._store.rebuild(self._fingerprint, dimensions)
        if not self._store.exists():
            self._store.create(self._fingerprint, dimensions)
        elif (held := self._store.dimensions()) != dimensions:
            raise StoreError(f"the collection holds vectors of length {held}, the model gives {dimensions}")
        return self._store

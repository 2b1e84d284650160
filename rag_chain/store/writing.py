"""Where an ingest writes: into the collection, which it may have to create, or into one that will replace it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.documents import Document
    from numpy.typing import NDArray

    from rag_chain.store.collection import Store
    from rag_chain.store.fingerprint import Fingerprint


class CollectionWriter:
    """Creates the collection when the first vectors show their length; a rebuild goes into a new one beside it."""

    def __init__(self, store: Store, fingerprint: Fingerprint, *, rebuild: bool) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._rebuild = rebuild
        self._target: Store | None = None
        self._had_rows = False
        self._recorded: dict[str, str] = {}

    def write(self, chunks: Sequence[Document], vectors: NDArray[Any], counts: Mapping[str, int]) -> None:
        """Upsert chunks with their vectors."""
        target = self._target = self._target or self._open(vectors.shape[1])
        target.write(chunks, vectors, counts)
        for chunk in chunks:
            if not chunk.metadata["position"]:
                self._recorded[chunk.metadata["source"]] = chunk.metadata["content_hash"]

    def remove(self, source: str, *, keep_version: str = "") -> int:
        """Delete a document's chunks, except those of one version."""
        return (self._target or self._store).remove(source, keep_version=keep_version)

    def held(self, sources: Sequence[str], versions: Sequence[str]) -> Iterator[tuple[Document, NDArray[Any]]]:
        """Yield stored chunks of these sources or versions with their vectors; a rebuild takes none over."""
        if not self._rebuild and self._store.exists():
            yield from self._store.held(sources, versions)

    def close(self, *, complete: bool) -> None:
        """Make durable what was written; a complete rebuild takes the old collection's place."""
        if self._target is None:
            return
        if self._had_rows:
            # A run that broke off may have left chunks of what these documents held then.
            self._target.remove_other_versions(self._recorded)
        self._target.flush()
        if self._rebuild:
            if complete:
                self._store.publish(self._target)
            self._target.close()

    def _open(self, dimensions: int) -> Store:
        self._had_rows = not self._rebuild and self._store.exists()
        if self._rebuild:
            return self._store.rebuild(self._fingerprint, dimensions)
        if not self._had_rows:
            self._store.create(self._fingerprint, dimensions)
        elif (held := self._store.dimensions()) != dimensions:
            raise StoreError(f"the collection holds vectors of length {held}, the model gives {dimensions}")
        return self._store

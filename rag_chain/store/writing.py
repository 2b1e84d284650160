"""Where an ingest writes: into the collection, which it may have to create, or into one that will replace it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rag_chain.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from langchain_core.documents import Document
    from numpy.typing import NDArray

    from rag_chain.store.collection import Store, StoredDocument
    from rag_chain.store.fingerprint import Fingerprint


# Milvus Lite keeps what is not flushed in memory beside what is, and makes one file of every four: larger portions
# take more memory, smaller ones more time. A server decides for itself.
ROWS_PER_FLUSH = 8192


@dataclass(frozen=True)
class Found:
    """What a collection held: the sources and versions of complete documents; ``whole`` if no other chunk was there."""

    sources: set[str]
    versions: set[str]
    whole: bool


@dataclass(frozen=True)
class Share:
    """What another process has to know to write some of the documents: the collection, and what it held of them."""

    collection: str
    found: Found

    def again(self) -> Share:
        """Return it for documents that somebody else has begun to write: whatever is there of them is looked for."""
        return replace(self, found=replace(self.found, whole=False))


class Portions:
    """Has Milvus Lite write out what it holds in memory whenever that has become a portion."""

    def __init__(self) -> None:
        self._unflushed = 0

    def count(self, target: Store, rows: int) -> None:
        """Count rows that were written, and flush when they make a portion."""
        self._unflushed += rows
        if target.address.is_lite and self._unflushed >= ROWS_PER_FLUSH:
            target.flush()
            self._unflushed = 0


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
        self._found: Found | None = None
        self._target: Store | None = None
        self._recorded: dict[str, str] = {}
        self._portions = Portions()

    @property
    def target(self) -> Store | None:
        """The collection that is written to, once it is there."""
        return self._target

    def open(self, dimensions: int) -> Store:
        """Return the collection for vectors of this length, created if need be."""
        self._look()
        self._target = self._target or self._open(dimensions)
        return self._target

    def begin(self) -> ShareWriter:
        """Return a writer of some documents that creates this one's collection, and leaves the rest to it."""
        return ShareWriter(self._store, self._look(), self.open)

    def share(self, sources: Sequence[str], versions: Sequence[str]) -> Share | None:
        """Return what another process needs to write these documents; None before there is a collection."""
        if self._target is None and not self._rebuild and self._store.exists():
            self.open(self._store.dimensions())
        if self._target is None:
            return None
        found = self._look()
        known = Found(found.sources.intersection(sources), found.versions.intersection(versions), found.whole)
        return Share(self._target.name, known)

    def write(self, chunks: Sequence[Document], vectors: NDArray[Any], counts: Mapping[str, int]) -> None:
        """Upsert chunks with their vectors."""
        self._store.check_turn()
        target = self.open(vectors.shape[1])
        target.write(chunks, vectors, counts)
        self.count_written(len(chunks))
        for chunk in chunks:
            if not chunk.metadata["position"]:
                self._recorded[chunk.metadata["source"]] = chunk.metadata["content_hash"]

    def count_written(self, rows: int) -> None:
        """Have Milvus Lite write out what it holds in memory, when so many rows more make it a portion."""
        if self._target is not None:
            self._portions.count(self._target, rows)

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

    def _look(self) -> Found:
        """Return what was there before anything was written."""
        if self._found is None:
            self._found = self._find()
        return self._found

    def _find(self) -> Found:
        if self._rebuild or not self._store.exists():
            return Found(set(), set(), whole=True)
        catalogue = self._store.catalogue() if self._catalogue is None else self._catalogue
        documents = catalogue.values()
        whole = self._store.count() == sum(document.chunks for document in documents)
        return Found(set(catalogue), {document.version for document in documents}, whole=whole)

    def _open(self, dimensions: int) -> Store:
        if self._rebuild:
            return self._store.rebuild(self._fingerprint, dimensions)
        if not self._store.exists():
            self._store.create(self._fingerprint, dimensions)
        else:
            check_length(self._store, dimensions)
        return self._store


class ShareWriter(CollectionWriter):
    """Writes some of an ingest's documents; the whole is made durable and published by who shared it out.

    ``open_collection`` returns the collection for vectors of a length.
    """

    def __init__(self, store: Store, found: Found, open_collection: Callable[[int], Store]) -> None:
        super().__init__(store, {}, rebuild=False)
        self._found = found
        self._open_collection = open_collection

    def count_written(self, rows: int) -> None:
        """Leave it to who shared the documents out, and sees what all write."""

    def close(self, *, complete: bool) -> None:
        """Remove what a run that broke off had left of these documents; leave the rest to others."""
        if self._target is not None and not self._look().whole:
            self._target.remove(self._recorded)

    def _open(self, dimensions: int) -> Store:
        return self._open_collection(dimensions)


class SharedCollection(ShareWriter):
    """The same from another process than the one that created the collection, with a connection of its own."""

    def __init__(self, store: Store, share: Share) -> None:
        super().__init__(store, share.found, self._check)

    def close(self, *, complete: bool) -> None:
        """Give the connection back as well."""
        try:
            super().close(complete=complete)
        finally:
            self._store.close()

    def _check(self, dimensions: int) -> Store:
        check_length(self._store, dimensions)
        return self._store


def check_length(store: Store, dimensions: int) -> None:
    """Raise ``StoreError`` when the collection was made for vectors of another length."""
    if (held := store.dimensions()) != dimensions:
        raise StoreError(f"the collection holds vectors of length {held}, the model gives {dimensions}")

"""Where a rebuild writes that goes by bulk import: to files, which a server imports when all is embedded."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rag_chain.errors import SettingsError, StoreError
from rag_chain.store.bulk import read_bulk
from rag_chain.store.writing import CollectionWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.documents import Document
    from numpy.typing import NDArray

    from rag_chain.settings import Engine, Settings
    from rag_chain.store.bulk import Bulk, BulkImport
    from rag_chain.store.collection import Store, StoredDocument
    from rag_chain.store.fingerprint import Fingerprint


class BulkCollectionWriter(CollectionWriter):
    """Fills the new collection of a rebuild by one bulk import; nothing of it can be read before :meth:`close`."""

    def __init__(
        self,
        store: Store,
        fingerprint: Fingerprint,
        bulk: Bulk,
        *,
        keep_old: bool = False,
        catalogue: Mapping[str, StoredDocument] | None = None,
    ) -> None:
        super().__init__(store, fingerprint, rebuild=True, keep_old=keep_old, catalogue=catalogue)
        self._bulk = bulk
        self._stack = ExitStack()
        self._import: BulkImport | None = None
        self._discarded: list[tuple[str, str]] = []

    def write(self, chunks: Sequence[Document], vectors: NDArray[Any], counts: Mapping[str, int]) -> None:
        """Add chunks with their vectors to the files."""
        self._store.check_turn()
        target = self.open(vectors.shape[1])
        if self._import is None:
            self._import = self._stack.enter_context(self._bulk.begin(self._store, target))
        self._import.write(target.build_rows(chunks, vectors, counts))

    def remove(self, versions: Mapping[str, str]) -> int:
        """Delete nothing: the new collection holds no other versions."""
        return 0

    def discard(self, source: str, version: str) -> None:
        """Delete the chunks of one version of a document once they are imported."""
        self._discarded.append((source, version))

    def close(self, *, complete: bool) -> None:
        """Import the files, and let the new collection take the old one's place when all is in it."""
        with self._stack:
            if complete and self._import is not None and self._target is not None:
                self._import.finish()
                for source, version in self._discarded:
                    self._target.discard(source, version)
                self._check(self._target)
        super().close(complete=complete)

    def _check(self, target: Store) -> None:
        """Hold the chunks that are there against the documents' records."""
        recorded, counted = sum(document.chunks for document in target.catalogue().values()), target.count()
        if counted != recorded:
            raise StoreError(
                f"{counted:,} chunks were imported where the documents have {recorded:,}: run the same command again, "
                "which begins with a new collection; the old one answers as before"
            )


def read_rebuild(settings: Settings, url: str, *, rebuild: bool, engine: Engine) -> Bulk:
    """Return the bulk import that an ingest goes by; raises ``SettingsError`` where it can't go by one."""
    if not rebuild:
        raise SettingsError("a bulk import goes into a new collection only: rebuild, with --rebuild, or leave bulk out")
    if engine != "local":
        raise SettingsError("a bulk import is for the local engine: leave --bulk or --engine out")
    return read_bulk(settings, url)


def build_writer(
    store: Store,
    fingerprint: Fingerprint,
    bulk: Bulk | None,
    *,
    rebuild: bool,
    keep_old: bool,
    catalogue: Mapping[str, StoredDocument],
) -> CollectionWriter:
    """Return what an ingest writes to, by a bulk import or call by call."""
    if bulk is None:
        return CollectionWriter(store, fingerprint, rebuild=rebuild, keep_old=keep_old, catalogue=catalogue)
    return BulkCollectionWriter(store, fingerprint, bulk, keep_old=keep_old, catalogue=catalogue)

"""The index over the vectors of one collection: make it, look at it, and put another one in its place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rag_chain.errors import StoreError
from rag_chain.store.layout import MMAP_SINCE, Layout, StoredIndex, read_index
from rag_chain.store.schema import DENSE, build_indexes, server_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymilvus import MilvusClient

    from rag_chain.store.connection import Connection

REINDEX, REBUILD = "rag-chain reindex", "rag-chain ingest --rebuild PATH"
MMAP = "mmap.enabled"
POLL_SECONDS = 0.5
# A segment of a gigabyte is built in minutes; a server that gets no further in this time won't.
STALL_SECONDS = 1800.0
# For seconds after a flush it has not yet begun.
IDLE_SECONDS = 20.0


class VectorIndex:
    """The index of the collection behind a name, and what the settings want it to be."""

    def __init__(self, milvus: Connection, name: str, layout: Layout) -> None:
        self._milvus = milvus
        self._name = name
        self._layout = layout
        self._timeout = milvus.address.timeout
        self._on_lite = milvus.address.is_lite

    @property
    def wanted(self) -> StoredIndex:
        """The index that the settings ask for."""
        return self._layout.index(on_lite=self._on_lite)

    def read(self) -> StoredIndex | None:
        """Return the index that is there; None where replacing it was broken off."""

        def look(client: MilvusClient) -> StoredIndex | None:
            if DENSE not in client.list_indexes(self._name, timeout=self._timeout):
                return None
            return read_index(client.describe_index(self._name, DENSE, timeout=self._timeout))

        return self._milvus.run("reading the index", look)

    def require(self) -> StoredIndex:
        """Return the index that is there: it, and not the settings, decides how to search."""
        index = self.read()
        if index is None:
            raise StoreError(f"{self._name!r} has no index over its vectors: {REINDEX}")
        return index

    def differences(self) -> dict[str, str]:
        """Return what is otherwise than the settings want it, each with the command that mends it."""
        described = self._milvus.run(
            "reading the collection's schema", lambda c: c.describe_collection(self._name, timeout=self._timeout)
        )
        found, wanted = self.read(), self.wanted
        other: dict[str, str] = {}
        if found is None or str(found) != str(wanted):
            other[f"the index is {found or 'missing'}, the settings say {wanted}"] = REINDEX
        if self._on_lite:
            return other
        if _is_mapped(described) != self._layout.mmap:
            other[f"mmap is {_is_mapped(described)}, the settings say {self._layout.mmap}"] = REINDEX
        if described.get("num_shards", 1) != self._layout.shards:
            other[f"it has {described['num_shards']} shards, the settings say {self._layout.shards}"] = REBUILD
        return other

    def replace(self, on_progress: Callable[[StoredIndex], None] = lambda _: None) -> StoredIndex:
        """Build the index that the settings want over the vectors that are there; nothing is embedded.

        Until it is done the collection can't be searched. Broken off, it is completed by being run again.
        """
        other = self.differences()
        if impossible := [difference for difference, mend in other.items() if mend == REBUILD]:
            raise StoreError(f"{impossible[0]}, which is settled when a collection is made: {REBUILD}")
        if other:
            self._milvus.run("replacing the index", self._exchange)
        built = self._wait(on_progress)
        self._milvus.run("loading the collection", self.load)
        return built

    def create(self, client: MilvusClient, *, with_bm25: bool) -> None:
        """Create the indexes of a new collection, make sure that they are what was asked for, and load it."""
        dense = self._layout.index_arguments(on_lite=self._on_lite)
        # Waiting would sleep half a second for each index, and an empty collection's are ready at once.
        client.create_index(
            self._name,
            build_indexes(client, dense, with_bm25=with_bm25, on_lite=self._on_lite),
            sync=False,
            timeout=self._timeout,
        )
        found = read_index(client.describe_index(self._name, DENSE, timeout=self._timeout))
        if str(found) != str(self.wanted):
            raise StoreError(
                f"Milvus made {found} of the index {self.wanted}: set RAG_INDEX_TYPE to a type that it has"
            )
        self.load(client)

    def load(self, client: MilvusClient) -> None:
        """Load the collection, in as many copies as the settings say."""
        from pymilvus.exceptions import MilvusException

        copies = self._layout.replicas
        try:
            client.load_collection(
                self._name, timeout=self._timeout, **({"replica_number": copies} if copies > 1 else {})
            )
        except MilvusException as error:
            if copies == 1 or "not enough" not in error.message:
                raise
            raise StoreError(
                f"Milvus has too few query nodes for {copies} copies of {self._name!r} ({error.message}): "
                "lower RAG_REPLICAS, or add query nodes"
            ) from error

    def _exchange(self, client: MilvusClient) -> None:
        client.release_collection(self._name, timeout=self._timeout)
        if DENSE in client.list_indexes(self._name, timeout=self._timeout):
            client.drop_index(self._name, DENSE, timeout=self._timeout)
        if not self._on_lite:
            refuse_mmap(client, self._layout)
            mapped = "true" if self._layout.mmap else "false"
            client.alter_collection_properties(self._name, properties={MMAP: mapped}, timeout=self._timeout)
        indexes = client.prepare_index_params()
        indexes.add_index(DENSE, **self._layout.index_arguments(on_lite=self._on_lite))
        # Milvus Lite builds it here and now.
        client.create_index(self._name, indexes, sync=False, timeout=None if self._on_lite else self._timeout)

    def _wait(self, on_progress: Callable[[StoredIndex], None]) -> StoredIndex:
        """Return the index once all rows are in it; raise ``StoreError`` when there is no getting further."""
        last, since = self._progress(on_progress), time.monotonic()
        while last.pending:
            if time.monotonic() - since > (IDLE_SECONDS if last.is_idle else STALL_SECONDS):
                raise StoreError(
                    f"Milvus does not build {last.index_type} ({last.pending:,} of {last.rows:,} rows are missing): "
                    f"look into its log, or set RAG_INDEX_TYPE to another type and run {REINDEX}"
                )
            time.sleep(POLL_SECONDS)
            index = self._progress(on_progress)
            if (index.pending, index.state) != (last.pending, last.state):
                since = time.monotonic()
            last = index
        return last

    def _progress(self, on_progress: Callable[[StoredIndex], None]) -> StoredIndex:
        index = self.read()
        if index is None:
            raise StoreError(f"the index of {self._name!r} is gone: {REINDEX}")
        on_progress(index)
        return index


def refuse_mmap(client: MilvusClient, layout: Layout) -> None:
    """Raise ``StoreError`` where mmap is wanted of a server that would keep the property and ignore it."""
    if layout.mmap and server_version(version := client.get_server_version()) < MMAP_SINCE:
        raise StoreError(f"RAG_MMAP needs Milvus 2.4 or later, this one is {version}: unset it")


def layout_properties(layout: Layout) -> dict[str, str]:
    """Return the properties of a new collection."""
    return {MMAP: "true"} if layout.mmap else {}


def _is_mapped(described: dict[str, Any]) -> bool:
    return str((described.get("properties") or {}).get(MMAP, "false")).lower() == "true"

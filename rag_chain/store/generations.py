"""The collections behind one name: the name is an alias, and a rebuild moves it to a new collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.errors import StoreError
from rag_chain.store.connection import Address, store_errors, write_lock
from rag_chain.store.fingerprint import Fingerprint, as_properties
from rag_chain.store.schema import build_indexes, build_schema

if TYPE_CHECKING:
    from pymilvus import MilvusClient


class Generations:
    """Creates, publishes and drops the collections ``NAME__1``, ``NAME__2``, ... of one alias ``NAME``."""

    def __init__(self, address: Address, client: MilvusClient, alias: str) -> None:
        self._client = client
        self._alias = alias
        self._timeout = address.timeout
        self._lock = write_lock(address)

    def create(self, fingerprint: Fingerprint, dimensions: int, *, with_bm25: bool) -> str:
        """Create a new, empty collection that nobody reads yet; what a broken-off run left behind goes first."""
        self._drop_unfinished()
        name = f"{self._alias}__{max(self._numbered(), default=0) + 1}"
        with self._lock, store_errors("creating the collection"):
            self._client.create_collection(
                name,
                schema=build_schema(dimensions, with_bm25=with_bm25),
                # Reads may be a moment behind: 4 ms against 321 ms for Strong just after a write.
                consistency_level="Bounded",
                properties=as_properties(fingerprint),
                timeout=self._timeout,
            )
            # Waiting would sleep half a second for each index, and an empty collection's are ready at once.
            indexes = build_indexes(self._client, with_bm25=with_bm25)
            self._client.create_index(name, indexes, sync=False, timeout=self._timeout)
            self._client.load_collection(name, timeout=self._timeout)
        return name

    def publish(self, name: str) -> None:
        """Let this collection answer from now on, and drop the one that did."""
        old = self.current()
        with self._lock, store_errors("publishing the collection"):
            if old is None:
                self._client.create_alias(name, self._alias, timeout=self._timeout)
                return
            self._client.alter_alias(name, self._alias, timeout=self._timeout)
            self._client.drop_collection(old, timeout=self._timeout)

    def current(self) -> str | None:
        """Return the collection that the alias points at, or None."""
        with store_errors("reading the alias"):
            if not self._client.has_collection(self._alias, timeout=self._timeout):
                return None
            name = str(self._client.describe_collection(self._alias, timeout=self._timeout)["collection_name"])
        if name == self._alias:
            raise StoreError(f"{name!r} is a collection that rag_chain did not make: set RAG_COLLECTION")
        return name

    def _numbered(self) -> dict[int, str]:
        with store_errors("listing collections"):
            names = self._client.list_collections(timeout=self._timeout)
        prefix = f"{self._alias}__"
        numbers = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        return {int(number): name for name, number in numbers.items() if number.isdigit()}

    def _drop_unfinished(self) -> None:
        current = self.current()
        for name in self._numbered().values():
            if name != current:
                with self._lock, store_errors("dropping an unfinished collection"):
                    self._client.drop_collection(name, timeout=self._timeout)

"""The collections behind one name: the name is an alias, and a rebuild moves it to a new collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.errors import StoreError
from rag_chain.store.fingerprint import Fingerprint, as_properties
from rag_chain.store.schema import build_indexes, build_schema

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from rag_chain.store.connection import Connection


class Generations:
    """Creates, publishes and drops the collections ``NAME__1``, ``NAME__2``, ... of one alias ``NAME``."""

    def __init__(self, milvus: Connection, alias: str) -> None:
        self._milvus = milvus
        self._alias = alias
        self._timeout = milvus.address.timeout

    def create(self, fingerprint: Fingerprint, dimensions: int, *, with_bm25: bool) -> str:
        """Create a new, empty collection that nobody reads yet; what a broken-off run left behind goes first."""
        self._drop_unfinished()
        name = f"{self._alias}__{max(self._numbered(), default=0) + 1}"

        def create(client: MilvusClient) -> None:
            client.create_collection(
                name,
                schema=build_schema(dimensions, with_bm25=with_bm25),
                # Reads may be a moment behind: 4 ms against 321 ms for Strong just after a write.
                consistency_level="Bounded",
                properties=as_properties(fingerprint),
                timeout=self._timeout,
            )
            # Waiting would sleep half a second for each index, and an empty collection's are ready at once.
            indexes = build_indexes(client, with_bm25=with_bm25)
            client.create_index(name, indexes, sync=False, timeout=self._timeout)
            client.load_collection(name, timeout=self._timeout)

        self._milvus.run("creating the collection", create)
        return name

    def publish(self, name: str) -> None:
        """Let this collection answer from now on, and drop the one that did."""
        old = self.current()

        def point(client: MilvusClient) -> None:
            put = client.alter_alias if old else client.create_alias
            put(name, self._alias, timeout=self._timeout)

        self._milvus.run("publishing the collection", point)
        if old is not None:
            self._drop(old)

    def current(self) -> str | None:
        """Return the collection that the alias points at, or None."""

        def look(client: MilvusClient) -> str | None:
            if not client.has_collection(self._alias, timeout=self._timeout):
                return None
            return str(client.describe_collection(self._alias, timeout=self._timeout)["collection_name"])

        name = self._milvus.run("reading the alias", look)
        if name == self._alias:
            raise StoreError(f"{name!r} is a collection that rag_chain did not make: set RAG_COLLECTION")
        return name

    def _numbered(self) -> dict[int, str]:
        names = self._milvus.run("listing collections", lambda c: c.list_collections(timeout=self._timeout))
        prefix = f"{self._alias}__"
        numbers = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        return {int(number): name for name, number in numbers.items() if number.isdigit()}

    def _drop_unfinished(self) -> None:
        current = self.current()
        for name in self._numbered().values():
            if name != current:
                self._drop(name)

    def _drop(self, name: str) -> None:
        self._milvus.run("dropping a collection", lambda c: c.drop_collection(name, timeout=self._timeout))

"""The collections behind one name: the name is an alias, and a rebuild moves it to a new collection.

The alias points at the *current* one. Newer ones are *unfinished*: a rebuild that broke off left
them, or is still filling them. Older ones are *kept*: on purpose, or because a rebuild was killed
between moving the alias and dropping them; the next rebuild that is not to keep any drops them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_chain.errors import StoreError
from rag_chain.store.fingerprint import Fingerprint, as_properties, read_fingerprint
from rag_chain.store.indexing import VectorIndex, layout_properties, refuse_mmap
from rag_chain.store.schema import build_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pymilvus import MilvusClient

    from rag_chain.store.connection import Connection
    from rag_chain.store.layout import Layout


@dataclass(frozen=True)
class Generation:
    """One of the collections behind a name; ``chunks`` is Milvus' own statistic, on a server an estimate."""

    name: str
    state: str
    chunks: int


class Generations:
    """Creates, publishes and drops the collections ``NAME__1``, ``NAME__2``, ... of one alias ``NAME``."""

    def __init__(self, milvus: Connection, alias: str, layout: Layout) -> None:
        self._milvus = milvus
        self._layout = layout
        self._alias = alias
        self._timeout = milvus.address.timeout

    def create(
        self, fingerprint: Fingerprint, dimensions: int, *, with_bm25: bool, properties: Mapping[str, str] | None = None
    ) -> str:
        """Create a new, empty collection that nobody reads yet; what a broken-off run left behind goes first.

        By ``properties`` of its own :meth:`find_unfinished` finds it again.
        """
        self.drop_unfinished()
        name = f"{self._alias}__{max(self._numbered(), default=0) + 1}"

        index = VectorIndex(self._milvus, name, self._layout)

        def create(client: MilvusClient) -> None:
            refuse_mmap(client, self._layout)
            client.create_collection(
                name,
                schema=build_schema(dimensions, with_bm25=with_bm25, on_lite=self._milvus.address.is_lite),
                # What a search is asked for without a word about it; ours always say theirs.
                consistency_level="Bounded",
                properties=as_properties(fingerprint) | layout_properties(self._layout) | dict(properties or {}),
                num_shards=self._layout.shards,
                timeout=self._timeout,
            )
            index.create(client, with_bm25=with_bm25)

        self._milvus.run("creating the collection", create)
        return name

    def publish(self, name: str, *, keep_old: bool = False) -> None:
        """Let this collection answer from now on, and drop all older ones unless they are to be kept."""
        old = self.current()

        def point(client: MilvusClient) -> None:
            put = client.alter_alias if old else client.create_alias
            put(name, self._alias, timeout=self._timeout)

        self._milvus.run("publishing the collection", point)
        if not keep_old:
            self._drop_all(older for older, state in self._states().items() if state == "kept")

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

    def survey(self) -> list[Generation]:
        """Return the collections behind the name, oldest first."""
        return [Generation(name, state, self._count(name)) for name, state in self._states().items()]

    def find_unfinished(self, properties: Mapping[str, str]) -> str | None:
        """Return the newest unfinished collection with these properties, so that what filled it can go on; or None."""
        unfinished = (name for name, state in reversed(self._states().items()) if state == "unfinished")
        return next((name for name in unfinished if properties.items() <= self.properties(name).items()), None)

    def properties(self, name: str) -> dict[str, str]:
        """Return a collection's properties."""
        return dict(self._describe(name).get("properties") or {})

    def drop_unfinished(self) -> list[str]:
        """Drop what broken-off rebuilds left; return the names."""
        return self._drop_all(name for name, state in self._states().items() if state == "unfinished")

    def _states(self) -> dict[str, str]:
        """Return our collections in the order of their numbers: kept, current or unfinished."""
        current = self.current()
        ours = {number: name for number, name in sorted(self._numbered().items()) if self._is_ours(name)}
        # An administrator may have pointed the alias at a collection of another name: then nothing is newer.
        last = 0 if current is None else next((n for n, name in ours.items() if name == current), max(ours, default=0))
        states = {name: "unfinished" if number > last else "kept" for number, name in ours.items()}
        return states if current is None else states | {current: "current"}

    def _numbered(self) -> dict[int, str]:
        names = self._milvus.run("listing collections", lambda c: c.list_collections(timeout=self._timeout))
        prefix = f"{self._alias}__"
        numbers = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        return {int(number): name for name, number in numbers.items() if number.isdecimal()}

    def _is_ours(self, name: str) -> bool:
        return read_fingerprint(self._describe(name)) is not None

    def _describe(self, name: str) -> dict[str, Any]:
        described: dict[str, Any] = self._milvus.run(
            "reading a collection's schema", lambda c: c.describe_collection(name, timeout=self._timeout)
        )
        return described

    def _count(self, name: str) -> int:
        # Counting the rows themselves would have to load the collection.
        stats = self._milvus.run("reading statistics", lambda c: c.get_collection_stats(name, timeout=self._timeout))
        return int(stats["row_count"])

    def _drop_all(self, names: Iterable[str]) -> list[str]:
        dropped = list(names)
        for name in dropped:
            self._drop(name)
        return dropped

    def _drop(self, name: str) -> None:
        self._milvus.run("dropping a collection", lambda c: c.drop_collection(name, timeout=self._timeout))

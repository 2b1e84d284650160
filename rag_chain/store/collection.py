"""The collection of chunks: create it, write to it, read its catalogue, replace it as a whole."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_chain.errors import EmptyStoreError, FingerprintError, StoreError
from rag_chain.store.connection import Address, abandon_client, close_client, open_client, store_errors, write_lock
from rag_chain.store.filters import quote
from rag_chain.store.rows import build_row
from rag_chain.store.schema import DENSE, build_indexes, build_schema, understands_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.documents import Document
    from numpy.typing import NDArray
    from typing_extensions import Self

    from rag_chain.settings import Settings

Fingerprint = dict[str, Any]
PROPERTY = "rag_chain.fingerprint"
ROWS_PER_CALL = 1000
CONDITIONS_PER_CALL = 100

# A question can be asked whatever the splitter's settings are; an ingest must keep to them.
INGEST_ONLY = frozenset({"splitter"})


@dataclass(frozen=True)
class StoredDocument:
    """What the collection knows about a document that it holds completely."""

    source: str
    uri: str
    version: str
    chunks: int


class Store:
    """One collection of chunks behind one connection; safe to use from several threads.

    The collection's name is a Milvus alias; what it points at is replaced as a whole by a rebuild.
    """

    def __init__(self, address: Address, name: str) -> None:
        self.address = address
        self.name = name
        self.client = open_client(address)
        self._abandon = weakref.finalize(self, abandon_client, address, self.client)
        self._abandon.atexit = False
        self._lock = write_lock(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back; a Milvus Lite path is free for other processes after it."""
        if self._abandon.detach():
            close_client(self.address, self.client)

    def exists(self) -> bool:
        """Return whether something has been ingested into this collection."""
        with self._errors("looking for the collection"):
            return bool(self.client.has_collection(self.name, timeout=self.address.timeout))

    def fingerprint(self) -> Fingerprint | None:
        """Return what the collection was made with; None for a collection that is not ours."""
        with self._errors("reading the collection's properties"):
            described = self.client.describe_collection(self.name, timeout=self.address.timeout)
        text = (described.get("properties") or {}).get(PROPERTY)
        fingerprint: Fingerprint | None = json.loads(text) if text else None
        return fingerprint

    def open_for(self, wanted: Fingerprint | None, *, writing: bool) -> None:
        """Make the collection ready, after checking that it was made with the same settings, or at all by us.

        Raises ``EmptyStoreError`` when there is none and ``FingerprintError`` when it differs.
        """
        if not self.exists():
            raise EmptyStoreError(
                f"nothing has been ingested into {self.name!r} at {self.address.uri} yet: rag-chain ingest PATH"
            )
        _compare(self.name, self.fingerprint(), wanted, writing=writing)
        with self._errors("loading the collection"):
            self.client.load_collection(self.name, timeout=self.address.timeout)

    def create(self, fingerprint: Fingerprint, dimensions: int) -> None:
        """Create the collection, empty."""
        generation = self._create_generation(fingerprint, dimensions)
        with self._errors("naming the collection"):
            self.client.create_alias(generation, self.name, timeout=self.address.timeout)

    def catalogue(self) -> dict[str, StoredDocument]:
        """Return every complete document by its source."""
        documents: dict[str, StoredDocument] = {}
        for row in self._rows("chunks > 0", ["source", "uri", "version", "chunks"]):
            # With two records a run broke off before it removed the old version: neither counts as up to date.
            version = "" if row["source"] in documents else row["version"]
            documents[row["source"]] = StoredDocument(row["source"], row["uri"], version, row["chunks"])
        return documents

    def write(self, chunks: Sequence[Document], vectors: NDArray[Any], counts: Mapping[str, int]) -> None:
        """Upsert chunks with their vectors; ``counts`` gives a document's number of chunks by source."""
        rows = [
            build_row(chunk, vector, 0 if chunk.metadata["position"] else counts[chunk.metadata["source"]])
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]
        with self._lock, self._errors("writing chunks"):
            for start in range(0, len(rows), ROWS_PER_CALL):
                self.client.upsert(self.name, rows[start : start + ROWS_PER_CALL], timeout=self.address.timeout)

    def remove(self, source: str, *, keep_version: str = "") -> int:
        """Delete a document's chunks, except those of the version to keep; return how many."""
        return self.remove_other_versions({source: keep_version})

    def remove_other_versions(self, versions: Mapping[str, str]) -> int:
        """Delete what these sources hold of other versions than these; return how many chunks."""
        others = [f"(source == {quote(source)} and version != {quote(kept)})" for source, kept in versions.items()]
        stale = [
            row["id"]
            for start in range(0, len(others), CONDITIONS_PER_CALL)
            for row in self._rows(" or ".join(others[start : start + CONDITIONS_PER_CALL]), ["id"])
        ]
        with self._lock, self._errors("deleting chunks"):
            for start in range(0, len(stale), ROWS_PER_CALL):
                ids = stale[start : start + ROWS_PER_CALL]
                self.client.delete(self.name, ids=ids, timeout=self.address.timeout)
        return len(stale)

    def flush(self) -> None:
        """Make everything written so far durable and quick to search."""
        with self._lock, self._errors("flushing"):
            self.client.flush(self.name, timeout=max(self.address.timeout, 120.0))

    def count(self) -> int:
        """Return the number of chunks."""
        with self._errors("counting chunks"):
            rows = self.client.query(
                self.name,
                filter="",
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=self.address.timeout,
            )
        return int(rows[0]["count(*)"])

    def dimensions(self) -> int:
        """Return the length of the collection's vectors."""
        with self._errors("reading the schema"):
            fields = self.client.describe_collection(self.name, timeout=self.address.timeout)["fields"]
        return next(int(field["params"]["dim"]) for field in fields if field["name"] == DENSE)

    def rebuild(self, fingerprint: Fingerprint, dimensions: int) -> Store:
        """Return a new, empty collection beside this one; :meth:`publish` puts it in this one's place."""
        self._drop_unfinished()
        return Store(self.address, self._create_generation(fingerprint, dimensions))

    def publish(self, new: Store) -> None:
        """Let the new collection answer from now on, and drop the old one."""
        old = self._current()
        with self._lock, self._errors("publishing the rebuilt collection"):
            if old is None:
                self.client.create_alias(new.name, self.name, timeout=self.address.timeout)
                return
            self.client.alter_alias(new.name, self.name, timeout=self.address.timeout)
            self.client.drop_collection(old, timeout=self.address.timeout)

    def version(self) -> str:
        """Return the version of the Milvus behind this store."""
        with self._errors("asking for the version"):
            return str(self.client.get_server_version())

    @cached_property
    def understands_text(self) -> bool:
        """Whether this Milvus computes BM25 itself and matches patterns other than prefixes."""
        return understands_text(self.version())

    def _create_generation(self, fingerprint: Fingerprint, dimensions: int) -> str:
        with_bm25 = self.understands_text
        generation = f"{self.name}__{self._last_generation() + 1}"
        with self._lock, self._errors("creating the collection"):
            self.client.create_collection(
                generation,
                schema=build_schema(dimensions, with_bm25=with_bm25),
                # Reads may be a moment behind: 4 ms against 321 ms for Strong just after a write.
                consistency_level="Bounded",
                properties={PROPERTY: json.dumps(fingerprint, sort_keys=True)},
                timeout=self.address.timeout,
            )
            # Waiting would sleep half a second for each index, and an empty collection's are ready at once.
            indexes = build_indexes(self.client, with_bm25=with_bm25)
            self.client.create_index(generation, indexes, sync=False, timeout=self.address.timeout)
            self.client.load_collection(generation, timeout=self.address.timeout)
        return generation

    def _generations(self) -> dict[int, str]:
        with self._errors("listing collections"):
            names = self.client.list_collections(timeout=self.address.timeout)
        prefix = f"{self.name}__"
        numbers = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        return {int(number): name for name, number in numbers.items() if number.isdigit()}

    def _last_generation(self) -> int:
        return max(self._generations(), default=0)

    def _current(self) -> str | None:
        """Return the collection that the alias points at."""
        if not self.exists():
            return None
        with self._errors("reading the alias"):
            name = str(self.client.describe_collection(self.name, timeout=self.address.timeout)["collection_name"])
        if name == self.name:
            raise StoreError(f"{self.name!r} is a collection that rag_chain did not make: set RAG_COLLECTION")
        return name

    def _drop_unfinished(self) -> None:
        current = self._current()
        for name in self._generations().values():
            if name != current:
                with self._lock, self._errors("dropping an unfinished rebuild"):
                    self.client.drop_collection(name, timeout=self.address.timeout)

    def _rows(self, expression: str, fields: list[str]) -> Iterator[dict[str, Any]]:
        with self._errors("reading the collection"):
            pages = self.client.query_iterator(
                self.name,
                batch_size=ROWS_PER_CALL,
                filter=expression,
                output_fields=fields,
                consistency_level="Strong",
                timeout=self.address.timeout,
            )
            try:
                while page := pages.next():
                    yield from page
            finally:
                pages.close()

    def _errors(self, action: str) -> Any:
        return store_errors(action)


def open_store(settings: Settings) -> Store:
    """Connect to the Milvus that the settings name; the collection need not exist yet."""
    path = Path(settings.milvus_uri)
    # Two spellings of one path would be two connections, of which only one gets the lock.
    uri = str(path.parent.resolve() / path.name) if settings.is_milvus_lite else settings.milvus_uri
    token = settings.milvus_token.get_secret_value() if settings.milvus_token else ""
    return Store(Address(uri, token, settings.milvus_db_name or "", settings.store_timeout), settings.collection)


def _compare(name: str, found: Fingerprint | None, wanted: Fingerprint | None, *, writing: bool) -> None:
    if found is None:
        raise FingerprintError(f"{name!r} is a collection that rag_chain did not make: set RAG_COLLECTION")
    if wanted is None:
        return
    compared = (found.keys() | wanted.keys()) - (frozenset() if writing else INGEST_ONLY)
    for key in sorted(key for key in compared if found.get(key) != wanted.get(key)):
        raise FingerprintError(
            f"{name!r} was made with {key} {found.get(key)!r}, the settings say {wanted.get(key)!r}: "
            "set it back, use another RAG_COLLECTION, or build anew with: rag-chain ingest --rebuild PATH"
        )

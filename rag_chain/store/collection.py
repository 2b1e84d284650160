"""The collection of chunks: create it, write to it, read its catalogue, replace it as a whole."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from langchain_core.documents import Document

from rag_chain.errors import EmptyStoreError
from rag_chain.settings import DEFAULT_TENANT
from rag_chain.store.connection import Connection
from rag_chain.store.filters import NOTHING, RECORDS, build_expression
from rag_chain.store.fingerprint import Fingerprint, check_fingerprint, read_fingerprint
from rag_chain.store.generations import Generations
from rag_chain.store.indexing import VectorIndex
from rag_chain.store.layout import Layout, read_layout
from rag_chain.store.links import Address
from rag_chain.store.rows import build_row, describe_terms
from rag_chain.store.schema import DENSE, KEY, TERMS, understands_text
from rag_chain.store.tls import Tls
from rag_chain.store.turns import take_turn, try_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from pymilvus import MilvusClient
    from typing_extensions import Self

    from rag_chain.settings import Settings

ROWS_PER_CALL = 1000
# Rows without their vectors; Milvus Lite looks at the whole collection for each page. Milvus gives no more than 16,384.
ROWS_PER_PAGE = 16_000
# A flush on Milvus Lite sorts, indexes and writes everything.
FLUSH_SECONDS = 120.0
SOURCES_PER_CALL = 500
DEFAULT_LAYOUT = Layout()

T = TypeVar("T")
Row: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class StoredDocument:
    """What the collection knows about a document that it holds completely."""

    source: str
    uri: str
    version: str
    chunks: int


class Store:
    """One collection of chunks behind one connection; safe to use from several threads.

    The collection's name is a Milvus alias; what it points at is replaced as a whole by a rebuild. A tenant
    has a collection of its own: nothing that is asked of this one can reach another's.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        language: str = "english",
        tenant: str = DEFAULT_TENANT,
        layout: Layout = DEFAULT_LAYOUT,
    ) -> None:
        self.address = address
        self.name = name
        self.language = language
        self.tenant = tenant
        self.layout = layout
        self._milvus = Connection(address, self._load)
        self._check_turn: Callable[[], None] = lambda: None
        self.generations = Generations(self._milvus, name, layout)
        self.index = VectorIndex(self._milvus, name, layout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back; a Milvus Lite path is free for other processes after it."""
        self._milvus.close()

    @property
    def client(self) -> MilvusClient:
        """The connected client."""
        return self._milvus.client

    @property
    def milvus(self) -> Connection:
        """The connection, for what other modules of this door do with the collection."""
        return self._milvus

    @property
    def arguments(self) -> dict[str, Any]:
        """What pymilvus wants to connect to the same place."""
        return self._milvus.arguments

    @contextmanager
    def take_turn(self) -> Iterator[None]:
        """Wait until no other ingest into this collection is running, and keep others waiting."""
        with take_turn(self._milvus, self.name) as self._check_turn:
            yield

    def try_turn(self) -> AbstractContextManager[bool]:
        """Keep ingests into this collection waiting if none is running; gives whether that is so."""
        return try_turn(self._milvus, self.name)

    def check_turn(self) -> None:
        """Raise ``StoreLockedError`` when the turn that was taken is somebody else's by now."""
        self._check_turn()

    def exists(self) -> bool:
        """Return whether something has been ingested into this collection."""
        found = self._run("looking for the collection", lambda c: c.has_collection(self.name, timeout=self._timeout))
        return bool(found)

    def fingerprint(self) -> Fingerprint | None:
        """Return what the collection was made with; None for a collection that is not ours."""
        return read_fingerprint(self._describe())

    def open_for(self, wanted: Fingerprint | None, *, writing: bool) -> None:
        """Make the collection ready, after checking that it was made with the same settings, or at all by us.

        Raises ``EmptyStoreError`` when there is none and ``FingerprintError`` when it differs.
        """
        if not self.exists():
            raise EmptyStoreError(
                f"nothing has been ingested into {self.name!r} at {self.address.uri} yet: rag-chain ingest PATH"
            )
        check_fingerprint(self.name, self.fingerprint(), wanted, writing=writing)
        self._run("loading the collection", self._load)

    def create(self, fingerprint: Fingerprint, dimensions: int) -> None:
        """Create the collection, empty."""
        name = self.generations.create(fingerprint, dimensions, with_bm25=self.understands_text)
        self.generations.publish(name)

    def catalogue(self) -> dict[str, StoredDocument]:
        """Return every complete document by its source."""
        documents: dict[str, StoredDocument] = {}
        for row in self.read(RECORDS, ["source", "uri", "version", "chunks"], list):
            # With two records a run broke off before it removed the old version: neither counts as up to date.
            version = "" if row["source"] in documents else row["version"]
            documents[row["source"]] = StoredDocument(row["source"], row["uri"], version, row["chunks"])
        return documents

    def write(self, chunks: Sequence[Document], vectors: NDArray[Any], counts: Mapping[str, int]) -> None:
        """Upsert chunks with their vectors; ``counts`` gives a document's number of chunks by source."""
        rows = self.build_rows(chunks, vectors, counts)
        for start in range(0, len(rows), ROWS_PER_CALL):
            self._upsert(rows[start : start + ROWS_PER_CALL])

    def build_rows(
        self, chunks: Sequence[Document], vectors: NDArray[Any], counts: Mapping[str, int]
    ) -> list[dict[str, Any]]:
        """Return the rows that these chunks are stored as."""
        rows = [
            build_row(chunk, vector, 0 if chunk.metadata["position"] else counts[chunk.metadata["source"]])
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]
        if self.understands_text:
            for row, chunk in zip(rows, chunks, strict=True):
                row[TERMS] = chunk.metadata.get(TERMS) or describe_terms(chunk, self.language)
        return rows

    def remove(self, versions: Mapping[str, str]) -> int:
        """Delete what these sources hold of other versions than these; return how many chunks."""
        return self._remove_where(list(versions), lambda row: row["version"] != versions[row["source"]])

    def remove_chunks(self, ids: Sequence[str]) -> None:
        """Delete these chunks; those that are gone already are no error."""
        for start in range(0, len(ids), ROWS_PER_CALL):
            self._delete(list(ids[start : start + ROWS_PER_CALL]))

    def discard(self, source: str, version: str) -> None:
        """Delete the chunks of one version of a document."""
        self._remove_where([source], lambda row: row["version"] == version)

    def held(self, sources: Sequence[str], versions: Sequence[str]) -> Iterator[tuple[Document, NDArray[Any]]]:
        """Yield the chunks of these sources, and those of these versions, with title, heading and vector."""
        conditions = [{name: values} for name, values in (("source", sources), ("version", versions)) if values]
        expression = " or ".join(build_expression(condition) for condition in conditions)
        for row in self.read(expression, ["text", "title", "heading", DENSE], list, ROWS_PER_CALL, fresh=False):
            known = {"title": row["title"], "heading": row["heading"]}
            yield Document(row["text"], metadata=known), np.asarray(row[DENSE], np.float32)

    def read(
        self,
        expression: str,
        fields: list[str],
        gather: Callable[[Iterable[Row]], T],
        page_size: int = 0,
        *,
        fresh: bool = True,
    ) -> T:
        """Return what ``gather`` makes of the chunks' ids and fields; it starts anew when Milvus Lite is reopened.

        Unless ``fresh`` a server may leave out what was written a moment before, and answers 0.2 s sooner.
        """

        def call(client: MilvusClient) -> T:
            # The iterator's own first call has no timeout: this one finds out sooner about a server that hangs, or
            # a process that serves a Milvus Lite path (13 s with a timeout of 3, where it were 73).
            if fresh and not self.address.is_lite:
                self._catch_up(client)
            else:
                client.has_collection(self.name, timeout=self._timeout)
            pages = client.query_iterator(
                self.name,
                batch_size=page_size or ROWS_PER_PAGE,
                filter=expression,
                output_fields=fields,
                timeout=self._timeout,
            )
            try:
                return gather(row for page in iter(pages.next, []) for row in page)
            finally:
                pages.close()

        return self._run("reading the collection", call)

    def _catch_up(self, client: MilvusClient) -> None:
        """Have a server reach this moment: pymilvus' iterators read with the collection's own consistency, Bounded."""
        client.query(
            self.name, filter=NOTHING, output_fields=[KEY], limit=1, consistency_level="Strong", timeout=self._timeout
        )

    def sample(self, count: int, *, seed: int) -> list[tuple[str, str]]:
        """Return source and text of chunks drawn at random, one from each document as long as there are others."""
        drawn = random.Random(seed)  # noqa: S311  no secret depends on it
        rows = self.read("position >= 0", ["source"], list)
        drawn.shuffle(rows)
        taken: Counter[str] = Counter()
        turns: list[tuple[int, str]] = []
        for row in rows:
            turns.append((taken[row["source"]], row["id"]))
            taken[row["source"]] += 1
        chosen = [chunk for _, chunk in sorted(turns, key=itemgetter(0))[:count]]
        fields = ["source", "text"]
        read = self._run("reading chunks", lambda c: c.get(self.name, chosen, fields, timeout=self._timeout))
        found = {row["id"]: row for row in read}
        return [(found[number]["source"], found[number]["text"]) for number in chosen if number in found]

    def flush(self) -> None:
        """Make everything written so far durable and quick to search."""
        self._run("flushing", lambda c: c.flush(self.name, timeout=max(self._timeout, FLUSH_SECONDS)))

    def count(self, sources: Sequence[str] = ()) -> int:
        """Return the number of chunks, or of those of some documents; one that is there twice counts twice."""
        expression = build_expression({"source": sources}) if sources else ""
        options = {"output_fields": ["count(*)"], "consistency_level": "Strong", "timeout": self._timeout}
        rows = self._run("counting chunks", lambda c: c.query(self.name, filter=expression, **options))
        return int(rows[0]["count(*)"])

    def fields(self) -> list[str]:
        """Return the names of the collection's fields; without terms it was made by a Milvus that had no BM25."""
        return [field["name"] for field in self._describe()["fields"]]

    def dimensions(self) -> int:
        """Return the length of the collection's vectors."""
        return next(int(field["params"]["dim"]) for field in self._describe()["fields"] if field["name"] == DENSE)

    def rebuild(self, fingerprint: Fingerprint, dimensions: int, properties: Mapping[str, str] | None = None) -> Store:
        """Return a new, empty collection beside this one; :meth:`publish` puts it in this one's place."""
        name = self.generations.create(fingerprint, dimensions, with_bm25=self.understands_text, properties=properties)
        return self.beside(name)

    def beside(self, name: str) -> Store:
        """Return one of the collections behind this name, by its own name, over a connection of its own."""
        return Store(self.address, name, self.language, self.tenant, self.layout)

    def publish(self, new: Store, *, keep_old: bool = False) -> None:
        """Let the new collection answer from now on, and drop all older ones unless they are to be kept."""
        self.generations.publish(new.name, keep_old=keep_old)

    def version(self) -> str:
        """Return the version of the Milvus behind this store."""
        return str(self._run("asking for the version", lambda c: c.get_server_version(timeout=self._timeout)))

    @cached_property
    def understands_text(self) -> bool:
        """Whether this Milvus computes BM25 itself and matches patterns other than prefixes."""
        return understands_text(self.version())

    @property
    def _timeout(self) -> float:
        return self.address.timeout

    def _run(self, action: str, call: Callable[[MilvusClient], T]) -> T:
        return self._milvus.run(action, call)

    def _load(self, client: MilvusClient) -> None:
        if client.has_collection(self.name, timeout=self._timeout):
            self.index.load(client)

    def _remove_where(self, sources: Sequence[str], is_to_go: Callable[[Row], bool]) -> int:
        ids = [
            row["id"]
            for start in range(0, len(sources), SOURCES_PER_CALL)
            for row in self.read(
                build_expression({"source": sources[start : start + SOURCES_PER_CALL]}), ["source", "version"], list
            )
            if is_to_go(row)
        ]
        self.remove_chunks(ids)
        return len(ids)

    def _upsert(self, rows: list[dict[str, Any]]) -> None:
        self._run("writing chunks", lambda c: c.upsert(self.name, rows, timeout=self._timeout))

    def _delete(self, ids: list[str]) -> None:
        self._run("deleting chunks", lambda c: c.delete(self.name, ids=ids, timeout=self._timeout))

    def _describe(self) -> dict[str, Any]:
        described: dict[str, Any] = self._run(
            "reading the collection's schema", lambda c: c.describe_collection(self.name, timeout=self._timeout)
        )
        return described


def open_store(
    settings: Settings, *, name: str = "", hosted: bool = False, meanwhile: Callable[[], None] = lambda: None
) -> Store:
    """Connect to the Milvus that the settings name, for their tenant; the collection need not exist yet.

    ``name`` is one of the collections behind the tenant's name. ``hosted`` is for much work: Milvus
    Lite then gets a process of its own, and while that one starts, ``meanwhile`` is done.
    """
    layout = read_layout(settings)
    path = Path(settings.milvus_uri)
    # Two spellings of one path would be two connections, of which only one gets the lock.
    uri = str(path.parent.resolve() / path.name) if settings.is_milvus_lite else settings.milvus_uri
    token = settings.milvus_token.get_secret_value() if settings.milvus_token else ""
    files = (settings.milvus_ca_file, settings.milvus_client_cert, settings.milvus_client_key)
    authority, certificate, key = (str(file.expanduser()) if file else "" for file in files)
    tls = Tls(authority, certificate, key, settings.milvus_server_name or "")
    address = Address(uri, token, settings.milvus_db_name or "", settings.store_timeout, hosted, tls, meanwhile)
    return Store(address, name or settings.tenant_collection, settings.language, settings.tenant, layout)

"""``langchain_milvus.Milvus`` over the collection, with what it gets wrong for this use set right."""

from __future__ import annotations

import rag_chain.store.vendor  # noqa: F401  # isort: skip  must come before langchain_milvus

from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_milvus import Milvus

from rag_chain.errors import QuestionError, SettingsError, StoreError, StoreUnreachableError
from rag_chain.store.connection import close_with
from rag_chain.store.filters import build_expression, matches, within_tenant
from rag_chain.store.links import store_errors
from rag_chain.store.read_only import ReadOnly
from rag_chain.store.schema import (
    DENSE,
    KEY,
    OUTPUT_FIELDS,
    SPARSE,
    SPARSE_SEARCH,
    TEXT,
)
from rag_chain.store.searches import Searches
from rag_chain.store.terms import find_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from numpy.typing import NDArray
    from pymilvus import MilvusClient
    from typing_extensions import Self

    from rag_chain.store.collection import Store
    from rag_chain.store.filters import Filter

    Scored = list[tuple[Document, float]]

# How much further to look when a filter's wildcards left too little, and the most that Milvus returns.
FURTHER, MOST_RESULTS = 8, 16_384
IDS_PER_CALL = 1000


class ChunkStore(ReadOnly, Searches, Milvus):  # type: ignore[misc]  # they refuse some of the parent's options
    """A LangChain vector store for reading the chunks that an ingest wrote; usable from threads and event loops.

    Every search takes ``k`` and ``filter``, a mapping such as ``{"source": "faq/*"}``, and no other option; each
    ``Document`` has its ``id``. Scores are raw cosines, from -1 to 1, 1 best; relevance scores are
    ``(1 + cosine) / 2``, from 0 to 1. Async calls await the embedding and search in threads: pymilvus' async client
    dies with the first event loop that used it, and Milvus Lite works in this process anyway.
    """

    def __init__(self, store: Store, embeddings: Embeddings) -> None:
        # Keeps the connection open for as long as this object lives.
        self._store = store
        self._embeddings = embeddings
        self._index = store.index.require()
        try:
            with store_errors("opening the collection"):
                super().__init__(
                    embedding_function=embeddings,
                    collection_name=store.name,
                    connection_args=store.arguments,
                    consistency_level=store.layout.consistency,
                    index_params=store.layout.index_arguments(on_lite=store.address.is_lite),
                    search_params=self.search_arguments(1),
                    primary_field=KEY,
                    text_field=TEXT,
                    vector_field=DENSE,
                    enable_dynamic_field=True,
                )
        finally:
            # The parent connects by itself and never closes; it may fail after it has connected.
            if hasattr(self, "_milvus_client"):
                close_with(self, self._milvus_client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back; a Milvus Lite path is free for other processes after it. Nothing works any more."""
        self._milvus_client.close()
        self._store.close()

    @property
    def client(self) -> MilvusClient:
        """The connected client; a new one after the process that served a Milvus Lite path has ended."""
        return self._store.client

    def nearest(self, vector: list[float], k: int, conditions: Filter | None = None) -> Scored:
        """Return the ``k`` chunks nearest to a unit-length vector with their cosines, best first."""

        def search(limit: int, expression: str) -> Scored:
            return self._parse_documents_from_search_results(self._collection_search(vector, limit, expr=expression))

        try:
            return self._find(search, k, conditions or {})
        except StoreUnreachableError:
            # It would not answer the next call either.
            raise
        except StoreError as error:
            # Looked at now, since Milvus Lite does not say what is wrong.
            if len(vector) != (held := self._store.dimensions()):
                raise QuestionError(
                    f"the vector to search by has length {len(vector)}, those of the collection {held}: "
                    "use the model that it was made with"
                ) from error
            raise

    def matching(self, text: str, k: int, conditions: Filter | None = None) -> Scored:
        """Return the ``k`` chunks with the most BM25 for a text, best first; none where Milvus has no BM25."""
        terms = " ".join(find_terms(text, self._store.language)) if self._store.understands_text else ""

        def search(limit: int, expression: str) -> Scored:
            found = self.client.search(
                self.collection_name,
                data=[terms],
                anns_field=SPARSE,
                search_params=SPARSE_SEARCH,
                limit=limit,
                filter=expression,
                output_fields=self._get_output_fields(),
                consistency_level=self._store.layout.consistency,
                timeout=self._timeout,
            )
            # Milvus Lite gives what it sorts by, which is the negative.
            return [(chunk, abs(score)) for chunk, score in self._parse_documents_from_search_results(found)]

        return self._find(search, k, conditions or {}) if terms else []

    def vectors(self, ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the unit-length vectors of these chunks, of those that are there."""
        return {row[KEY]: np.asarray(row[DENSE], np.float32) for row in self._get(ids, [DENSE])}

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the chunks with these ids, in this order, of those that are there."""
        rows = {row[KEY]: row for row in self._get(ids, self._get_output_fields())}
        return [self._parse_document(rows[number]) for number in dict.fromkeys(ids) if number in rows]

    def _get(self, ids: Sequence[str], fields: list[str]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(ids), IDS_PER_CALL):
            yield from self._get_some(list(ids[start : start + IDS_PER_CALL]), fields)

    def _get_some(self, ids: list[str], fields: list[str]) -> list[dict[str, Any]]:
        def get(client: MilvusClient) -> list[dict[str, Any]]:
            options = {"timeout": self._store.address.timeout, "consistency_level": self._store.layout.consistency}
            found: list[dict[str, Any]] = client.get(self.collection_name, ids, fields, **options)
            return found

        return self._store.milvus.run("reading chunks", get)

    def _find(self, search: Callable[[int, str], Scored], k: int, conditions: Filter) -> Scored:
        """Return ``k`` results that satisfy a filter.

        Milvus' patterns may select too much; what is dropped is made up for by looking further.
        """
        conditions = within_tenant(conditions, self._store.tenant)
        expression = build_expression(conditions, prefixes_only=not self._store.understands_text)
        if not 1 <= k <= MOST_RESULTS:
            raise SettingsError(f"k: must be from 1 to {MOST_RESULTS:,}, not {k}")
        limit = k

        def find(_: MilvusClient) -> Scored:
            return search(limit, expression)

        while True:
            found = self._store.milvus.run("searching", find)
            kept = [pair for pair in found if matches(conditions, pair[0].metadata)] if conditions else found
            if len(kept) >= k or len(found) < limit or limit >= MOST_RESULTS:
                return kept[:k]
            limit = min(limit * FURTHER, MOST_RESULTS)

    def search_arguments(self, k: int) -> dict[str, Any]:
        """Return how pymilvus is to search the index that is there for the ``k`` nearest."""
        return self._store.layout.search_arguments(self._index, k)

    def _collection_search(
        self,
        embedding_or_text: Any,
        k: int = 4,
        param: dict[str, Any] | None = None,
        expr: str | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        # All dense searches come through here; the parent's take neither k nor the consistency into account.
        options = {"consistency_level": self._store.layout.consistency, **kwargs}
        return super()._collection_search(
            embedding_or_text, k, param or self.search_arguments(k), expr, timeout or self._timeout, **options
        )

    @property
    def _timeout(self) -> float:
        return self._store.layout.search_timeout or self._store.address.timeout

    def _parse_document(self, data: dict[str, Any]) -> Document:
        document = super()._parse_document(data)
        document.id = document.metadata[KEY]
        return document

    def _get_output_fields(self) -> list[str]:
        # The parent's list holds the BM25 field, which can't be returned, and grows with every search.
        return [*OUTPUT_FIELDS, "$meta"]

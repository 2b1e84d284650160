"""What a vector store that is for reading refuses, each time with the call that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from rag_chain.errors import SettingsError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rag_chain.store.filters import Filter

FILTER = 'filter={"source": "faq/*"}'


class ReadOnly:
    """Refuses LangChain's and ``langchain_milvus``' methods that write, and those that take a raw expression.

    An ingest keeps ids, versions and records in step; a chunk that somebody else writes or deletes leaves a document
    that does not add up.
    """

    def add_texts(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: an ingest writes chunks."""
        raise StoreError("chunks are written by rag_chain.ingest(paths), not through the vector store")

    add_documents = add_embeddings = upsert = add_texts
    # They raise when they are called, not only when they are awaited.
    aadd_texts = aadd_documents = aadd_embeddings = aupsert = add_texts

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: an ingest removes chunks."""
        raise StoreError(
            "chunks are removed by rag_chain.ingest(paths), once their document is gone from its place, "
            "not through the vector store"
        )

    adelete = delete

    def drop(self) -> NoReturn:
        """Refuse: a rebuild replaces the collection."""
        raise StoreError(
            "a collection is replaced by rag_chain.ingest(paths, rebuild=True), not dropped through the vector store"
        )

    @classmethod
    def from_texts(cls, *_: Any, **__: Any) -> NoReturn:
        """Refuse: an ingest makes the collection."""
        raise StoreError("a collection is made by rag_chain.ingest(paths), then rag_chain.open_vector_store() reads it")

    from_documents = afrom_texts = afrom_documents = from_texts

    def search_by_metadata(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: no text of a caller's becomes an expression."""
        raise SettingsError(
            f"raw expressions are not taken: use similarity_search(question, {FILTER}), or get_by_ids(ids)"
        )

    asearch_by_metadata = get_pks = aget_pks = search_by_metadata


def read_filter(options: Mapping[str, Any]) -> Filter:
    """Return the filter of a search; raises ``SettingsError`` for every other option, a raw expression above all."""
    if options.get("expr") is not None:
        raise SettingsError(f"expr: raw expressions are not taken: use {FILTER}")
    unknown = sorted(options.keys() - {"filter", "expr"})
    if unknown:
        raise SettingsError(f"{unknown[0]}: a search takes no such option: there are k and {FILTER}")
    conditions = options.get("filter")
    if conditions is not None and not hasattr(conditions, "items"):
        raise SettingsError(f"filter: is a mapping, such as {FILTER}, not a {type(conditions).__name__}")
    return conditions or {}

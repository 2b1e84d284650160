"""LangChain's standard tests for vector stores, over what is read through ours.

The suite writes through the vector store and compares metadata to the last key. Ours refuses to write, since an ingest
keeps ids, versions and records in step, and each chunk has a place besides (source, offsets, version). So a subclass
that is here only writes rows with the store's own calls and hides that place again. Every search and every lookup of
the suite goes through our code; that writing is refused is tested in ``test_read_only.py``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.runnables.config import run_in_executor
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from rag_chain import EmbeddingsAdapter
from rag_chain.store.collection import Store
from rag_chain.store.layout import Layout
from rag_chain.store.vectorstore import ChunkStore
from tests.store.chunks import FINGERPRINT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.vectorstores import VectorStore

    from rag_chain.store.links import Address

DIMENSIONS = 6


class Written(ChunkStore):
    """Our vector store with what the suite needs to fill it."""

    def add_documents(self, documents: list[Document], ids: Sequence[str] = (), **_: Any) -> list[str]:  # type: ignore[override]
        keys = list(ids) or [document.id or uuid4().hex for document in documents]
        rows = [place(document, key) for document, key in zip(documents, keys, strict=True)]
        vectors = np.array(self._embeddings.embed_documents([row.page_content for row in rows]), np.float32)
        self._store.write(rows, vectors, dict.fromkeys(keys, 1))
        return keys

    async def aadd_documents(self, documents: list[Document], ids: Sequence[str] = (), **_: Any) -> list[str]:  # type: ignore[override]
        return await run_in_executor(None, self.add_documents, documents, ids)

    def delete(self, ids: list[str], **_: Any) -> None:  # type: ignore[override]
        self._store.remove_chunks(ids)

    async def adelete(self, ids: list[str], **_: Any) -> None:  # type: ignore[override]
        await run_in_executor(None, self.delete, ids)

    def _parse_document(self, data: dict[str, Any]) -> Document:
        document = super()._parse_document(data)
        return Document(document.page_content, id=document.id, metadata=json.loads(document.metadata["given"]))


def place(document: Document, key: str) -> Document:
    """Return a document as an ingest's only chunk of a source of its own."""
    text, given = document.page_content, json.dumps(document.metadata)
    known = {"source": key, "content_hash": "v1", "position": 0, "start": 0, "end": len(text), "given": given}
    return Document(text, id=key, metadata=known)


class TestReading(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, address: Address) -> Iterator[VectorStore]:
        # The suite reads what it wrote a moment before, which a server shows at once only when it is told to.
        with Store(address, "documents", layout=Layout(consistency="Strong")) as store:
            store.create(FINGERPRINT | {"dimensions": DIMENSIONS}, DIMENSIONS)
            yield Written(store, EmbeddingsAdapter(self.get_embeddings()))

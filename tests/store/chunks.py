"""Chunks with vectors, as an ingest would write them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.documents import Document

from tests.fake_embeddings import FakeEmbeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_chain.models.embedding import Vectors
    from rag_chain.store.collection import Store

FINGERPRINT = {"schema": 1, "splitter": "sections-1/200/40", "model": "fake", "dimensions": 64}


def make_chunks(source: str, *texts: str, version: str = "v1", **metadata: Any) -> list[Document]:
    """Return a document's chunks, one for each text."""
    return [
        Document(
            text,
            id=hashlib.sha256(f"{source}\0{version}\0{position}".encode()).hexdigest()[:32],
            metadata={
                "source": source,
                "title": source,
                "heading": "",
                "uri": f"file:///docs/{source}",
                "content_hash": version,
                "position": position,
                "start": 0,
                "end": len(text),
                **metadata,
            },
        )
        for position, text in enumerate(texts)
    ]


def embed(chunks: Sequence[Document]) -> Vectors:
    """Return the chunks' vectors."""
    return np.array(FakeEmbeddings().embed_documents([chunk.page_content for chunk in chunks]), dtype=np.float32)


def write(store: Store, *documents: list[Document]) -> None:
    """Write whole documents, their records included."""
    chunks = [chunk for document in documents for chunk in document]
    store.write(chunks, embed(chunks), {document[0].metadata["source"]: len(document) for document in documents})

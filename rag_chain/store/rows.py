"""Turn chunks into rows of the collection, and rows back into documents."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from rag_chain.errors import DocumentError
from rag_chain.store.filters import TENANT
from rag_chain.store.schema import (
    DENSE,
    HEADING_BYTES,
    KEY,
    SOURCE_BYTES,
    SPARSE,
    TERMS,
    TERMS_BYTES,
    TEXT,
    TEXT_BYTES,
    TITLE_BYTES,
)
from rag_chain.store.terms import find_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_core.documents import Document
    from numpy.typing import NDArray

_FIXED = frozenset({"source", "title", "heading", "version", "uri", "position", "start", "end", "chunks", "modified"})
# What the loaded document knows and no search needs.
_LEFT_OUT = frozenset({"content_hash", "root"})
_RESERVED = frozenset({KEY, TEXT, TERMS, DENSE, SPARSE, TENANT})
# No name for metadata of anyone else's.
TAKEN = _FIXED | _LEFT_OUT | _RESERVED
_NAME = re.compile(r"[A-Za-z_]\w{0,63}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def build_row(chunk: Document, vector: NDArray[Any], chunks: int) -> dict[str, Any]:
    """Return the row of a chunk; ``chunks`` is the document's number of chunks on its first, else 0.

    Metadata beside the fixed fields is kept where its name is an identifier and its value a
    text, number of 64 bits, truth value or list of texts; Milvus stores nothing else faithfully.
    """
    known = chunk.metadata
    source = known["source"]
    if len(source.encode()) > SOURCE_BYTES:
        raise DocumentError(f"its path is longer than {SOURCE_BYTES} bytes")
    if len(chunk.page_content.encode()) > TEXT_BYTES:
        raise DocumentError(f"chunk {known['position']} is longer than {TEXT_BYTES} bytes: lower RAG_CHUNK_TOKENS")
    own = {name: value for name, value in known.items() if _storable(name, value)}
    return own | {
        KEY: chunk.id,
        TEXT: chunk.page_content,
        DENSE: vector,
        "source": source,
        "title": cut_bytes(str(known.get("title") or ""), TITLE_BYTES),
        "heading": cut_bytes(str(known.get("heading") or ""), HEADING_BYTES),
        "version": known["content_hash"],
        "uri": known.get("uri") or "",
        "position": known["position"],
        "start": known["start"],
        "end": known["end"],
        "modified": int(known.get("modified") or 0),
        "chunks": chunks,
    }


def add_terms(document: Document, split: Callable[[Document], Iterable[Document]], language: str) -> Iterator[Document]:
    """Yield a document's chunks with their terms in the metadata: cut where it is read, in a process of its own."""
    for chunk in split(document):
        chunk.metadata[TERMS] = describe_terms(chunk, language)
        yield chunk


def describe_terms(chunk: Document, language: str) -> str:
    """Return what BM25 counts for a chunk: the terms of its title, its headings and its text."""
    title, heading = str(chunk.metadata.get("title") or ""), str(chunk.metadata.get("heading") or "")
    context = heading if heading.startswith(title) else f"{title} {heading}"
    return cut_bytes(" ".join(find_terms(f"{context} {chunk.page_content}", language)), TERMS_BYTES)


def cut_bytes(text: str, most: int) -> str:
    """Return as much of the text as fits into ``most`` bytes of UTF-8, whole characters only."""
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def _storable(name: object, value: object) -> bool:
    if not isinstance(name, str) or name in TAKEN or not _NAME.fullmatch(name):
        return False
    return all(isinstance(item, str) and _fits(item) for item in value) if isinstance(value, list) else _fits(value)


def _fits(value: object) -> bool:
    """Return whether one value can be stored; one that can't would fail the whole batch."""
    if isinstance(value, str):
        return not _SURROGATE.search(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float) and math.isfinite(value)

"""Rows keep within the limits of the collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_chain.errors import DocumentError
from rag_chain.store.rows import build_row, cut_bytes
from rag_chain.store.schema import HEADING_BYTES, SOURCE_BYTES, TEXT_BYTES, TITLE_BYTES, URI_BYTES
from tests.store.chunks import make_chunks, write

if TYPE_CHECKING:
    from rag_chain.store.collection import Store

VECTOR = np.ones(4, dtype=np.float32)


def test_limits_are_met_to_the_byte(store: Store) -> None:
    """A row that fills every field is written."""
    chunk = make_chunks("é" * (SOURCE_BYTES // 2), "é" * (TEXT_BYTES // 2), uri="u" * URI_BYTES)
    chunk[0].metadata |= {"title": "é" * TITLE_BYTES, "heading": "é" * HEADING_BYTES}
    write(store, chunk)
    (row,) = store.client.query(store.name, 'id != ""', ["*"], consistency_level="Strong")
    assert len(row["title"].encode()) == TITLE_BYTES
    assert len(row["heading"].encode()) == HEADING_BYTES
    assert len(row["text"].encode()) == TEXT_BYTES - 1


def test_the_longest_address_fits(store: Store) -> None:
    """The longest path of Linux, every byte of it percent-encoded, with the longest source in an archive there."""
    uri = f"file:///{'%E6' * 4095}!/{'a' * SOURCE_BYTES}"
    write(store, make_chunks("a.md", "text", uri=uri))
    assert store.catalogue()["a.md"].uri == uri


@pytest.mark.parametrize("text", ["x" * (TEXT_BYTES + 1), "é" * (TEXT_BYTES // 2 + 1), "😀" * (TEXT_BYTES // 4 + 1)])
def test_a_text_beyond_the_limit_is_refused(text: str) -> None:
    """Bytes are counted, as servers do, and the message names the setting."""
    (chunk,) = make_chunks("a.md", text)
    with pytest.raises(DocumentError, match=r"chunk 0 is longer than 65535 bytes.*RAG_CHUNK_TOKENS"):
        build_row(chunk, VECTOR, 1)


def test_a_path_beyond_the_limit_is_refused() -> None:
    """A source can't be cut, since it is the document's name."""
    (chunk,) = make_chunks("é" * (SOURCE_BYTES // 2 + 1), "text")
    with pytest.raises(DocumentError, match="path is longer than 4096 bytes"):
        build_row(chunk, VECTOR, 1)


def test_only_the_first_chunk_is_a_record() -> None:
    """The number of chunks stands on the row that says so."""
    first, second = make_chunks("a.md", "one", "two")
    assert [build_row(first, VECTOR, 2)["chunks"], build_row(second, VECTOR, 0)["chunks"]] == [2, 0]


@settings(deadline=None)
@given(st.text(max_size=50), st.integers(0, 60))
def test_text_is_cut_between_characters(text: str, most: int) -> None:
    """What is left is the longest start of the text that fits."""
    kept = cut_bytes(text, most)
    assert text.startswith(kept)
    assert len(kept.encode()) <= most
    assert kept == text or len((kept + text[len(kept)]).encode()) > most

"""Where an ingest writes: a collection that may have to be made, or one that will replace it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_chain.errors import StoreError
from rag_chain.store.writing import CollectionWriter
from tests.store.chunks import FINGERPRINT, embed, make_chunks, write

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag_chain.store.collection import Store
    from tests.store.conftest import OpenStore


def send(writer: CollectionWriter, *chunks: Document, of: int | None = None) -> None:
    source = chunks[0].metadata["source"]
    writer.write(chunks, embed(chunks), {source: of or len(chunks)})


def test_the_first_vectors_make_the_collection(open_store: OpenStore) -> None:
    """Nothing is made before there is something to write; then the vectors show their length."""
    store = open_store()
    writer = CollectionWriter(store, FINGERPRINT, rebuild=False)
    assert not store.exists()
    send(writer, *make_chunks("a.md", "one"))
    writer.close(complete=True)
    assert (store.dimensions(), store.fingerprint(), list(store.catalogue())) == (64, FINGERPRINT, ["a.md"])


@pytest.mark.parametrize("rebuild", [True, False])
def test_without_anything_to_write_nothing_changes(store: Store, rebuild: bool) -> None:
    """A run that embeds nothing leaves the collection as it is, also as a rebuild."""
    write(store, make_chunks("a.md", "one"))
    CollectionWriter(store, FINGERPRINT, rebuild=rebuild).close(complete=True)
    assert (list(store.catalogue()), len(store.client.list_collections())) == (["a.md"], 1)


def test_vectors_of_another_length_are_refused(open_store: OpenStore) -> None:
    """Both lengths are in the message, and nothing is written."""
    store = open_store()
    store.create(FINGERPRINT, 8)
    with pytest.raises(StoreError, match="vectors of length 8, the model gives 64"):
        send(CollectionWriter(store, FINGERPRINT, rebuild=False), *make_chunks("a.md", "one"))
    assert store.count() == 0


def test_documents_can_be_removed_without_writing(store: Store) -> None:
    """A run that only prunes works on the collection as it is."""
    write(store, make_chunks("a.md", "one", "two"))
    writer = CollectionWriter(store, FINGERPRINT, rebuild=False)
    assert writer.remove({"a.md": ""}) == 2
    writer.close(complete=True)
    assert store.count() == 0


def test_a_complete_rebuild_takes_the_old_ones_place(store: Store) -> None:
    """Only at the end, and then nothing of the old collection is left."""
    write(store, make_chunks("old.md", "one"))
    writer = CollectionWriter(store, FINGERPRINT | {"model": "other"}, rebuild=True)
    send(writer, *make_chunks("new.md", "two"))
    assert list(store.catalogue()) == ["old.md"]
    writer.close(complete=True)
    assert (list(store.catalogue()), len(store.client.list_collections())) == (["new.md"], 1)


def test_a_broken_rebuild_leaves_the_old_collection(store: Store) -> None:
    """Readers keep the old one, and the next rebuild drops what was begun."""
    write(store, make_chunks("old.md", "one"))
    broken = CollectionWriter(store, FINGERPRINT, rebuild=True)
    send(broken, *make_chunks("new.md", "two"))
    broken.close(complete=False)
    assert (list(store.catalogue()), len(store.client.list_collections())) == (["old.md"], 2)
    writer = CollectionWriter(store, FINGERPRINT, rebuild=True)
    send(writer, *make_chunks("newer.md", "three"))
    writer.close(complete=True)
    assert (list(store.catalogue()), len(store.client.list_collections())) == (["newer.md"], 1)


def test_what_a_broken_run_left_of_a_document_goes_with_its_next_version(store: Store) -> None:
    """Chunks of a version that was never completed do not outlive the document's next ingest."""
    write(store, make_chunks("other.md", "stays"))
    broken = CollectionWriter(store, FINGERPRINT, rebuild=False)
    send(broken, *make_chunks("a.md", "one", "two", "three")[1:], of=3)
    broken.close(complete=False)
    assert (list(store.catalogue()), store.count()) == (["other.md"], 3)
    writer = CollectionWriter(store, FINGERPRINT, rebuild=False)
    send(writer, *make_chunks("a.md", "edited", version="v2"))
    writer.close(complete=True)
    assert (sorted(store.catalogue()), store.count()) == (["a.md", "other.md"], 2)


def test_a_document_that_is_not_complete_keeps_its_old_version(store: Store) -> None:
    """Closing removes old chunks only of documents whose new record is in."""
    write(store, make_chunks("a.md", "one", "two"))
    writer = CollectionWriter(store, FINGERPRINT, rebuild=False)
    send(writer, *make_chunks("a.md", "new", "newer", version="v2")[1:], of=2)
    writer.close(complete=False)
    assert (store.catalogue()["a.md"].version, store.count()) == ("v1", 3)

"""What broken-off runs left: found, told apart and removed, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_chain.errors import FingerprintError, StoreError
from rag_chain.store import collection, repair
from rag_chain.store.repair import INCOMPLETE, KINDS, ORPHANED, REPLACED, UNFINISHED, remove, take_inventory
from rag_chain.store.schema import build_schema
from rag_chain.store.writing import CollectionWriter
from tests.store.chunks import FINGERPRINT, embed, make_chunks, write

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag_chain.store.collection import Store
    from tests.store.conftest import OpenStore


def break_off(store: Store, chunks: list[Document], *, rebuild: bool = False) -> None:
    """Write a document without its first chunk, and end."""
    writer = CollectionWriter(store, FINGERPRINT, rebuild=rebuild)
    writer.write(chunks[1:], embed(chunks[1:]), {chunks[0].metadata["source"]: len(chunks)})
    writer.close(complete=False)


def lose(store: Store, chunk: Document) -> None:
    store.client.delete(store.name, ids=[chunk.id])


def found(store: Store) -> dict[str, list[str]]:
    """Return whose chunks of each kind there are."""
    return {left.kind: left.owners for left in take_inventory(store).left_over if left}


def mend(store: Store) -> list[str]:
    """Remove what is found; return it in words."""
    left_over = [left for left in take_inventory(store, thorough=True).left_over if left]
    for left in left_over:
        remove(store, left)
    return [str(left) for left in left_over]


def test_a_whole_collection_has_nothing_left_over(store: Store) -> None:
    """Documents and chunks are counted, and each kind was looked for."""
    write(store, make_chunks("a.md", "one", "two"), make_chunks("b.md", "three"))
    inventory = take_inventory(store)
    assert (inventory.documents, inventory.chunks, inventory.adds_up) == (2, 3, True)
    assert [left.kind for left in inventory.left_over] == list(KINDS)
    assert not any(inventory.left_over)
    assert mend(store) == []


def test_before_the_first_ingest_nothing_is_left_over(open_store: OpenStore) -> None:
    """A name without a collection is no error."""
    inventory = take_inventory(open_store())
    assert (inventory.documents, inventory.chunks, inventory.collections) == (0, 0, [])
    assert not any(inventory.left_over)


def test_chunks_without_a_record_are_orphaned(store: Store) -> None:
    """Of new documents and of new versions; the complete version stays."""
    write(store, make_chunks("a.md", "one", "two"))
    break_off(store, make_chunks("a.md", "new", "newer", "newest", version="v2"))
    break_off(store, make_chunks("gone.md", "x", "y"))
    assert found(store) == {ORPHANED: ["a.md", "gone.md"]}
    assert mend(store) == ["3 orphaned chunks of 2 documents (a.md, gone.md)"]
    assert (store.count(), store.catalogue()["a.md"].version) == (2, "v1")
    assert mend(store) == []


def test_a_copy_of_the_same_content_is_a_document_of_its_own(store: Store) -> None:
    """That another document has a record of the same version does not make a broken-off copy whole."""
    write(store, make_chunks("a.md", "one", "two"))
    break_off(store, make_chunks("copy.md", "one", "two"))
    assert mend(store) == ["1 orphaned chunk of 1 document (copy.md)"]
    assert list(store.catalogue()) == ["a.md"]


def test_of_two_records_the_one_modified_last_stays(store: Store) -> None:
    """Whichever was written first."""
    write(store, make_chunks("a.md", "old", "older", version="v9", modified=1))
    write(store, make_chunks("a.md", "new", version="v1", modified=2))
    write(store, make_chunks("b.md", "new", version="v1", modified=2))
    write(store, make_chunks("b.md", "old", version="v9", modified=1))
    assert found(store) == {REPLACED: ["a.md", "b.md"]}
    assert mend(store) == ["3 replaced chunks of 2 documents (a.md, b.md)"]
    assert {stored.version for stored in store.catalogue().values()} == {"v1"}
    assert mend(store) == []


def test_of_two_records_modified_at_once_one_stays(store: Store) -> None:
    """Always the same one, and whole."""
    write(store, make_chunks("a.md", "one", "two", version="v1"))
    write(store, make_chunks("a.md", "three", version="v2"))
    assert mend(store) == ["2 replaced chunks of 1 document (a.md)"]
    assert (store.count(), store.catalogue()["a.md"].version) == (1, "v2")


def test_a_document_that_lacks_chunks_is_incomplete(store: Store) -> None:
    """All of it goes, so that the next ingest adds it anew."""
    document = make_chunks("a.md", "one", "two", "three")
    write(store, document, make_chunks("b.md", "four"))
    lose(store, document[1])
    assert found(store) == {INCOMPLETE: ["a.md"]}
    assert mend(store) == ["2 chunks of 1 incomplete document (a.md)"]
    assert (list(store.catalogue()), store.count()) == (["b.md"], 1)
    assert mend(store) == []


def test_a_whole_version_stays_when_the_newer_one_is_incomplete(store: Store) -> None:
    """A record alone does not make a version the one to keep."""
    write(store, make_chunks("a.md", "one", "two", modified=1))
    newer = make_chunks("a.md", "three", "four", version="v2", modified=2)
    write(store, newer)
    lose(store, newer[1])
    assert mend(store) == ["1 chunk of 1 incomplete document (a.md)"]
    assert (store.count(), store.catalogue()["a.md"].version) == (2, "v1")


def test_unfinished_collections_are_left_over(store: Store) -> None:
    """They are dropped; the current one and kept ones are not."""
    write(store, make_chunks("a.md", "one"))
    with store.rebuild(FINGERPRINT, 64) as new:
        write(new, make_chunks("b.md", "two"))
        store.publish(new, keep_old=True)
    break_off(store, make_chunks("c.md", "three", "four", "five"), rebuild=True)
    assert found(store) == {UNFINISHED: ["documents__3"]}
    assert mend(store) == ["2 chunks of 1 unfinished collection (documents__3)"]
    assert sorted(store.client.list_collections()) == ["documents__1", "documents__2"]
    assert (list(store.catalogue()), mend(store)) == (["b.md"], [])


def test_the_first_rebuild_may_have_broken_off(open_store: OpenStore) -> None:
    """Then there is nothing behind the name but what it left."""
    store = open_store()
    break_off(store, make_chunks("a.md", "one", "two"), rebuild=True)
    assert mend(store) == ["1 chunk of 1 unfinished collection (documents__1)"]
    assert store.client.list_collections() == []


def test_a_foreign_collection_is_not_repaired(open_store: OpenStore) -> None:
    """It is refused before anything of it is read, under the name itself or behind an alias."""
    store = open_store()
    store.client.create_collection("documents", schema=build_schema(8, with_bm25=False))
    with pytest.raises(StoreError, match="RAG_COLLECTION"):
        take_inventory(store)
    other = open_store("other")
    store.client.create_alias("documents", "other")
    with pytest.raises(FingerprintError, match="RAG_COLLECTION"):
        take_inventory(other)


def test_hostile_sources_are_only_names(store: Store) -> None:
    """They are told apart, removed, and shown in one line; of many the first are shown."""
    names = ['" or id != "', "back\\slash\\", "line\nbreak.md", "日本語.md", "{a} %s"]
    write(store, make_chunks("stays.md", "one"))
    for name in names:
        break_off(store, make_chunks(name, "one", "two"))
    (line,) = mend(store)
    assert line == '5 orphaned chunks of 5 documents (" or id != ", back\\slash\\, line break.md, 2 more)'
    assert store.count() == 1


def test_chunks_are_read_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """More chunks than fit into one reply are all seen."""
    monkeypatch.setattr(collection, "ROWS_PER_PAGE", 4)
    write(store, *(make_chunks(f"{number}.md", "one", "two", "three") for number in range(5)))
    break_off(store, make_chunks("gone.md", *"abcdefghijk"))
    assert mend(store) == ["10 orphaned chunks of 1 document (gone.md)"]
    assert len(store.catalogue()) == 5


def test_large_collections_are_read_only_when_they_do_not_add_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orphans that stand for as many missing chunks are found by a thorough look."""
    monkeypatch.setattr(repair, "READ_ALL_UP_TO", 0)
    document = make_chunks("a.md", "one", "two", "three")
    write(store, document)
    assert found(store) == {}
    break_off(store, make_chunks("gone.md", "x", "y"))
    assert found(store) == {ORPHANED: ["gone.md"]}
    lose(store, document[1])
    assert found(store) == {}
    assert mend(store) == ["1 orphaned chunk of 1 document (gone.md)", "2 chunks of 1 incomplete document (a.md)"]


def test_the_turn_can_be_asked_for_without_waiting(store: Store, open_store: OpenStore) -> None:
    """It is free, taken while somebody has it, and free again."""
    with store.try_turn() as free:
        assert free
        with open_store().try_turn() as second:
            assert not second
    with store.take_turn(), open_store().try_turn() as free:
        assert not free
    with open_store().try_turn() as free:
        assert free

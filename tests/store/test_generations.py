"""The collections behind one name: kept, current and unfinished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.store.schema import build_schema
from rag_chain.store.writing import CollectionWriter
from tests.store.chunks import FINGERPRINT, embed, make_chunks, write

if TYPE_CHECKING:
    from rag_chain.store.collection import Store
    from tests.store.conftest import OpenStore


def states(store: Store) -> dict[str, str]:
    return {one.name: one.state for one in store.generations.survey()}


def rebuild(store: Store, *, keep_old: bool) -> None:
    """Put another collection in this one's place, as an ingest does."""
    writer = CollectionWriter(store, FINGERPRINT, rebuild=True, keep_old=keep_old)
    chunks = make_chunks("new.md", "two")
    writer.write(chunks, embed(chunks), {"new.md": 1})
    writer.close(complete=True)


def test_a_name_before_the_first_ingest_has_no_collections(open_store: OpenStore) -> None:
    """There is nothing to list and nothing to drop."""
    assert open_store().generations.survey() == []
    assert open_store().generations.drop_unfinished() == []


def test_a_rebuild_can_keep_the_old_collection(store: Store) -> None:
    """The new one answers; the old one holds what it held, and can be read by its own name."""
    write(store, make_chunks("old.md", "one", "two"))
    store.flush()
    rebuild(store, keep_old=True)
    assert states(store) == {"documents__1": "kept", "documents__2": "current"}
    assert list(store.catalogue()) == ["new.md"]
    assert [one.chunks for one in store.generations.survey()] == [2, 1]


def test_kept_collections_survive_what_broke_off(store: Store) -> None:
    """The next rebuild drops unfinished collections, and another one that keeps the old drops nothing else."""
    rebuild(store, keep_old=True)
    store.rebuild(FINGERPRINT, 64).close()
    assert states(store) == {"documents__1": "kept", "documents__2": "current", "documents__3": "unfinished"}
    rebuild(store, keep_old=True)
    assert states(store) == {"documents__1": "kept", "documents__2": "kept", "documents__3": "current"}


def test_a_rebuild_that_keeps_nothing_drops_all_older_ones(store: Store) -> None:
    """Those that earlier rebuilds kept go too."""
    for _ in range(2):
        rebuild(store, keep_old=True)
    rebuild(store, keep_old=False)
    assert states(store) == {"documents__4": "current"}


def test_without_a_current_collection_all_are_unfinished(open_store: OpenStore) -> None:
    """The first ingest was a rebuild, and it broke off."""
    store = open_store()
    store.rebuild(FINGERPRINT, 64).close()
    assert states(store) == {"documents__1": "unfinished"}
    assert store.generations.drop_unfinished() == ["documents__1"]
    assert store.client.list_collections() == []


def test_unfinished_ones_are_dropped_and_no_others(store: Store) -> None:
    """The current one stays, and so does one whose name only looks alike but that someone else made."""
    store.client.create_collection("documents__9", schema=build_schema(8, with_bm25=False))
    store.rebuild(FINGERPRINT, 64).close()
    assert states(store) == {"documents__1": "current", "documents__10": "unfinished"}
    assert store.generations.drop_unfinished() == ["documents__10"]
    assert sorted(store.client.list_collections()) == ["documents__1", "documents__9"]


def test_an_alias_that_was_pointed_elsewhere_makes_nothing_unfinished(store: Store, open_store: OpenStore) -> None:
    """Behind a collection with a name of its own all numbered ones are kept."""
    with open_store("spare").rebuild(FINGERPRINT, 64) as spare:
        store.client.alter_alias(spare.name, store.name)
    assert states(store) == {"documents__1": "kept", "spare__1": "current"}

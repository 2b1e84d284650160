"""An ingest whose documents are written by several writers, and what is looked at when all are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_chain.errors import StoreError
from rag_chain.store.auditing import withdraw_unsound
from rag_chain.store.writing import CollectionWriter, SharedCollection
from tests.store.chunks import FINGERPRINT, embed, make_chunks, write

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from rag_chain.store.collection import Store
    from rag_chain.store.writing import Share
    from tests.store.conftest import OpenStore


def send(writer: CollectionWriter, *chunks: Document) -> None:
    writer.write(chunks, embed(chunks), {chunks[0].metadata["source"]: len(chunks)})
    writer.close(complete=True)


def share(whole: CollectionWriter, *sources: str) -> Share:
    shared = whole.share(sources, ["v1"])
    assert shared is not None
    return shared


@pytest.mark.parametrize("rebuild", [False, True])
def test_what_several_write_is_published_as_a_whole(open_store: OpenStore, rebuild: bool) -> None:
    """There is nothing to share out before the first vectors; a rebuild shows nothing before all is complete."""
    store = open_store()
    if rebuild:
        store.create(FINGERPRINT, 64)
        write(store, make_chunks("old.md", "old"))
    whole = CollectionWriter(store, FINGERPRINT, rebuild=rebuild)
    assert whole.share(["a.md"], ["v1"]) is None
    send(whole.begin(), *make_chunks("a.md", "one"))
    for source in ("b.md", "c.md"):
        shared = share(whole, source)
        send(SharedCollection(open_store(shared.collection), shared), *make_chunks(source, "one", "two"))
    assert ("old.md" in store.catalogue()) == rebuild
    whole.close(complete=True)
    assert sorted(store.catalogue()) == ["a.md", "b.md", "c.md"]
    assert (store.count(), len(store.generations.survey())) == (5, 1)


def test_a_collection_that_is_there_is_shared_out_at_once(store: Store, open_store: OpenStore) -> None:
    """What it holds of the documents is taken over, and of nothing else; again, whatever is there is looked for."""
    write(store, make_chunks("a.md", "one", "two"))
    whole = CollectionWriter(store, FINGERPRINT, rebuild=False)
    assert share(whole, "b.md").found.sources == set()
    for shared in (share(whole, "a.md"), share(whole, "b.md").again()):
        writer = SharedCollection(open_store(shared.collection), shared)
        assert {chunk.page_content for chunk, _ in writer.held(["a.md"], [])} == {"one", "two"}
    assert len(list(SharedCollection(open_store(), share(whole, "b.md")).held(["b.md"], ["v2"]))) == 0


def test_a_share_refuses_other_vectors(store: Store, open_store: OpenStore) -> None:
    """As the whole would."""
    store.create(FINGERPRINT, 8)
    shared = share(CollectionWriter(store, FINGERPRINT, rebuild=False), "a.md")
    with pytest.raises(StoreError, match="vectors of length 8, the model gives 64"):
        send(SharedCollection(open_store(), shared), *make_chunks("a.md", "one"))


def test_what_adds_up_is_left_alone(store: Store) -> None:
    """Every document with its record, and every chunk."""
    write(store, make_chunks("a.md", "one", "two"), make_chunks("b.md", "one"))
    assert withdraw_unsound(store, {"a.md": "v1", "b.md": "v1"}) == []
    assert store.count() == 3


def test_what_is_not_whole_is_withdrawn(store: Store) -> None:
    """A missing chunk, no record, an old version beside the new one; other documents are nobody's business here."""
    short, old, stale, others = (make_chunks(name, "one", "two") for name in ("short", "norecord", "stale", "others"))
    write(store, make_chunks("whole", "one"), short, stale, others)
    write(store, make_chunks("stale", "one", version="v2"))
    store.write(old[1:], embed(old[1:]), {})
    store.remove_chunks([str(short[1].id), str(others[1].id)])
    versions = {"whole": "v1", "short": "v1", "norecord": "v1", "stale": "v2", "gone": "v1"}
    assert sorted(withdraw_unsound(store, versions)) == ["gone", "norecord", "short", "stale"]
    assert sorted(store.catalogue()) == ["others", "whole"]
    assert store.count() == 2

"""The collection: created once, written without duplicates, honest about what is complete, replaced as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rag_chain.errors import EmptyStoreError, FingerprintError, StoreError
from rag_chain.store.collection import ROWS_PER_CALL, Store, StoredDocument
from rag_chain.store.fingerprint import PROPERTY
from rag_chain.store.schema import build_schema, understands_text
from tests.store.chunks import FINGERPRINT, embed, make_chunks, write

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from tests.store.conftest import OpenStore

STRONG = 0
HOSTILE = [
    'it\'s "quoted".md',
    '" or id != "',
    "') or true or (source == '",
    "back\\slash\\",
    '\\" or 1 == 1 or "',
    "line\nbreak\r\ttab",
    "日本語/ü/😀/\u202eright.md",
    "e\u0301.md",
    "é.md",
    "100%_*?[a].md",
    "{a} $meta ${b} %s",
    " blank ",
    "-- ; drop",
    "nul\0.md",
]


def ids(store: Store) -> list[str]:
    return sorted(row["id"] for row in store.client.query(store.name, 'id != ""', ["id"], consistency_level="Strong"))


def sources(store: Store) -> list[str]:
    return sorted(store.catalogue())


def test_before_the_first_ingest_there_is_nothing(open_store: OpenStore) -> None:
    """A collection that was never made is told from an empty one, with the command that makes it."""
    store = open_store()
    assert not store.exists()
    with pytest.raises(EmptyStoreError, match="rag-chain ingest PATH"):
        store.open_for(FINGERPRINT, writing=False)


def test_a_new_collection_knows_what_it_was_made_with(store: Store) -> None:
    """Fingerprint and vector length are kept with the collection, which is empty."""
    assert store.exists()
    assert (store.fingerprint(), store.dimensions()) == (FINGERPRINT, 64)
    assert (store.count(), store.catalogue()) == (0, {})


def test_two_collections_do_not_mix(store: Store, open_store: OpenStore) -> None:
    """One Milvus holds several collections."""
    other = open_store("documents2")
    assert not other.exists()
    other.create(FINGERPRINT, 32)
    write(store, make_chunks("a.md", "one"))
    assert (store.count(), other.count(), other.dimensions()) == (1, 0, 32)


def test_the_same_fingerprint_opens(store: Store) -> None:
    """A collection made with these settings opens for reading and writing."""
    store.open_for(dict(FINGERPRINT), writing=False)
    store.open_for(dict(FINGERPRINT), writing=True)


@pytest.mark.parametrize("writing", [True, False])
@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"model": "other"}, "model 'fake', the settings say 'other'"),
        ({"dimensions": 32}, "dimensions 64, the settings say 32"),
        ({"schema": 2}, "schema 1, the settings say 2"),
        ({"query_prefix": "q: "}, "query_prefix None, the settings say 'q: '"),
    ],
)
def test_another_fingerprint_is_refused(store: Store, change: dict[str, Any], part: str, writing: bool) -> None:
    """The message names what differs, both values, and the command that mends it."""
    with pytest.raises(FingerprintError, match="ingest --rebuild") as caught:
        store.open_for(FINGERPRINT | change, writing=writing)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_splitter_is_refused_for_writing_only(store: Store) -> None:
    """Questions can be asked whatever the splitter; an ingest has to keep to it."""
    other = FINGERPRINT | {"splitter": "sections-1/400/40"}
    store.open_for(other, writing=False)
    with pytest.raises(FingerprintError, match=r"splitter 'sections-1/200/40'.*--rebuild"):
        store.open_for(other, writing=True)


@pytest.mark.parametrize("wanted", [FINGERPRINT, None])
def test_a_foreign_collection_is_refused(open_store: OpenStore, wanted: dict[str, Any] | None) -> None:
    """A collection that someone else made is neither read, written nor replaced."""
    store = open_store()
    store.client.create_collection("documents", schema=build_schema(8, with_bm25=False))
    with pytest.raises(FingerprintError, match=r"did not make.*RAG_COLLECTION"):
        store.open_for(wanted, writing=True)
    with pytest.raises(StoreError, match=r"did not make.*RAG_COLLECTION"):
        store.rebuild(FINGERPRINT, 64)
    assert store.client.list_collections() == ["documents"]


def test_chunks_come_back_as_they_were_written(store: Store) -> None:
    """Text, place and further metadata are kept; what no search needs is not."""
    (chunk,) = make_chunks(
        "a.md", "Some text.\n\n日本語 😀", heading="One > Two", page=3, root="file:///docs", modified=7
    )
    write(store, [chunk])
    (row,) = store.client.query(store.name, 'id != ""', ["*"], consistency_level="Strong")
    vector = row.pop("dense")
    assert np.allclose(vector, embed([chunk])[0])
    if store.understands_text:
        assert (len(row.pop("sparse")), row.pop("terms")) == (6, "md one two text 日本 本語")
    assert row == {
        "id": chunk.id,
        "text": "Some text.\n\n日本語 😀",
        "source": "a.md",
        "title": "a.md",
        "heading": "One > Two",
        "version": "v1",
        "uri": "file:///docs/a.md",
        "position": 0,
        "start": 0,
        "end": 17,
        "chunks": 1,
        "modified": 7,
        "page": 3,
    }


def test_writing_again_does_not_duplicate(store: Store) -> None:
    """Chunks with the same ids replace each other, before a flush and after it."""
    document = make_chunks("a.md", "one", "two")
    write(store, document)
    write(store, document)
    store.flush()
    write(store, document)
    assert (store.count(), ids(store)) == (2, sorted(str(chunk.id) for chunk in document))


def test_the_catalogue_lists_complete_documents_only(store: Store) -> None:
    """A document whose first chunk, its record, is not in yet does not count."""
    complete, partial = make_chunks("a.md", "one", "two", "three"), make_chunks("b.md", "four", "five")
    write(store, complete)
    store.write(partial[1:], embed(partial[1:]), {"b.md": 2})
    assert store.catalogue() == {"a.md": StoredDocument("a.md", "file:///docs/a.md", "v1", 3)}
    store.write(partial[:1], embed(partial[:1]), {"b.md": 2})
    assert sources(store) == ["a.md", "b.md"]


def test_a_document_with_two_records_is_not_up_to_date(store: Store) -> None:
    """When a run broke off between writing the new version and removing the old, neither version counts."""
    write(store, make_chunks("a.md", "old"), make_chunks("b.md", "same"))
    write(store, make_chunks("a.md", "new", version="v2"))
    assert {source: stored.version for source, stored in store.catalogue().items()} == {"a.md": "", "b.md": "v1"}


def test_the_catalogue_is_read_in_pages(store: Store) -> None:
    """More documents than fit into one reply are all listed, flushed or not."""
    names = [f"{number}.md" for number in range(ROWS_PER_CALL + 5)]
    chunks = [make_chunks(name, "text")[0] for name in names]
    store.write(chunks, np.repeat(embed(chunks[:1]), len(chunks), axis=0), dict.fromkeys(names, 1))
    assert sources(store) == sorted(names)
    store.flush()
    assert sources(store) == sorted(names)


def test_remove_takes_the_whole_document(store: Store) -> None:
    """All chunks of the source go, in every version; others stay; the number is returned."""
    write(store, make_chunks("a.md", "one", "two"), make_chunks("b.md", "three"))
    write(store, make_chunks("a.md", "new", version="v2"))
    assert store.remove({"a.md": ""}) == 3
    assert (sources(store), store.count()) == (["b.md"], 1)


def test_remove_keeps_the_version_to_keep(store: Store) -> None:
    """Only chunks of other versions go."""
    write(store, make_chunks("a.md", "one", "two"))
    new = make_chunks("a.md", "new", version="v2")
    write(store, new)
    assert store.remove({"a.md": "v2"}) == 2
    assert ids(store) == [new[0].id]


def test_removing_what_is_not_there_removes_nothing(store: Store) -> None:
    """An unknown source is no error."""
    write(store, make_chunks("a.md", "one"))
    assert (store.remove({"b.md": ""}), store.count()) == (0, 1)


def test_other_versions_are_told_apart_by_document(store: Store) -> None:
    """A version that one document keeps is still removed from another; hundreds go in a few calls."""
    write(store, make_chunks("a.md", "one", version="v1"), make_chunks("b.md", "one", version="v2"))
    write(store, make_chunks("a.md", "two", version="v2"), make_chunks("b.md", "two", version="v1"))
    keep = {"a.md": "v2", "b.md": "v1"} | {f"{number}.md": "v1" for number in range(1200)}
    assert store.remove(keep) == 2
    assert {source: stored.version for source, stored in store.catalogue().items()} == {"a.md": "v2", "b.md": "v1"}
    assert store.remove({}) == 0


def test_hostile_sources_are_only_names(store: Store) -> None:
    """Whatever a path holds, it is written, listed and removed, and nothing else is."""
    write(store, *(make_chunks(source, "one", "two") for source in HOSTILE))
    assert sources(store) == sorted(HOSTILE)
    left = list(HOSTILE)
    while left:
        assert store.remove({left.pop(): ""}) == 2
        assert sources(store) == sorted(left)


def test_a_hostile_version_is_only_a_version(store: Store) -> None:
    """The version to keep is quoted like the source."""
    write(store, make_chunks("a.md", "one"))
    assert store.remove({"a.md": 'v1" or source != "'}) == 1


def test_a_reader_does_not_see_a_rebuild_before_it_is_published(store: Store, open_store: OpenStore) -> None:
    """A rebuilt collection answers, and the old one goes, at the moment it is published."""
    write(store, make_chunks("old.md", "one", "two"))
    reader = open_store()
    new = store.rebuild(FINGERPRINT | {"model": "other"}, 64)
    write(new, make_chunks("new.md", "three"))
    assert (sources(reader), reader.fingerprint()) == (["old.md"], FINGERPRINT)
    store.publish(new)
    new.close()
    assert (sources(reader), reader.count()) == (["new.md"], 1)
    assert reader.fingerprint() == FINGERPRINT | {"model": "other"}
    assert len(store.client.list_collections()) == 1


def test_a_rebuild_may_have_other_dimensions(store: Store) -> None:
    """The published collection's vectors are as long as its model makes them."""
    with store.rebuild(FINGERPRINT | {"dimensions": 8}, 8) as new:
        store.publish(new)
    assert store.dimensions() == 8


def test_a_rebuild_works_without_an_old_collection(open_store: OpenStore) -> None:
    """The first ingest may be a rebuild."""
    store = open_store()
    with store.rebuild(FINGERPRINT, 64) as new:
        write(new, make_chunks("a.md", "one"))
        store.publish(new)
    assert sources(store) == ["a.md"]


def test_leftovers_of_a_broken_rebuild_are_dropped(store: Store) -> None:
    """A rebuild that was never published goes when the next one starts; the current collection stays."""
    write(store, make_chunks("old.md", "one"))
    store.rebuild(FINGERPRINT, 64).close()
    store.rebuild(FINGERPRINT, 64).close()
    assert len(store.client.list_collections()) == 2
    with store.rebuild(FINGERPRINT, 64) as new:
        store.publish(new)
    assert len(store.client.list_collections()) == 1
    assert store.catalogue() == {}


def test_a_rebuild_leaves_other_collections_alone(store: Store, open_store: OpenStore) -> None:
    """Collections whose names only start alike are not leftovers."""
    for name in ("documents2", "documents__", "documents__x"):
        open_store(name).create(FINGERPRINT, 64)
    with store.rebuild(FINGERPRINT, 64) as new:
        store.publish(new)
    assert all(open_store(name).exists() for name in ("documents2", "documents__", "documents__x"))


def test_a_failed_write_stores_nothing_of_its_call(store: Store) -> None:
    """Vectors of a wrong length fail with what was being done."""
    chunks = make_chunks("a.md", "one")
    with pytest.raises(StoreError, match="while writing chunks"):
        store.write(chunks, np.ones((1, 3), dtype=np.float32), {"a.md": 1})
    assert store.count() == 0


def test_a_document_is_written_whatever_else_it_knows(store: Store) -> None:
    """Metadata that Milvus can't hold is left out, and the batch is written."""
    odd: dict[Any, Any] = {
        "nested": {"a": 1},
        "nothing": None,
        "nan": float("nan"),
        "huge": 2**70,
        "half": "\ud800",
        "halves": ["\ud800"],
        "mixed": ["a", 1],
        "bytes": b"x",
        "a b": 1,
        "$meta": 2,
        "dense": [0.5],
        "id": "stolen",
        "text": "stolen",
        "chunks": 99,
        5: "number",
        "": "empty",
    }
    good = {
        "page": 3,
        "draft": True,
        "score": 0.5,
        "tags": ["a", "b"],
        "like": "keyword",
        "naïve": "é",
        "least": -(2**63),
    }
    document: list[Document] = make_chunks("a.md", "one")
    document[0].metadata |= odd | good | {"title": None, "heading": None, "uri": None, "modified": None}
    write(store, document)
    (row,) = store.client.query(store.name, 'id != ""', ["*"], consistency_level="Strong")
    assert (row["id"], row["text"], row["chunks"]) == (document[0].id, "one", 1)
    assert {name: row[name] for name in good} == good
    assert (row["title"], row["heading"], row["uri"], row["modified"]) == ("", "", "", 0)
    assert not [name for name in odd if name in row and name not in {"id", "text", "chunks", "dense"}]


def test_the_fingerprint_is_a_property_of_the_collection(store: Store) -> None:
    """It is where administrators can see it."""
    assert PROPERTY in store.client.describe_collection(store.name)["properties"]


def test_the_version_is_that_of_milvus(store: Store) -> None:
    """It tells which of them compute BM25 themselves; some servers' versions end in "-lite"."""
    version = store.version()
    assert understands_text(version) is not version.removeprefix("v").startswith("2.3.")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("milvus_lite-3.2.2", True),
        ("v2.6.3", True),
        ("2.5.0-beta", True),
        ("v2.4.15", False),
        ("2.3", False),
        ("3", True),
        ("v10.1-dev", True),
    ],
)
def test_bm25_needs_milvus_2_5(version: str, expected: bool) -> None:
    """Older servers have no BM25 function."""
    assert understands_text(version) is expected


@pytest.mark.parametrize("with_bm25", [True, False])
def test_a_schema_without_bm25_has_no_sparse_field(with_bm25: bool) -> None:
    """The sparse vector exists where Milvus fills it."""
    schema = build_schema(8, with_bm25=with_bm25)
    assert ("sparse" in [field.name for field in schema.fields]) is with_bm25
    assert len(schema.functions) == int(with_bm25)

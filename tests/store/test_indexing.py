"""The index over the vectors: every type that Milvus Lite builds, searched as it is and replaced in place."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.errors import SettingsError, StoreError
from rag_chain.settings import Settings
from rag_chain.store.collection import Store
from rag_chain.store.layout import LITE_BUILDS, Layout, StoredIndex, read_index, read_layout
from rag_chain.store.schema import server_version
from rag_chain.store.vectorstore import ChunkStore
from tests.fake_embeddings import FakeEmbeddings
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rag_chain.store.links import Address

ANIMALS = make_chunks("bears.md", *(f"bear number {number} sleeps in cave {number % 7}" for number in range(300)))
QUESTION = "bear number 77 sleeps in cave 0"
# Quantized to a byte a dimension.
ABOUT = 0.02


@pytest.fixture
def open_with(address: Address) -> Iterator[Callable[[Layout], Store]]:
    """Open the collection with a layout."""
    opened: list[Store] = []

    def open_one(layout: Layout) -> Store:
        opened.append(Store(address, "documents", layout=layout))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def fill(store: Store) -> Store:
    store.create(FINGERPRINT, 64)
    write(store, ANIMALS)
    store.flush()
    return store


def nearest(store: Store, k: int = 3) -> list[tuple[str, float]]:
    embeddings = FakeEmbeddings()
    found = ChunkStore(store, embeddings).nearest(embeddings.embed_query(QUESTION), k)
    return [(chunk.page_content, score) for chunk, score in found]


@pytest.mark.parametrize(
    ("kind", "metric"), [*((kind, "COSINE") for kind in LITE_BUILDS), ("IVF_FLAT", "IP"), ("HNSW", "IP")]
)
def test_every_type_finds_the_same(open_with: Callable[[Layout], Store], kind: str, metric: str) -> None:
    """The nearest comes first, and its score is the cosine, whatever type and metric."""
    store = fill(open_with(Layout(index_type=kind, metric=metric, nlist=8, nprobe=8)))
    index = store.index.read()
    assert index is not None
    assert (index.index_type, index.metric, index.rows, index.pending) == (kind, metric, 300, 0)
    (text, best), *others = nearest(store)
    assert (text, abs(best - 1) < ABOUT) == (QUESTION, True)
    assert all(-1 - ABOUT <= score <= best for _, score in others)
    assert store.index.differences() == {}


def test_the_index_that_is_there_decides_how_it_is_searched(open_with: Callable[[Layout], Store]) -> None:
    """Settings for another type and metric than the collection's do not get in the way."""
    fill(open_with(Layout(index_type="HNSW")))
    other = open_with(Layout(index_type="IVF_SQ8", metric="IP"))
    other.open_for(FINGERPRINT, writing=False)
    assert nearest(other)[0][0] == QUESTION
    assert list(other.index.differences().values()) == ["rag-chain reindex"]


def test_an_index_is_replaced_in_place(open_with: Callable[[Layout], Store]) -> None:
    """All rows are in the new one, and nothing was written."""
    fill(open_with(Layout()))
    store = open_with(Layout(index_type="HNSW", metric="IP", m=8, ef_construction=40))
    seen: list[StoredIndex] = []
    built = store.index.replace(seen.append)
    assert str(built) == "HNSW, IP, M 8, efConstruction 40"
    assert (built.rows, built.pending, seen[-1]) == (300, 0, built)
    assert nearest(store)[0][0] == QUESTION
    assert store.count() == 300
    assert store.fingerprint() == FINGERPRINT
    assert store.index.replace() == built


def test_a_missing_index_is_told_and_mended(open_with: Callable[[Layout], Store]) -> None:
    """It is missing where replacing it was broken off."""
    store = fill(open_with(Layout()))
    store.client.release_collection(store.name)
    store.client.drop_index(store.name, "dense")
    assert store.index.read() is None
    with pytest.raises(StoreError, match="rag-chain reindex"):
        ChunkStore(store, FakeEmbeddings())
    store.index.replace()
    assert nearest(store)[0][0] == QUESTION


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"index_type": "DISKANN"}, "RAG_INDEX_TYPE: Milvus Lite builds no DISKANN"),
        ({"shards": 2}, "RAG_SHARDS"),
        ({"replicas": 2}, "RAG_REPLICAS"),
        ({"mmap": True}, "RAG_MMAP"),
    ],
)
def test_what_milvus_lite_only_pretends_is_refused(values: dict[str, object], name: str) -> None:
    """Each with the setting that mends it; a server may have it."""
    with pytest.raises(SettingsError, match=f"{name}.*MILVUS_URI"):
        read_layout(Settings(**values))
    read_layout(Settings(milvus_uri="http://localhost:19530", **values))


def test_settings_reach_the_layout() -> None:
    """Every one of them; what is not given is the layout's own default."""
    given = Settings(
        milvus_uri="http://localhost:19530",
        index_type="DISKANN",
        index_metric="IP",
        hnsw_m=1 + 2,
        hnsw_ef_construction=9,
        hnsw_ef=5,
        ivf_nlist=6,
        ivf_nprobe=7,
        diskann_search_list=8,
        shards=2,
        replicas=3,
        mmap=True,
        consistency="Strong",
        search_timeout=1.5,
    )
    assert read_layout(given) == Layout("DISKANN", "IP", 3, 9, 5, 6, 7, 8, 2, 3, True, "Strong", 1.5)
    assert read_layout(Settings()) == Layout()


@given(k=st.integers(1, 16_384), ef=st.integers(1, 500), nprobe=st.integers(1, 500), nlist=st.integers(1, 500))
def test_a_search_never_asks_for_what_a_server_refuses(k: int, ef: int, nprobe: int, nlist: int) -> None:
    """``ef`` and ``search_list`` reach ``k``, and no more cells are looked at than there are."""
    layout = Layout(ef=ef, search_list=ef, nprobe=nprobe)
    assert layout.search_arguments(StoredIndex("HNSW", "IP", {}), k) == {
        "metric_type": "IP",
        "params": {"ef": max(ef, k)},
    }
    assert layout.search_arguments(StoredIndex("DISKANN", "IP", {}), k)["params"] == {"search_list": max(ef, k)}
    cells = layout.search_arguments(StoredIndex("IVF_SQ8", "COSINE", {"nlist": nlist}), k)["params"]["nprobe"]
    assert cells == min(nprobe, nlist)
    assert layout.search_arguments(StoredIndex("AUTOINDEX", "COSINE", {}), k)["params"] == {}


def test_a_server_gets_hnsw_unless_told() -> None:
    """Milvus Lite searches exhaustively; AUTOINDEX and DISKANN have no parameters to build with."""
    assert str(Layout().index(on_lite=False)) == "HNSW, COSINE, M 16, efConstruction 200"
    assert str(Layout().index(on_lite=True)) == "IVF_FLAT, COSINE, nlist 1"
    assert Layout(index_type="DISKANN").index_arguments(on_lite=False)["params"] == {}
    assert replace(Layout(), index_type="IVF_SQ8").index_arguments(on_lite=False)["params"] == {"nlist": 1024}


def test_what_servers_tell_of_an_index_is_read() -> None:
    """Parameters as numbers one level down, or as texts beside the type; an idle server says it has finished."""
    rows = {"total_rows": 5000, "pending_index_rows": 5000, "state": "Finished", "metric_type": "COSINE"}
    flat = read_index({"index_type": "HNSW", "M": "16", "efConstruction": "200", **rows, "pending_index_rows": 0})
    deep = read_index({"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200, "nlist": 3}, **rows})
    assert str(flat) == str(deep) == "HNSW, COSINE, M 16, efConstruction 200"
    assert not flat.is_idle
    assert read_index({"index_type": "DISKANN", **rows}).is_idle
    assert not read_index({"index_type": "DISKANN", **rows, "state": "InProgress"}).is_idle


@pytest.mark.parametrize(
    ("said", "expected"),
    [("v2.3.5-lite", (2, 3)), ("2.6.11", (2, 6)), ("v2.5-20260101-abc", (2, 5)), ("milvus_lite-3.2.2", (3, 2))],
)
def test_versions_are_read(said: str, expected: tuple[int, int]) -> None:
    """A wheel of an old server calls itself lite, too."""
    assert server_version(said) == expected


def test_another_consistency_is_searched_with(open_with: Callable[[Layout], Store]) -> None:
    """It is passed on with each search."""
    store = fill(open_with(Layout(consistency="Strong", search_timeout=9.0)))
    asked: list[dict[str, object]] = []
    chunks = ChunkStore(store, FakeEmbeddings())
    search = chunks.client.search
    with closing(store), pytest.MonkeyPatch.context() as patch:

        def watch(*arguments: Any, **options: Any) -> Any:
            asked.append(options)
            return search(*arguments, **options)

        patch.setattr(chunks.client, "search", watch)
        chunks.nearest(FakeEmbeddings().embed_query(QUESTION), 2)
        chunks.matching(QUESTION, 2)
        chunks.similarity_search(QUESTION, k=2)
    # Where there is no BM25 nothing is asked for it.
    times = 3 if store.understands_text else 2
    assert [(one["consistency_level"], one["timeout"]) for one in asked] == [("Strong", 9.0)] * times

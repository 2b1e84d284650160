"""The same flow against a real Milvus server: `pytest -m server`.

``MILVUS_TEST_URI`` and ``MILVUS_TEST_TOKEN`` name a running server; without them the ``milvus`` wheel (2.3.5,
Linux x86_64) is started. It listens on all addresses, so run it in a network namespace of its own:
``unshare -rn bash -c 'ip link set lo up; pytest -m server'``.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_chain import Settings, build_chain, build_retriever, ingest, move
from rag_chain.cli import main
from rag_chain.diagnosis import diagnose, repair
from rag_chain.errors import FingerprintError, StoreError, StoreUnreachableError
from rag_chain.models.embedding import unit_vectors
from rag_chain.store import indexing
from rag_chain.store.collection import open_store
from rag_chain.store.repair import take_inventory
from rag_chain.store.vectorstore import ChunkStore
from tests.engines import environment_of, settle
from tests.fake_embeddings import FakeEmbeddings
from tests.processes import read_line, running
from tests.store.chunks import FINGERPRINT, make_chunks
from tests.test_many_callers import CALLERS, IN_THREADS, kill_all
from tests.test_storm import asked_texts, check_report, check_vectors, connect, stormy_server, write_corpus

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from rag_chain.models.embedding import Vectors
    from rag_chain.store.collection import Store
    from rag_chain.store.links import Address
    from tests.engines import Engine
    from tests.fireworks_server import FireworksServer

pytestmark = pytest.mark.server
MOVED_CHUNKS = 20_000
MOVE = """
    from rag_chain import Settings, move
    def wait(stage, done, total):
        if done >= 8000:
            print("ready", flush=True)
            sys.stdin.readline()
    settings = Settings(milvus_uri=sys.argv[1], collection=sys.argv[3], move_token=sys.argv[5])
    move(sys.argv[2], settings, database=sys.argv[4], on_progress=wait)
"""
QUESTION = "Where do rows live?"


@pytest.fixture
def address(server_engine: Engine, tmp_path: Path) -> Iterator[Address]:
    """An empty database of this test's own on the server."""
    with server_engine.place(tmp_path) as address:
        yield address


@pytest.fixture
def remote(address: Address, online: Settings) -> Settings:
    """Settings for that database."""
    return settle(online, address)


def test_documents_go_in_and_answers_come_out(remote: Settings, folder: Path) -> None:
    """Ingest and ask, with a cited and grounded answer."""
    report = ingest(folder, remote)
    assert (len(report.added), report.chunks_total) == (3, 4)
    answer = build_chain(remote).invoke(QUESTION)
    assert answer["sources"][0]["heading"] == "Storage > Where rows live"
    assert answer["grounded"]


def test_a_second_ingest_changes_nothing(remote: Settings, folder: Path) -> None:
    """No chunk twice: a server keeps both of two rows with one key, unless they are upserted."""
    ingest(folder, remote)
    report = ingest(folder, remote)
    assert (len(report.unchanged), report.chunks_embedded, report.chunks_total) == (3, 0, 4)


def test_changed_and_removed_documents(remote: Settings, folder: Path) -> None:
    """Their old chunks are gone, and only theirs."""
    ingest(folder, remote)
    (folder / "bears.txt").write_text("Polar bears swim far.\n", "utf-8")
    (folder / "tides.html").unlink()
    report = ingest(folder, remote)
    assert (report.changed, report.removed, report.chunks_total) == (["bears.txt"], ["tides.html"], 3)
    found = build_retriever(remote.with_changes(top_k=10)).invoke("Which bears swim?")
    assert found[0].page_content == "Polar bears swim far."
    assert {document.metadata["source"] for document in found} == {"bears.txt", "guide/storage.md"}


def test_a_filter_narrows_the_sources(remote: Settings, folder: Path) -> None:
    """Wildcards work there too."""
    ingest(folder, remote)
    answer = build_chain(remote).invoke({"question": QUESTION, "filter": {"source": "*.txt"}})
    assert {source["source"] for source in answer["sources"]} == {"bears.txt"}


def test_the_fingerprint_is_kept_there(remote: Settings, folder: Path) -> None:
    """Another model is refused, and a rebuild takes it over."""
    ingest(folder, remote)
    other = remote.with_changes(embedding_dimensions=256)
    with pytest.raises(FingerprintError, match="--rebuild"):
        build_chain(other).invoke(QUESTION)
    ingest(folder, other, rebuild=True)
    assert build_chain(other).invoke(QUESTION)["grounded"]


def test_what_was_just_written_is_read(remote: Settings) -> None:
    """The catalogue knows it, and it can be taken back: nothing of it stays as an orphan."""
    with open_store(remote) as store:
        store.create({"model": "fake"}, 8)
        for number in range(5):
            chunks = make_chunks(f"{number}.md", "one", "two")
            store.write(chunks, np.ones((2, 8), np.float32), {f"{number}.md": 2})
            assert list(store.catalogue()) == [f"{number}.md"]
            store.discard(f"{number}.md", "v1")
            assert (store.count(), store.catalogue()) == (0, {})


def test_a_wrong_port_is_one_line(remote: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing listens, the address is named."""
    host = remote.milvus_uri.rpartition(":")[0]
    with pytest.raises(StoreUnreachableError, match="MILVUS_URI"):
        open_store(Settings(milvus_uri=f"{host}:9"))
    assert main(["ask", "x", "--milvus-uri", f"{host}:9"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_metadata_can_be_filtered(remote: Settings, folder: Path) -> None:
    """Fields that only some documents have are found by their value."""
    (folder / "deutsch.html").write_text(
        "<html lang='de'><title>Zeilen</title><p>Zeilen liegen in Segmenten.</p></html>", "utf-8"
    )
    ingest(folder, remote)
    answer = build_chain(remote).invoke({"question": QUESTION, "filter": {"language": ["de", "fr"]}})
    assert [source["source"] for source in answer["sources"]] == ["deutsch.html"]


def test_what_broke_off_is_repaired(remote: Settings, address: Address, folder: Path) -> None:
    """Orphans, a replaced version, an incomplete document and an unfinished collection go; a kept one stays."""
    ingest(folder, remote)
    ingest(folder, remote, rebuild=True, keep_old=True)
    with open_store(remote) as store:
        store.open_for(None, writing=True)
        vectors = np.ones((3, store.dimensions()), np.float32)
        gone = make_chunks("gone.md", "one", "two", "three")
        store.write(gone[1:], vectors[1:], {"gone.md": 3})
        store.write(make_chunks("bears.txt", "old"), vectors[:1], {"bears.txt": 1})
        store.client.delete(store.name, filter='source == "guide/storage.md" and position == 1')
        store.rebuild({"model": "fake"}, 8).close()
        inventory = take_inventory(store, thorough=True)
        assert {left.kind: left.owners for left in inventory.left_over} == {
            "orphaned chunks": ["gone.md"],
            "replaced versions": ["bears.txt"],
            "incomplete documents": ["guide/storage.md"],
            "unfinished collections": [f"{remote.collection}__3"],
        }
    given = environment_of(address)
    given = {name.lower(): value for name, value in given.items()} | {"provider": "local"}
    report = repair(given)
    assert report["ok"], report["checks"]
    assert {kind: removed["chunks"] for kind, removed in report["repaired"].items()} == {
        "orphaned chunks": 2,
        "replaced versions": 1,
        "incomplete documents": 1,
        "unfinished collections": 0,
    }
    assert repair(given)["repaired"] == {}
    assert ingest(folder, remote).added == ["guide/storage.md"]
    with open_store(remote) as store:
        assert [one.state for one in store.generations.survey()] == ["kept", "current"]
        assert not any(take_inventory(store).left_over)


def test_questions_are_answered_during_a_rebuild(remote: Settings, folder: Path, fireworks: FireworksServer) -> None:
    """Each of them finds what was there before, from the old collection or the new one."""
    ingest(folder, remote)
    chain = build_chain(remote)
    with ThreadPoolExecutor(21) as pool:
        fireworks.latency = 0.1
        job = pool.submit(ingest, folder, remote, rebuild=True)
        answers = []
        while not job.done():
            answers += list(pool.map(lambda _: chain.invoke(QUESTION), range(20)))
        answers += list(pool.map(lambda _: chain.invoke(QUESTION), range(20)))
    assert len(job.result().added) == 3
    assert {answer["sources"][0]["heading"] for answer in answers} == {"Storage > Where rows live"}
    assert all(answer["grounded"] for answer in answers)


def test_an_ingest_comes_through_a_storm(address: Address, tmp_path: Path) -> None:
    """Complete and right there, too, whatever the provider answers."""
    write_corpus(tmp_path / "corpus")
    with stormy_server(1) as server:
        settings = settle(connect(server, tmp_path / "unused.db"), address)
        check_report(ingest(tmp_path / "corpus", settings))
        asked = asked_texts(server)
    check_vectors(settings, asked)


def test_what_eight_callers_acknowledged_outlives_kill_9(
    remote: Settings, address: Address, fireworks: FireworksServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight ingests of one process that is killed, each that had returned is whole; a re-run adds the others."""
    names = {"FIREWORKS_API_KEY": fireworks.key, "FIREWORKS_API_BASE": fireworks.base, "RAG_EMBEDDING_BATCH": "4"}
    for name, value in {**names, **environment_of(address)}.items():
        monkeypatch.setenv(name, value)
    folders = [tmp_path / f"folder{caller}" for caller in range(CALLERS)]
    for caller, folder in enumerate(folders):
        folder.mkdir()
        for number in range(10):
            text = f"# Page {number}\n\n## One\n\nCaller {caller}.\n\n## Two\n\nNumber {number}.\n"
            (folder / f"{caller}-{number}.md").write_text(text, "utf-8")
    fireworks.latency = 0.1
    with running(IN_THREADS, *map(str, folders), own_group=True) as process:
        returned = [read_name(process) for _ in range(3)]
        returned += kill_all(process)
    assert 3 <= len(returned) < CALLERS
    with open_store(remote) as store:
        complete = set(store.catalogue())
    assert {f"{Path(name).name[6:]}-{number}.md" for name in returned for number in range(10)} <= complete
    fireworks.latency = 0
    for folder in folders:
        ingest(folder, remote)
    with open_store(remote) as store:
        assert len(store.catalogue()) == CALLERS * 10
        assert store.count() == sum(document.chunks for document in store.catalogue().values()) == CALLERS * 20


def read_name(process: subprocess.Popen[str]) -> str:
    return read_line(process).removeprefix("acknowledged ")


def beside(remote: Settings, path: Path) -> Settings:
    """Return settings for Milvus Lite, which may move what is there to the server."""
    token = remote.milvus_token
    return remote.with_changes(milvus_uri=str(path), milvus_token=None, milvus_db_name=None, move_token=token)


def token_of(settings: Settings) -> str:
    return settings.milvus_token.get_secret_value() if settings.milvus_token else ""


def write_clusters(store: Store, chunks: int) -> None:
    """Fill a collection with documents of ten chunks, whose vectors lie in clusters as those of texts do."""
    store.create({"schema": 2, "model": "fake", "terms": "1/english"}, 768)
    drawn = np.random.default_rng(1)
    centers = drawn.normal(size=(chunks // 50, 768))
    for start in range(0, chunks, 1000):
        vectors = centers[drawn.integers(0, len(centers), 1000)] + 0.6 * drawn.normal(size=(1000, 768))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        sources = [f"{number}.md" for number in range(start // 10, start // 10 + 100)]
        written = [
            chunk for name in sources for chunk in make_chunks(name, *(f"{name} says {n}." for n in range(10)), page=7)
        ]
        store.write(written, vectors.astype(np.float32), dict.fromkeys(sources, 10))
    store.flush()


def test_twenty_thousand_chunks_move_without_a_model(
    remote: Settings,
    provider: FireworksServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed on the way and told not to wait for the index, the same move completes: all there, once, and found."""
    lite = beside(remote, tmp_path / "source.db")
    with open_store(lite) as store:
        write_clusters(store, MOVED_CHUNKS)
    database, token = remote.milvus_db_name or "", token_of(remote)
    with running(MOVE, lite.milvus_uri, remote.milvus_uri, lite.collection, database, token, seconds=300) as process:
        process.kill()
    with open_store(remote) as store:
        assert not store.exists()
    with pytest.raises(StoreError, match=r"has not indexed .* run the same command again.*--wait"):
        move(remote.milvus_uri, lite, database=database, index_seconds=0)
    command = ["move", "--milvus-uri", lite.milvus_uri, "--from-collection", lite.collection]
    monkeypatch.setenv("RAG_MOVE_TOKEN", token)
    assert main([*command, "--to", remote.milvus_uri, "--to-db", database, "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert captured.err == ""
    assert report["chunks"] == {
        "source": MOVED_CHUNKS,
        "target": MOVED_CHUNKS,
        "copied": 0,
        "present": MOVED_CHUNKS,
        "missing": 0,
        "surplus": 0,
    }
    assert (report["documents"], report["embedding"], report["queries"]) == (2000, {"requests": 0}, 200)
    assert report["recall@10"] >= 0.99
    assert provider.requests == []
    with open_store(lite) as source, open_store(remote) as target:
        source.open_for(None, writing=False)
        assert target.catalogue() == source.catalogue()
        assert target.fingerprint() == source.fingerprint()


def test_a_collection_comes_back_as_it_went(remote: Settings, folder: Path, fireworks: FireworksServer) -> None:
    """From Milvus Lite to the server, to another name there, and back, where it has its terms again."""
    lite = beside(remote, Path("here.db"))
    ingest(folder, lite)
    fireworks.requests.clear()
    assert move(remote.milvus_uri, lite, database=remote.milvus_db_name).copied == 4
    other = f"{remote.collection}_other"
    assert move(remote.milvus_uri, remote, collection=other).copied == 4
    assert move("back.db", remote.with_changes(collection=other), collection="back").copied == 4
    back = lite.with_changes(milvus_uri="back.db", collection="back")
    assert (len(ingest(folder, back).unchanged), ingest(folder, remote).chunks_embedded) == (3, 0)
    assert fireworks.requests == []
    for settings, retriever in ((remote, "hybrid"), (back, "bm25"), (back, "dense")):
        found = build_retriever(settings.with_changes(retriever=retriever)).invoke(QUESTION)
        assert found[0].metadata["heading"] == "Storage > Where rows live"


def test_a_move_back_replaces_what_was_changed_meanwhile(remote: Settings, folder: Path) -> None:
    """A server's collection that somebody ingested into is not overwritten unasked."""
    lite = beside(remote, Path("here.db"))
    ingest(folder, lite)
    move(remote.milvus_uri, lite, database=remote.milvus_db_name)
    (folder / "bears.txt").write_text("Polar bears swim far.\n", "utf-8")
    ingest(folder, remote)
    with pytest.raises(StoreError, match=r"already holds 4 chunks.*--replace"):
        move(remote.milvus_uri, lite, database=remote.milvus_db_name)
    assert move("here.db", remote, replace=True).is_complete
    assert ingest(folder, lite).chunks_embedded == 0


def fill(settings: Settings, rows: int = 4000) -> Vectors:
    """Write so many chunks around 40 topics that Milvus seals and indexes them; return their vectors."""
    random = np.random.default_rng(7)
    topics = random.normal(size=(40, 64))
    around = topics[random.integers(0, 40, rows)] + 0.3 * random.normal(size=(rows, 64))
    vectors = unit_vectors(around.astype(np.float32), rows, 64)
    with open_store(settings) as store:
        store.create(FINGERPRINT, 64)
        store.write(make_chunks("a.md", *(f"row {number}" for number in range(rows))), vectors, {"a.md": rows})
        store.flush()
    return vectors


def search_sealed(settings: Settings, vector: Vectors, k: int) -> list[tuple[str, float]]:
    """Search with the index: what was written before is loaded anew, and growing segments are gone."""
    with open_store(settings) as store:
        store.client.release_collection(store.name)
        store.open_for(None, writing=False)
        found = ChunkStore(store, FakeEmbeddings()).nearest(vector.tolist(), k)
        return [(chunk.page_content, score) for chunk, score in found]


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("auto", "COSINE"), ("HNSW", "IP"), ("IVF_SQ8", "COSINE"), ("IVF_FLAT", "IP"), ("AUTOINDEX", "COSINE")],
)
def test_every_index_is_built_and_searched(remote: Settings, kind: str, metric: str) -> None:
    """All rows are in it; as many are found as were asked for, also more than ``ef``, and nearly the right ones."""
    settings = remote.with_changes(index_type=kind, index_metric=metric, ivf_nlist=64, shards=2)
    vectors = fill(settings)
    with open_store(settings) as store:
        index = store.index.replace()
        assert store.index.differences() == {}
    assert (index.index_type, index.metric) == ("HNSW" if kind == "auto" else kind, metric)
    assert (index.rows, index.pending) == (4000, 0)
    found = search_sealed(settings, vectors[5], 100)
    assert found[0][0] == "row 5"
    assert found[0][1] == pytest.approx(1, abs=0.02)
    exact = {f"row {number}" for number in np.argsort(-(vectors @ vectors[5]))[:100]}
    assert len(exact & {text for text, _ in found}) >= 90


def test_an_index_is_replaced_in_place_there(remote: Settings) -> None:
    """HNSW becomes IVF_SQ8 over the rows that are there, whose metric is another one, too."""
    vectors = fill(remote)
    other = remote.with_changes(index_type="IVF_SQ8", index_metric="IP", ivf_nlist=64)
    with open_store(other) as store:
        assert list(store.index.differences().values()) == ["rag-chain reindex"]
        assert str(store.index.replace()) == "IVF_SQ8, IP, nlist 64"
        assert store.count() == 4000
    assert search_sealed(other, vectors[9], 5)[0][0] == "row 9"
    with open_store(other.with_changes(shards=3)) as store, pytest.raises(StoreError, match="ingest --rebuild"):
        store.index.replace()


def test_an_index_that_the_server_can_not_build_is_told(remote: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel takes DISKANN and never builds it; reindexing says so, and so does the doctor."""
    monkeypatch.setattr(indexing, "IDLE_SECONDS", 8.0)
    settings = remote.with_changes(index_type="DISKANN")
    vectors = fill(settings)
    with open_store(settings) as store, pytest.raises(StoreError, match=r"does not build DISKANN .*RAG_INDEX_TYPE"):
        store.index.replace()
    assert search_sealed(settings, vectors[1], 5)[0][0] == "row 1"
    given = {name: getattr(remote, name) for name in ("milvus_uri", "milvus_token", "milvus_db_name")}
    given |= {"index_type": "DISKANN"}
    (check,) = (one for one in diagnose({**given, "provider": "local"})["checks"] if one["name"] == "index")
    assert check["detail"] == "DISKANN, COSINE; 0 of 4,000 rows are in it"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2}, r"too few query nodes for 2 copies.*RAG_REPLICAS"),
        ({"mmap": True}, r"RAG_MMAP needs Milvus 2\.4 or later"),
    ],
)
def test_what_the_server_can_not_do_is_an_error(remote: Settings, values: dict[str, object], message: str) -> None:
    """And not silence; nothing is published of it."""
    with open_store(remote.with_changes(**values)) as store:
        with pytest.raises(StoreError, match=message):
            store.create(FINGERPRINT, 64)
        assert store.generations.current() is None

"""``rag-chain doctor``: what it checks, what it finds in the store, and what it repairs there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest

from rag_chain import Settings
from rag_chain.cli import main
from rag_chain.models import building
from rag_chain.store.collection import open_store
from rag_chain.store.repair import KINDS
from rag_chain.store.schema import build_schema
from tests.fireworks_faults import Status
from tests.store.chunks import make_chunks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fireworks_server import FireworksServer

STORE_CHECKS = ["milvus", "collections", "fingerprint", "index", "index settings", "documents", *KINDS]


@pytest.fixture(autouse=True)
def environment(provider: FireworksServer) -> FireworksServer:
    """Put the loopback provider into the environment before anything is ingested."""
    return provider


@pytest.fixture
def ingested(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder whose three documents, four chunks, are in the store."""
    ingest(folder)
    capsys.readouterr()
    return folder


def ingest(folder: Path, *options: str) -> None:
    assert main(["ingest", str(folder), "--json", *options]) == 0


def doctor(capsys: pytest.CaptureFixture[str], *options: str, status: int = 0) -> dict[str, Any]:
    """Run the doctor and return what it reports as JSON."""
    assert main(["doctor", "--json", *options]) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    report: dict[str, Any] = json.loads(captured.out)
    assert report["ok"] is (status == 0)
    assert all(set(check) == {"name", "ok", "detail", "mend"} for check in report["checks"])
    return report


def details(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["detail"] for check in report["checks"]}


def failed(report: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["mend"] for check in report["checks"] if not check["ok"]}


def leave_orphans(source: str = "gone.md") -> None:
    """Leave what a run leaves that is killed before it writes a document's record."""
    with open_store(Settings()) as store:
        store.open_for(None, writing=True)
        chunks = make_chunks(source, "one", "two", "three")[1:]
        store.write(chunks, np.ones((2, store.dimensions()), np.float32), {source: 3})


def lose_a_chunk(source: str) -> None:
    with open_store(Settings()) as store:
        store.open_for(None, writing=True)
        store.client.delete(store.name, filter=f'source == "{source}" and position == 1')


def count() -> int:
    with open_store(Settings()) as store:
        store.open_for(None, writing=True)
        return store.count()


@pytest.mark.usefixtures("ingested")
def test_everything_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """Every check has a name, a verdict and a detail; a healthy store needs no mend."""
    report = doctor(capsys)
    assert [check["name"] for check in report["checks"]] == ["settings", "embeddings", "chat model", *STORE_CHECKS]
    assert not any(check["mend"] for check in report["checks"])


@pytest.mark.usefixtures("ingested")
def test_the_store_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    """The collections behind the name, what the current one was made with, documents and chunks."""
    report = doctor(capsys)
    shown = details(report)
    assert shown["collections"] == "documents points at documents__1; documents__1 (current, 4 chunks)"
    assert shown["documents"] == "3 documents in 4 chunks"
    assert shown["fingerprint"].startswith("model 'nomic-ai/nomic-embed-text-v1.5', dimensions None, ")
    assert report["collections"] == [{"name": "documents__1", "state": "current", "chunks": 4}]
    assert report["fingerprint"]["model"] == "nomic-ai/nomic-embed-text-v1.5"


@pytest.mark.usefixtures("ingested")
def test_another_index_than_the_settings_say_is_no_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It serves all the same; the command that makes the other one is named, and does so without embedding."""
    assert details(doctor(capsys))["index"] == "IVF_FLAT, COSINE, nlist 1; 4 of 4 rows are in it"
    monkeypatch.setenv("RAG_INDEX_TYPE", "HNSW")
    report = doctor(capsys)
    wanted = "HNSW, COSINE, M 16, efConstruction 200"
    assert details(report)["index settings"] == f"the index is IVF_FLAT, COSINE, nlist 1, the settings say {wanted}"
    assert [check["mend"] for check in report["checks"] if check["mend"]] == ["rag-chain reindex"]
    assert main(["reindex"]) == 0
    assert capsys.readouterr().out == f"IVF_FLAT, COSINE, nlist 1 -> {wanted}: 4 rows\n"
    assert main(["reindex", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["before"] == shown["index"]
    assert (shown["index"]["type"], shown["index"]["pending"]) == ("HNSW", 0)
    assert details(doctor(capsys))["index settings"] == "as set"
    assert main(["search", "Where do rows live?", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["source"] == "guide/storage.md"


@pytest.mark.usefixtures("ingested")
def test_a_missing_index_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """A reindex that was broken off at the worst moment is found out, and completed by another."""
    with open_store(Settings()) as store:
        store.client.release_collection(store.name)
        store.client.drop_index(store.name, "dense")
    assert failed(doctor(capsys, status=1))["index"] == "rag-chain reindex"
    assert main(["reindex"]) == 0
    assert capsys.readouterr().out.startswith("none -> IVF_FLAT")
    doctor(capsys)


def test_there_is_nothing_to_reindex_before_the_first_ingest(capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what comes first."""
    assert main(["reindex"]) == 1
    assert "rag-chain ingest PATH" in capsys.readouterr().err


def test_before_the_first_ingest_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """The command that comes next is named."""
    report = doctor(capsys)
    assert [check["mend"] for check in report["checks"] if check["mend"]] == ["rag-chain ingest PATH"]
    assert details(report)["documents"] == "0 documents in 0 chunks"


def test_a_failure_says_what_mends_it(provider: FireworksServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong key fails the checks that need it, with the mend; exit 1."""
    provider.faults.always("embeddings", Status(401))
    mends = failed(doctor(capsys, status=1))
    assert list(mends) == ["embeddings"]
    assert "FIREWORKS_API_KEY" in mends["embeddings"]


@pytest.mark.usefixtures("ingested")
def test_the_embedding_model_is_built_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A local one is read from disk; three checks need it."""
    build = Mock(wraps=building.build_embeddings)
    monkeypatch.setattr(building, "build_embeddings", build)
    doctor(capsys)
    assert build.call_count == 1


@pytest.mark.usefixtures("ingested")
def test_another_model_is_found_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The rebuild is named, and the rest of the store is checked all the same."""
    monkeypatch.setenv("RAG_EMBEDDING_DIMENSIONS", "128")
    report = doctor(capsys, status=1)
    assert list(failed(report)) == ["fingerprint"]
    assert "ingest --rebuild" in failed(report)["fingerprint"]
    assert (details(report)["documents"], report["fingerprint"]["dimensions"]) == ("3 documents in 4 chunks", None)


@pytest.mark.usefixtures("ingested")
def test_orphans_are_found_and_removed(provider: FireworksServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a document whose file is gone; a second repair finds nothing, and no model is asked."""
    leave_orphans()
    report = doctor(capsys, status=1)
    assert failed(report) == {"orphaned chunks": "rag-chain doctor --repair"}
    assert details(report)["orphaned chunks"] == "2 orphaned chunks of 1 document (gone.md)"
    before = len(provider.requests)
    report = doctor(capsys, "--repair")
    assert details(report)["orphaned chunks"] == "removed 2 orphaned chunks of 1 document (gone.md)"
    assert report["repaired"] == {"orphaned chunks": {"chunks": 2, "of": ["gone.md"]}}
    assert count() == 4
    assert doctor(capsys, "--repair")["repaired"] == {}
    assert len(provider.requests) == before
    doctor(capsys)


@pytest.mark.usefixtures("ingested")
def test_while_an_ingest_is_running_nothing_is_an_orphan(capsys: pytest.CaptureFixture[str]) -> None:
    """What is half-written then is not looked for."""
    leave_orphans()
    with open_store(Settings()) as store, store.take_turn():
        shown = details(doctor(capsys))
    assert all("an ingest is running" in shown[kind] for kind in KINDS)
    assert shown["documents"] == "3 documents in 6 chunks"


def test_an_incomplete_document_is_ingested_again(ingested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The repair removes what is left of it and names the ingest, which adds it."""
    lose_a_chunk("guide/storage.md")
    assert list(failed(doctor(capsys, status=1))) == ["incomplete documents"]
    report = doctor(capsys, "--repair")
    assert details(report)["incomplete documents"] == "removed 1 chunk of 1 incomplete document (guide/storage.md)"
    assert [check["mend"] for check in report["checks"] if check["mend"]] == ["rag-chain ingest PATH"]
    ingest(ingested)
    assert json.loads(capsys.readouterr().out)["documents"]["added"] == 1
    assert details(doctor(capsys))["documents"] == "3 documents in 4 chunks"


def test_kept_collections_are_shown_and_left_alone(ingested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rebuild with --keep-old keeps the old one; what a broken-off rebuild began is dropped by the repair."""
    ingest(ingested, "--rebuild", "--keep-old")
    with open_store(Settings()) as store:
        store.rebuild({"model": "fake"}, 8).close()
    capsys.readouterr()
    report = doctor(capsys, status=1)
    assert [one["state"] for one in report["collections"]] == ["kept", "current", "unfinished"]
    assert failed(report) == {"unfinished collections": "rag-chain doctor --repair"}
    report = doctor(capsys, "--repair")
    shown = details(report)["unfinished collections"]
    assert shown == "removed 0 chunks of 1 unfinished collection (documents__3)"
    states = [(one["name"], one["state"], one["chunks"]) for one in doctor(capsys)["collections"]]
    assert states == [("documents__1", "kept", 4), ("documents__2", "current", 4)]


@pytest.mark.parametrize("options", [(), ("--repair",)])
def test_a_foreign_collection_is_left_alone(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """It is named once, with the setting that mends it."""
    with open_store(Settings()) as store:
        store.client.create_collection("documents", schema=build_schema(8, with_bm25=False))
        assert failed(doctor(capsys, *options, status=1)) == {"collections": "set RAG_COLLECTION"}
        assert store.client.list_collections() == ["documents"]


@pytest.mark.usefixtures("ingested")
def test_a_person_reads_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A failed check stands out, with its mend below it; a repair says what was removed."""
    leave_orphans()
    assert main(["doctor"]) == 1
    line = "FAIL  orphaned chunks: 2 orphaned chunks of 1 document (gone.md)\n      rag-chain doctor --repair\n"
    assert line in capsys.readouterr().out
    assert main(["doctor", "--repair"]) == 0
    assert "ok    orphaned chunks: removed 2 orphaned chunks of 1 document (gone.md)\n" in capsys.readouterr().out

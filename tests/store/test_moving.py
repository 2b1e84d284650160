"""A collection goes to another Milvus as it is stored: whole, once, and without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rag_chain import move
from rag_chain.cli import main
from rag_chain.errors import EmptyStoreError, FingerprintError, RagChainError, SettingsError, StoreError
from rag_chain.settings import Settings
from rag_chain.store import collection, copying, move_job, moving
from rag_chain.store.collection import Store, open_store
from rag_chain.store.copying import split_by_bytes
from rag_chain.store.move_report import MoveReport
from rag_chain.store.moving import check_move
from rag_chain.store.recall import Recall
from rag_chain.store.schema import LITE_INDEX, build_indexes, build_schema
from tests.processes import read_line, running
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fireworks_server import FireworksServer

MADE_WITH = FINGERPRINT | {"terms": "1/english"}
DOCUMENTS, CHUNKS = 12, 5

MOVE_SLOWLY = """
    from rag_chain import Settings, move
    from rag_chain.store import copying
    copying.ROWS_PER_READ = 10
    def wait(stage, done, total):
        if done >= 20:
            print("ready", flush=True)
            sys.stdin.readline()
    move(sys.argv[2], Settings(milvus_uri=sys.argv[1]), on_progress=wait)
"""


class Stop(Exception):  # noqa: N818  not an error
    """Breaks a move off in the middle, as Ctrl-C does."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The source: a dozen documents of five chunks."""
    settings = Settings(milvus_uri=str(tmp_path / "source.db"))
    with open_store(settings) as store:
        fill(store)
    return settings


@pytest.fixture
def to(tmp_path: Path) -> str:
    """A path at which there is nothing yet."""
    return str(tmp_path / "target.db")


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few chunks be many pages."""
    monkeypatch.setattr(copying, "IDS_PER_PAGE", 7)
    monkeypatch.setattr(copying, "ROWS_PER_READ", 3)


def fill(store: Store, documents: int = DOCUMENTS) -> None:
    store.create(MADE_WITH, 64)
    for number in range(documents):
        texts = (f"Words of document {number}, part {part}: {number * 7} rows." for part in range(CHUNKS))
        write(store, make_chunks(f"{number}.md", *texts, language="en", page=number, tags=["a", "b"], share=0.5))
    store.flush()


def at(settings: Settings, to: str, **changes: Any) -> Settings:
    return settings.with_changes(milvus_uri=to, **changes)


def rows_at(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return everything that is stored, by id, with vectors as bytes."""
    with open_store(settings) as store:
        store.open_for(None, writing=False)
        found = store.client.query(store.name, filter='id != ""', output_fields=["*"], limit=10_000)
    return {row["id"]: {**row, "dense": np.float32(row["dense"]).tobytes()} for row in found}


def states_at(settings: Settings) -> dict[str, str]:
    with open_store(settings) as store:
        return {one.name: one.state for one in store.generations.survey()}


def break_off(stage: str, at_least: int) -> Callable[[str, int, int], None]:
    def stop(now: str, done: int, _: int) -> None:
        if now == stage and done >= at_least:
            raise Stop

    return stop


def once(work: Callable[[], None]) -> Callable[[str, int, int], None]:
    """Do this when the first chunks have been copied."""
    todo = [work]

    def show(stage: str, done: int, _: int) -> None:
        if stage == "chunks" and done and todo:
            todo.pop()()

    return show


@pytest.mark.usefixtures("small_pages")
def test_everything_stored_arrives_as_it_is(settings: Settings, to: str) -> None:
    """Text, vectors, metadata, terms, records and fingerprint; the source stays."""
    before = rows_at(settings)
    report = move(to, settings)
    assert rows_at(at(settings, to)) == rows_at(settings) == before
    assert report.to_json() == {
        "collection": "documents",
        "chunks": {"source": 60, "target": 60, "copied": 60, "present": 0, "missing": 0, "surplus": 0},
        "documents": 12,
        "embedding": {"requests": 0},
        "recall@10": 1.0,
        "minimum_recall@10": 1.0,
        "queries": 60,
        "seconds": report.seconds,
    }
    with open_store(settings) as source, open_store(at(settings, to)) as target:
        source.open_for(MADE_WITH, writing=True)
        target.open_for(MADE_WITH, writing=True)
        assert target.catalogue() == source.catalogue()


def test_an_ingest_and_its_questions_go_on_there(online: Settings, folder: Path, fireworks: FireworksServer) -> None:
    """Neither the move nor an ingest of the same documents after it embeds anything; questions are answered."""
    from rag_chain import build_chain, ingest

    ingest(folder, online)
    fireworks.requests.clear()
    move("moved.db", online)
    moved = online.with_changes(milvus_uri="moved.db")
    report = ingest(folder, moved)
    assert fireworks.requests == []
    assert (len(report.unchanged), report.chunks_embedded, report.chunks_total) == (3, 0, 4)
    assert build_chain(moved).invoke("Where do rows live?")["sources"][0]["heading"] == "Storage > Where rows live"


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(("stage", "done"), [("chunks", 21), ("chunks", 55), ("check", 30), ("exact search", 30)])
def test_an_interrupted_move_goes_on(settings: Settings, to: str, stage: str, done: int) -> None:
    """Nobody reads what is half there; the same call sends no chunk twice, and all of them are there once."""
    with pytest.raises(Stop):
        move(to, settings, on_progress=break_off(stage, done))
    assert states_at(at(settings, to)) == {"documents__1": "unfinished"}
    with open_store(at(settings, to)) as target:
        assert not target.exists()
    report = move(to, settings)
    assert report.present >= (done if stage == "chunks" else 60) - 3
    assert (report.copied + report.present, report.target, report.is_complete) == (60, 60, True)
    assert states_at(at(settings, to)) == {"documents__1": "current"}
    assert rows_at(at(settings, to)) == rows_at(settings)


@pytest.mark.usefixtures("small_pages")
def test_records_come_last(settings: Settings, to: str) -> None:
    """What broke off holds no record of a document whose chunks are not in."""
    with pytest.raises(Stop):
        move(to, settings, on_progress=break_off("chunks", 50))
    with open_store(at(settings, to)) as target, target.beside("documents__1") as begun:
        begun.open_for(None, writing=False)
        assert 0 < len(begun.catalogue()) == begun.count() - DOCUMENTS * (CHUNKS - 1)


@pytest.mark.slow
def test_a_killed_move_goes_on(settings: Settings, to: str) -> None:
    """Kill -9 loses nothing that was acknowledged, and the same call completes it."""
    with running(MOVE_SLOWLY, settings.milvus_uri, to, own_group=True) as process:
        process.kill()
        assert not read_line(process)
    report = move(to, settings)
    assert report.present >= 20
    assert (report.copied + report.present, report.target) == (60, 60)
    assert rows_at(at(settings, to)) == rows_at(settings)


def test_a_second_move_copies_nothing(settings: Settings, to: str) -> None:
    """What is in place already is compared, and that is all."""
    move(to, settings)
    report = move(to, settings)
    assert (report.copied, report.present, report.is_complete, report.queries) == (0, 60, True, 60)
    assert states_at(at(settings, to)) == {"documents__1": "current"}


def test_what_is_written_meanwhile_comes_along(settings: Settings, to: str) -> None:
    """A new document is copied too, and of one that was removed nothing stays."""

    def change() -> None:
        with open_store(settings) as store:
            write(store, make_chunks("new.md", "one", "two"))
            store.remove({"3.md": ""})

    report = move(to, settings, on_progress=once(change))
    assert (report.source, report.target, report.documents, report.is_complete) == (57, 57, 12, True)
    assert rows_at(at(settings, to)) == rows_at(settings)


def test_a_source_that_never_rests_is_refused(settings: Settings, to: str) -> None:
    """Nothing is published; once it rests, the same call goes on."""
    numbers = iter(range(1000))

    def write_on(*_: object) -> None:
        with open_store(settings) as store:
            write(store, make_chunks(f"new{next(numbers)}.md", "more"))

    with pytest.raises(StoreError, match="still being written to: let ingests into it end"):
        move(to, settings, on_progress=write_on)
    assert states_at(at(settings, to)) == {"documents__1": "unfinished"}
    assert move(to, settings).present >= 60
    assert rows_at(at(settings, to)) == rows_at(settings)


@pytest.mark.parametrize("keep_old", [True, False])
def test_a_source_that_is_rebuilt_meanwhile_is_not_mixed(settings: Settings, to: str, keep_old: bool) -> None:
    """The old one is not published, whether it is there still or gone; the same call moves the new one."""

    def rebuild() -> None:
        with open_store(settings) as store, store.rebuild(MADE_WITH | {"model": "other"}, 64) as new:
            write(new, make_chunks("new.md", "one", "two"))
            store.publish(new, keep_old=keep_old)

    with pytest.raises(StoreError, match="rebuilt while it was moved: run the same command again"):
        move(to, settings, on_progress=once(rebuild))
    report = move(to, settings)
    assert (report.copied, report.present, report.target) == (2, 0, 2)
    with open_store(at(settings, to)) as target:
        assert target.fingerprint() == MADE_WITH | {"model": "other"}
    assert list(states_at(at(settings, to)).values()) == ["current"]


def test_another_collection_is_not_overwritten(settings: Settings, to: str) -> None:
    """It is named with what it holds; --replace puts the moved one in its place, at the end."""
    with open_store(at(settings, to)) as target:
        fill(target, documents=1)
    with pytest.raises(StoreError, match=r"already holds 5 chunks: name another --collection, or .*--replace"):
        move(to, settings)
    with pytest.raises(Stop):
        move(to, settings, replace=True, on_progress=break_off("exact search", 1))
    with open_store(at(settings, to)) as target:
        assert target.count() == 5
    assert move(to, settings, replace=True).present == 60
    assert states_at(at(settings, to)) == {"documents__2": "current"}


def test_what_is_replaced_can_be_kept(settings: Settings, to: str) -> None:
    """As by a rebuild."""
    with open_store(at(settings, to)) as target:
        fill(target, documents=1)
    move(to, settings, replace=True, keep_old=True)
    assert states_at(at(settings, to)) == {"documents__1": "kept", "documents__2": "current"}


def test_what_was_moved_and_has_changed_is_not_overwritten(settings: Settings, to: str) -> None:
    """A later ingest there is not lost to a second move."""
    move(to, settings)
    with open_store(at(settings, to)) as target:
        target.open_for(None, writing=True)
        write(target, make_chunks("later.md", "Words of document 5, part 2."))
    with pytest.raises(StoreError, match="already holds 61 chunks"):
        move(to, settings)
    assert check_move(to, settings).surplus == 1


def test_a_collection_of_somebody_else_is_refused(settings: Settings, to: str) -> None:
    """Even with --replace, and the message names the option."""
    with open_store(at(settings, to)) as target:
        schema = build_schema(8, with_bm25=False)
        indexes = build_indexes(target.client, LITE_INDEX, with_bm25=False, on_lite=True)
        target.client.create_collection("documents", schema=schema, index_params=indexes)
    with pytest.raises(StoreError, match=r"rag_chain did not make: set --collection"):
        move(to, settings, replace=True)


def test_a_collection_can_move_to_another_name_beside_it(settings: Settings) -> None:
    """In the same file; onto itself it can't."""
    assert move(settings.milvus_uri, settings, collection="copy").copied == 60
    assert rows_at(settings.with_changes(collection="copy")) == rows_at(settings)
    with pytest.raises(SettingsError, match="is what is to be moved: name another place"):
        move(f"{Path(settings.milvus_uri).parent}/./source.db", settings)


def test_a_tenant_keeps_its_own_collection(settings: Settings, to: str) -> None:
    """It goes to the tenant's name there, and nobody else's documents go along."""
    acme = settings.with_changes(tenant="acme")
    with pytest.raises(EmptyStoreError, match="documents__t_acme"):
        move(to, acme)
    with open_store(acme) as store:
        fill(store, documents=2)
    assert move(to, acme, collection="moved").target == 10
    assert states_at(at(acme, to, collection="moved")) == {"moved__t_acme__1": "current"}


def test_without_bm25_terms_stay_behind_and_come_back(
    settings: Settings, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Milvus that has no BM25 gets no terms; on the way back the same terms are cut from the text."""
    with monkeypatch.context() as patch:
        patch.setattr(collection, "understands_text", lambda _: False)
        move(to, settings)
    there = rows_at(at(settings, to))
    assert not {"terms", "sparse"} & set().union(*there.values())
    back = str(tmp_path / "back.db")
    move(back, at(settings, to))
    assert rows_at(at(settings, back)) == rows_at(settings)


def test_terms_of_another_version_can_not_be_cut(
    settings: Settings, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then keyword search would compare terms of two kinds: only a new ingest mends that."""
    with monkeypatch.context() as patch:
        patch.setattr(collection, "understands_text", lambda _: False)
        move(to, settings)
    monkeypatch.setattr(move_job, "TERMS_VERSION", 2)
    with pytest.raises(FingerprintError, match=r"terms '1/english', which this version does not cut.*ingest PATH"):
        move(str(tmp_path / "back.db"), at(settings, to))


def test_a_comparison_finds_what_differs(settings: Settings, to: str) -> None:
    """Missing chunks, others, and a recall that shows it; nothing is changed."""
    move(to, settings)
    with open_store(at(settings, to)) as target:
        target.open_for(None, writing=True)
        target.remove({"3.md": "", "4.md": ""})
        write(target, make_chunks("later.md", "one"))
    report = check_move(to, settings)
    assert (report.missing, report.surplus, report.target, report.is_complete) == (10, 1, 51, False)
    assert report.recall is not None
    assert report.recall.minimum < report.recall.mean < 0.99
    assert report.warning == ""
    assert check_move(to, settings).target == 51


@pytest.mark.parametrize(("mean", "warned"), [(0.989, True), (0.99, False)])
def test_an_index_that_misses_too_much_is_warned_of(mean: float, warned: bool) -> None:
    """With what mends it; a move is complete all the same."""
    report = MoveReport("documents", source=9, target=9, documents=1, recall=Recall(mean, 0.5, 200))
    assert ("recall@10 of the index is 0.989, less than 0.99" in report.warning) == warned
    assert report.is_complete


def test_ties_are_as_good_as_each_other(tmp_path: Path, to: str) -> None:
    """Of thirty chunks with one vector any ten are the nearest."""
    settings = Settings(milvus_uri=str(tmp_path / "source.db"))
    with open_store(settings) as store:
        store.create(MADE_WITH, 64)
        write(store, make_chunks("a.md", *["the same"] * 30))
    report = move(to, settings, queries=5)
    assert (report.queries, report.to_json()["minimum_recall@10"]) == (5, 1.0)


@pytest.mark.parametrize("chunks", [0, 1, 4])
def test_little_is_moved_too(tmp_path: Path, to: str, chunks: int) -> None:
    """A collection of nothing, and one of less than ten chunks."""
    settings = Settings(milvus_uri=str(tmp_path / "source.db"))
    with open_store(settings) as store:
        store.create(MADE_WITH, 64)
        if chunks:
            write(store, make_chunks("a.md", *map(str, range(chunks))))
    report = move(to, settings)
    assert (report.target, report.queries) == (chunks, chunks)
    assert report.to_json()["recall@10"] == (1.0 if chunks else None)
    assert move(to, settings).is_complete


def test_the_recall_need_not_be_measured(settings: Settings, to: str) -> None:
    """No queries, no pass over the vectors."""
    report = move(to, settings, queries=0)
    assert (report.recall, report.warning, report.target) == (None, "", 60)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("target.txt", "--to: must be a path that ends in .db"),
        ("http://127.0.0.1:9", "no Milvus at http://127.0.0.1:9 .*mend --to"),
        ("http://host:99999999", "--to: .* is not an address"),
    ],
)
def test_a_wrong_target_names_its_option(settings: Settings, target: str, words: str) -> None:
    """Not the setting, which names the source."""
    with pytest.raises(RagChainError, match=words):
        move(target, settings)


@pytest.mark.parametrize(
    ("there", "own", "sent"),
    [
        ("other.db", None, None),
        ("source.db", None, "secret"),
        ("other.db", "its own", "its own"),
        ("source.db", "its own", "its own"),
    ],
)
def test_the_sources_token_goes_nowhere_else(
    settings: Settings, there: str, own: str | None, sent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target gets RAG_MOVE_TOKEN, or the same token where it is the same Milvus."""
    opened: list[Settings] = []

    def note(settings: Settings, **options: Any) -> Store:
        opened.append(settings)
        return open_store(settings, **options)

    monkeypatch.setattr(moving, "open_store", note)
    source = settings.with_changes(milvus_token="secret", move_token=own)
    move(str(Path(settings.milvus_uri).with_name(there)), source, collection="copy", queries=0)
    token = opened[1].milvus_token
    assert (token.get_secret_value() if token else None) == sent


@hypothesis_settings(deadline=None)
@given(st.lists(st.text(max_size=30)), st.integers(1, 100))
def test_rows_are_sent_in_messages_of_bounded_size(texts: list[str], most: int) -> None:
    """Each row in order, no message larger than a row that is too large alone, and none that could take the next."""
    rows = [{"text": text} for text in texts]
    batches = list(split_by_bytes(rows, most))
    assert [row for batch in batches for row in batch] == rows
    sizes = [sum(len(row["text"].encode()) for row in batch) for batch in batches]
    assert all(size <= most or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
    firsts = [len(batch[0]["text"].encode()) for batch in batches[1:]]
    assert all(size + first > most for size, first in zip(sizes, firsts, strict=False))


@pytest.fixture
def commands(settings: Settings, provider: FireworksServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let commands find the source; no model may be asked."""
    monkeypatch.setenv("MILVUS_URI", settings.milvus_uri)
    yield
    assert provider.requests == []


@pytest.mark.usefixtures("commands")
def test_the_command_reports(to: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As one JSON document, or in words; a comparison says the same."""
    assert main(["move", "--to", to, "--json"]) == 0
    captured = capsys.readouterr()
    assert (json.loads(captured.out)["chunks"]["copied"], captured.err) == (60, "")
    assert main(["move", "--to", to, "--check-only"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("source: 60 chunks of 12 documents\ntarget: 60 chunks; 0 copied, 60 were there\n")
    assert "recall@10 against exact search: 1.0000" in captured.out
    assert captured.err == ""


@pytest.mark.usefixtures("commands")
def test_the_command_names_both_collections(
    to: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """--collection is the target's, --from-collection or the setting the source's."""
    assert main(["move", "--to", to, "--collection", "faq", "--queries", "0"]) == 0
    assert main(["move", "--to", to, "--from-collection", "documents", "--queries", "0"]) == 0
    assert set(states_at(at(settings, to))) == {"documents__1"}
    assert set(states_at(at(settings, to, collection="faq"))) == {"faq__1"}
    monkeypatch.setenv("RAG_COLLECTION", "nothing")
    assert main(["move", "--to", to]) == 1
    assert "nothing has been ingested into 'nothing'" in capsys.readouterr().err


@pytest.mark.usefixtures("commands")
def test_a_difference_is_a_failure(settings: Settings, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, with what mends it."""
    assert main(["move", "--to", to, "--check-only"]) == 1
    assert "leave --check-only out" in capsys.readouterr().err
    assert not Path(to).exists()
    assert main(["move", "--to", to, "--queries", "0"]) == 0
    with open_store(at(settings, to)) as target:
        target.open_for(None, writing=True)
        target.remove({"3.md": ""})
    assert main(["move", "--to", to, "--check-only", "--queries", "0"]) == 1
    assert (
        "5 chunks of the source not there, 0 chunks there only: move it again with --replace" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--to", "x.db", "--keep-old"],
        ["--to", "x.db", "--check-only", "--replace"],
        ["--to", "x.db", "--queries", "-1"],
        ["--to", "x.db", "--wait", "soon"],
    ],
)
def test_wrong_usage_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 before anything is opened."""
    with pytest.raises(SystemExit) as stopped:
        main(["move", *arguments])
    assert stopped.value.code == 2
    assert "usage: rag-chain move" in capsys.readouterr().err

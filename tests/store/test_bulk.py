"""What has to be right before a bulk import begins; on a server it is tried in test_bulk_server.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from rag_chain import Settings, ingest, move
from rag_chain.cli import main
from rag_chain.errors import SettingsError
from rag_chain.store.collection import open_store
from rag_chain.store.objects import read_bucket
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fireworks_server import FireworksServer

SERVER = "http://127.0.0.1:9"
PLACE = "s3://milvus-files/some/where"
SECRET = "not-to-be-told"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A source of one document, and an object store at which nothing listens."""
    settings = Settings(
        milvus_uri=str(tmp_path / "source.db"),
        bulk_endpoint="http://127.0.0.1:9",
        bulk_access_key="somebody",
        bulk_secret_key=SECRET,
    )
    with open_store(settings) as store:
        store.create(FINGERPRINT, 64)
        write(store, make_chunks("a.md", "one", "two"))
    return settings


def test_milvus_lite_has_none(settings: Settings, tmp_path: Path, folder: Path, online: Settings) -> None:
    """Neither a move to it nor a rebuild there begins; nothing is made, and no model is asked."""
    with pytest.raises(SettingsError, match="Milvus Lite has no bulk import: leave --bulk out, or set --to to"):
        move(str(tmp_path / "target.db"), settings, bulk=PLACE)
    assert not (tmp_path / "target.db").exists()
    with pytest.raises(SettingsError, match="Milvus Lite has no bulk import: leave --bulk out, or set MILVUS_URI to"):
        ingest(folder, online, rebuild=True, bulk=PLACE)


def test_only_a_rebuild_by_the_local_engine_goes_by_one(folder: Path, online: Settings) -> None:
    """Into a collection that is there already every row would come a second time."""
    with pytest.raises(SettingsError, match="into a new collection only: rebuild"):
        ingest(folder, online, bulk=PLACE)
    with pytest.raises(SettingsError, match="for the local engine"):
        ingest(folder, online, rebuild=True, engine="ray", bulk=PLACE)


@pytest.mark.parametrize(
    ("place", "changes", "words"),
    [
        ("http://milvus-files/some", {}, "--bulk: .* write s3://BUCKET or s3://BUCKET/PREFIX"),
        ("milvus-files/some", {}, "--bulk: .* write s3://BUCKET or s3://BUCKET/PREFIX"),
        ("s3:///some", {}, "--bulk: .* write s3://BUCKET or s3://BUCKET/PREFIX"),
        (f"s3://key:{SECRET}@milvus-files", {}, "--bulk: .* write s3://BUCKET or s3://BUCKET/PREFIX"),
        (PLACE, {"bulk_endpoint": "127.0.0.1:9"}, "RAG_BULK_ENDPOINT: must be an http"),
        (PLACE, {"bulk_endpoint": f"http://key:{SECRET}@127.0.0.1:9"}, "RAG_BULK_ENDPOINT: must be an http"),
        (PLACE, {"bulk_endpoint": "http://127.0.0.1:9/path"}, "RAG_BULK_ENDPOINT: must be .* without a path"),
        (PLACE, {"bulk_access_key": None}, "set RAG_BULK_ACCESS_KEY and RAG_BULK_SECRET_KEY"),
        (PLACE, {"bulk_secret_key": None}, "set RAG_BULK_ACCESS_KEY and RAG_BULK_SECRET_KEY"),
    ],
)
def test_a_place_that_can_not_be_is_refused(
    settings: Settings, place: str, changes: dict[str, str | None], words: str
) -> None:
    """Before anything is connected to, with what mends it and without the secret."""
    with pytest.raises(SettingsError, match=words) as caught:
        move(SERVER, settings.with_changes(**changes), bulk=place)
    assert SECRET not in str(caught.value)


def test_without_its_packages_it_says_how_to_install_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are an extra."""
    monkeypatch.setitem(sys.modules, "pymilvus.bulk_writer", None)
    with pytest.raises(SettingsError, match=r"pip install 'rag-chain\[bulk\]'"):
        move(SERVER, settings, bulk=PLACE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["move", "--to", SERVER, "--bulk", PLACE, "--check-only"], "leave --replace, --wait and --bulk out"),
        (["ingest", ".", "--bulk", PLACE], "--bulk needs --rebuild"),
        (["ingest", ".", "--bulk", PLACE, "--rebuild", "--plan"], "goes with neither --plan nor --engine ray"),
        (["ingest", ".", "--bulk", PLACE, "--rebuild", "--engine", "ray"], "goes with neither --plan nor"),
    ],
)
def test_wrong_usage_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], provider: FireworksServer
) -> None:
    """With the usage's exit status."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_the_command_says_what_mends_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with the failure's exit status."""
    monkeypatch.setenv("MILVUS_URI", settings.milvus_uri)
    assert main(["move", "--to", str(tmp_path / "target.db"), "--bulk", PLACE]) == 1
    assert "Milvus Lite has no bulk import" in capsys.readouterr().err
    assert main(["move", "--to", SERVER, "--bulk", PLACE]) == 1
    assert "set RAG_BULK_ACCESS_KEY and RAG_BULK_SECRET_KEY" in capsys.readouterr().err


def test_the_place_says_no_key(settings: Settings) -> None:
    """Where it is printed, too."""
    shown = f"{read_bucket(settings, PLACE)!r} {read_bucket(settings, PLACE)}"
    assert "s3://milvus-files/some/where at http://127.0.0.1:9" in shown
    assert SECRET not in shown
    assert "somebody" not in shown

"""A real server that hangs, ends or comes back: each call ends in its time, with one line."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain import Settings, ingest
from rag_chain.cli import main
from rag_chain.errors import StoreError, StoreUnreachableError
from rag_chain.store.collection import Store
from rag_chain.store.links import Address
from rag_chain.store.vectorstore import ChunkStore
from tests.engines import environment_of, settle
from tests.fake_embeddings import FakeEmbeddings
from tests.milvus_server import ROOT_TOKEN, MilvusServer, running_milvus
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.server

# Frozen for 30 s the server would end by itself.
TIMEOUT = 2.0
# Connecting has a limit of its own, after a look at a connection that was not used for long.
CONNECT = 13.0
SPARE = 2.0


@pytest.fixture(scope="module")
def server(milvus_binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A server of this module's own, which may be frozen and killed."""
    folder = tmp_path_factory.mktemp("milvus")
    with running_milvus(MilvusServer(folder, milvus_binaries, authentication=True)) as server:
        yield server


@pytest.fixture
def address(server: MilvusServer) -> Address:
    """Where it is, with little patience."""
    return Address(server.uri, ROOT_TOKEN, timeout=TIMEOUT)


def failing(call: Callable[[], Any], seconds: float = TIMEOUT) -> str:
    """Return the one line with which a call ends within its time."""
    started = time.monotonic()
    with pytest.raises(StoreUnreachableError) as caught:
        call()
    assert time.monotonic() - started < seconds + SPARE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_server_that_is_killed_comes_back_with_everything(
    server: MilvusServer, address: Address, online: Settings, folder: Path
) -> None:
    """While it is away one line says so; what an ingest had acknowledged is there again, and the next one agrees."""
    settings = settle(online, address).with_changes(collection="killed")
    ingest(folder, settings)
    with Store(address, "killed") as store:
        server.kill()
        failing(store.exists)
        failing(store.count)
        server.start()
        assert store.exists()
    report = ingest(folder, settings)
    assert (len(report.unchanged), report.chunks_total) == (3, 4)


def test_a_server_that_hangs_is_cut_off(server: MilvusServer, address: Address) -> None:
    """Reading, writing, searching, taking the turn; and when it goes on, so do the same stores."""
    vector = FakeEmbeddings().embed_query("one")
    with Store(replace(address, timeout=30.0), "hanging") as patient:
        patient.create(FINGERPRINT, 64)
    with Store(address, "hanging") as store:
        write(store, make_chunks("a.md", "one"))
        store.flush()
        chunks = ChunkStore(store, FakeEmbeddings())
        calls: list[Callable[[], Any]] = [
            store.exists,
            store.count,
            store.catalogue,
            lambda: write(store, make_chunks("b.md", "two")),
            lambda: store.remove({"a.md": ""}),
            lambda: chunks.nearest(vector, 1),
            lambda: chunks.vectors(["x"]),
            lambda: store.take_turn().__enter__(),
            store.version,
        ]
        for call in calls:
            with server.frozen():
                assert failing(call).startswith("Milvus did not answer in time while ")
            wait_until_well(store)
        with server.frozen():
            assert "Milvus" in failing(lambda: Store(address, "hanging").exists(), CONNECT)
        wait_until_well(store)
        assert store.count() >= 1
        assert chunks.nearest(vector, 1)


def wait_until_well(store: Store) -> None:
    """Wait until the server has found out that it goes on."""
    for _ in range(100):
        with suppress(StoreError):
            store.count()
            return
        time.sleep(0.1)
    pytest.fail("the server does not go on")


@pytest.mark.usefixtures("provider")
def test_a_command_ends_in_one_line(
    server: MilvusServer, address: Address, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names what may be the matter."""
    for name, value in environment_of(address).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAG_STORE_TIMEOUT", str(TIMEOUT))
    with server.frozen():
        assert main(["search", "anything"]) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "see whether it hangs" in errors

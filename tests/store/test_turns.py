"""The turn of a collection: one holder among threads and processes, given back, left behind and lost."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from rag_chain.errors import StoreLockedError
from rag_chain.store import lease
from rag_chain.store.collection import Store
from rag_chain.store.lease import has_ended, name_process
from rag_chain.store.writing import CollectionWriter
from tests.processes import end, running
from tests.store.chunks import FINGERPRINT, embed, make_chunks

if TYPE_CHECKING:
    from pathlib import Path

    from rag_chain.store.links import Address
    from tests.engines import Engine
    from tests.store.conftest import OpenStore

HOLD = """
    from rag_chain.store.collection import Store
    from rag_chain.store.links import Address
    with Store(Address(*sys.argv[1:]), "documents") as store, store.take_turn():
        print("ready", flush=True)
        sys.stdin.readline()
"""


def place(address: Address) -> tuple[str, str, str]:
    return address.uri, address.token, address.database


def is_free(store: Store) -> bool:
    with store.try_turn() as free:
        return free


def test_one_thread_has_it_at_a_time(open_store: OpenStore) -> None:
    """However many want it at once, and all of them get it."""
    inside, most, done = [0], [0], []

    def work(number: int) -> None:
        with open_store().take_turn():
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            inside[0] -= 1
        done.append(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(12)))
    assert (most[0], sorted(done)) == (1, list(range(12)))


def test_another_process_keeps_it_until_it_ends(address: Address, open_store: OpenStore) -> None:
    """Meanwhile it is not free; afterwards nothing of it is left in Milvus."""
    with running(HOLD, *place(address)) as process:
        store = open_store()
        assert not is_free(store)
        end(process)
    assert is_free(store)
    assert open_store().client.list_collections() == []


def test_who_is_killed_leaves_it_at_once(address: Address, open_store: OpenStore) -> None:
    """On the same machine the next one does not wait."""
    with running(HOLD, *place(address)) as process:
        store = open_store()
        assert not is_free(store)
        process.kill()
        process.wait()
        assert is_free(store)
    assert open_store().client.list_collections() == []


def test_collections_have_turns_of_their_own(open_store: OpenStore) -> None:
    """A tenant does not wait for another."""
    with open_store("documents").take_turn():
        assert is_free(open_store("documents__t_acme"))
        assert not is_free(open_store("documents"))


@pytest.mark.server
def test_who_is_silent_on_another_machine_is_dropped(
    server_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After half a minute; who lives is waited for longer than that, and who was dropped writes no more."""
    monkeypatch.setattr(lease, "SILENCE_SECONDS", 1.5)
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(lease, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(lease, "has_ended", lambda _: False)
    with (
        server_engine.place(tmp_path) as address,
        Store(address, "documents") as store,
        Store(address, "documents") as other,
    ):
        store.create(FINGERPRINT, 64)
        lose_turn(store, other, monkeypatch)


def lose_turn(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the turn, stand still until somebody else has it, and go on."""
    silent = threading.Event()
    beat = lease.Lease._beat
    monkeypatch.setattr(lease.Lease, "_beat", lambda self, client: silent.is_set() or beat(self, client))
    writer = CollectionWriter(store, FINGERPRINT, rebuild=False)
    chunks = make_chunks("a.md", "one")
    with store.take_turn():
        claim = lease.Lease(other._milvus, "documents")
        for _ in range(30):
            assert not claim.try_take(), "it lives"
            time.sleep(0.1)
        writer.write(chunks, embed(chunks), {"a.md": 1})
        silent.set()
        claim.take()
        silent.clear()
        time.sleep(1)
        with pytest.raises(StoreLockedError, match="run it again"):
            writer.write(chunks, embed(chunks), {"a.md": 1})
        claim.release()


def test_processes_are_told_apart() -> None:
    """Who lives from who has ended, also where another got the number; of other machines nothing is known."""
    own = name_process()
    if not own:
        pytest.skip("only Linux tells enough about processes")
    assert not has_ended(own)
    assert has_ended(f"{own}0")
    assert has_ended(own.replace(f" {os.getpid()} ", " 4194305 "))
    assert not has_ended(f"elsewhere {own.partition(' ')[2]}")
    assert not has_ended("")

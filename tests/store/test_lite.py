"""One Milvus Lite path in several processes: shared, handed over, and safe when one of them is killed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymilvus import MilvusClient

from rag_chain.errors import StoreLockedError
from rag_chain.store import links
from rag_chain.store.collection import Store
from rag_chain.store.lite import NOTE, find_holder
from rag_chain.store.lite_server import Traffic
from rag_chain.store.vectorstore import ChunkStore
from tests.engines import Engine
from tests.fake_embeddings import FakeEmbeddings
from tests.processes import end, running
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from rag_chain.store.links import Address
    from tests.store.conftest import OpenStore

CALLERS = 8

HOLD = """
    from rag_chain.store.collection import Store
    from rag_chain.store.links import Address
    from tests.store.chunks import FINGERPRINT, make_chunks, write
    with Store(Address(sys.argv[1]), "documents") as store:
        if not store.exists():
            store.create(FINGERPRINT, 64)
        store.open_for(FINGERPRINT, writing=True)
        write(store, make_chunks("theirs.md", "one", "two"))
        print("ready", flush=True)
        sys.stdin.readline()
"""
HOLD_PLAINLY = """
    from pymilvus import MilvusClient
    client = MilvusClient(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="session")
def engine() -> Engine:
    """A path that one process holds is Milvus Lite's alone."""
    return Engine()


def test_two_processes_read_and_write(address: Address, open_store: OpenStore) -> None:
    """What the other process has written is read here, and what is written here is there when both have ended."""
    with running(HOLD, address.uri) as process:
        store = open_store()
        store.open_for(FINGERPRINT, writing=True)
        assert list(store.catalogue()) == ["theirs.md"]
        write(store, make_chunks("ours.md", "one"))
        store.close()
        end(process)
    reopened = open_store()
    reopened.open_for(FINGERPRINT, writing=True)
    assert sorted(reopened.catalogue()) == ["ours.md", "theirs.md"]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_a_store_outlives_the_process_that_serves_it(address: Address, open_store: OpenStore, *, killed: bool) -> None:
    """When that one ends, or is killed, the next call opens the path here; nothing is lost."""
    with running(HOLD, address.uri) as process:
        store = open_store()
        store.open_for(FINGERPRINT, writing=True)
        write(store, make_chunks("before.md", "one"))
        if killed:
            process.kill()
            process.wait()
        else:
            end(process)
        write(store, make_chunks("after.md", "one"))
        assert sorted(store.catalogue()) == ["after.md", "before.md", "theirs.md"]
    assert find_holder(address.uri) is not None, "served by this process now"


@pytest.mark.slow
def test_a_vector_store_outlives_the_process_that_serves_it(address: Address, open_store: OpenStore) -> None:
    """Whoever has opened one for long goes on searching when that process is killed."""
    with running(HOLD, address.uri) as process:
        store = open_store()
        store.open_for(FINGERPRINT, writing=False)
        chunks = ChunkStore(store, FakeEmbeddings())
        found = chunks.similarity_search("one", k=2)
        process.kill()
        process.wait()
        assert chunks.similarity_search("one", k=2) == found
        assert chunks.get_by_ids([str(document.id) for document in found]) == found
        assert chunks.max_marginal_relevance_search("one", k=1) == found[:1]


@pytest.mark.slow
def test_a_process_that_does_not_share_is_named(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that a plain client holds elsewhere is refused in one line that names the ways out."""
    monkeypatch.setattr(links, "LITE_SECONDS", 0.3)
    with running(HOLD_PLAINLY, address.uri):
        with pytest.raises(StoreLockedError, match=r"in use by another process.*MILVUS_URI") as caught:
            Store(address, "documents")
        assert "\n" not in str(caught.value)


def test_an_old_note_is_not_believed(store: Store, address: Address) -> None:
    """A note whose port is another server's by now does not lead there: it does not know the token."""
    note = Path(address.uri) / NOTE
    right = json.loads(note.read_text("utf-8"))
    assert find_holder(address.uri) is not None
    store.close()
    assert not note.exists()
    wrong_notes: list[object] = [{**right, "token": "0" * 32}, {"port": 1, "token": ""}, {"port": right["port"]}, []]
    for wrong in wrong_notes:
        note.write_text(json.dumps(wrong), "utf-8")
        assert find_holder(address.uri) is None
    note.write_text("{", "utf-8")
    assert find_holder(address.uri) is None


def test_the_note_is_for_its_user_only(store: Store, address: Address) -> None:
    """Nobody else on the machine can read it."""
    if sys.platform != "win32":
        assert (Path(address.uri) / NOTE).stat().st_mode & 0o077 == 0


def test_a_plain_client_of_this_process_shares_the_path(store: Store, address: Address) -> None:
    """Somebody's own MilvusClient works beside ours, whichever was opened first."""
    assert MilvusClient(address.uri).has_collection(store.name)
    store.close()
    plain = MilvusClient(address.uri)
    with Store(address, "documents") as ours:
        assert ours.exists()
    plain.close()


def test_writes_go_one_by_one() -> None:
    """A second writer waits until the first is done; readers do not."""
    traffic = Traffic()
    log: list[str] = []

    def write_too() -> None:
        with traffic.lane("Upsert")():
            log.append("second")

    with traffic.lane("Insert")():
        other = threading.Thread(target=write_too)
        other.start()
        with traffic.lane("Search")():
            log.append("read")
        other.join(0.05)
        log.append("first")
    other.join()
    assert log == ["read", "first", "second"]


@pytest.mark.parametrize("call", ["DropCollection", "Flush"])
def test_nothing_is_removed_while_it_is_read(call: str) -> None:
    """A collection is dropped, or its rows let go of, when the searches in it have ended; the next one waits."""
    traffic = Traffic()
    log: list[str] = []

    def drop() -> None:
        with traffic.lane(call)():
            log.append("dropped")

    with traffic.lane("Search")():
        other = threading.Thread(target=drop)
        other.start()
        other.join(0.05)
        log.append("found")
    other.join()
    with traffic.lane("Search")():
        log.append("found again")
    assert log == ["found", "dropped", "found again"]


OWN = """
    import os
    from dataclasses import replace
    from rag_chain.store.collection import Store
    from rag_chain.store.links import Address
    from tests.store.chunks import FINGERPRINT, make_chunks, write
    store = Store(Address(sys.argv[1], hosted=True), "documents")
    store.create(FINGERPRINT, 64)
    write(store, make_chunks("theirs.md", "one", "two"))
    print("ready", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), 9)
"""


def test_a_host_serves_the_path_and_gives_it_back(address: Address) -> None:
    """With much to write Milvus Lite runs in a process of its own; what was written is there after it."""
    with Store(replace(address, hosted=True), "documents") as store:
        store.create(FINGERPRINT, 64)
        write(store, make_chunks("a.md", "one", "two"))
        assert store.arguments["uri"] == find_holder(address.uri)
    assert not (Path(address.uri) / NOTE).exists()
    with Store(address, "documents") as again:
        again.open_for(FINGERPRINT, writing=True)
        assert list(again.catalogue()) == ["a.md"]


def test_a_path_that_is_held_gets_no_host(store: Store, address: Address) -> None:
    """Whoever holds it serves it."""
    with Store(replace(address, hosted=True), "documents") as second:
        assert second.arguments == store.arguments
        assert second.exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")
def test_a_host_ends_with_its_owner(address: Address) -> None:
    """Also when the owner is killed; nothing is lost."""
    with running(OWN, address.uri) as process:
        process.communicate("\n", timeout=30)
    with Store(address, "documents") as store:
        store.open_for(FINGERPRINT, writing=True)
        assert list(store.catalogue()) == ["theirs.md"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the host in /proc")
def test_a_store_outlives_its_host(address: Address) -> None:
    """When the host is killed, the next call starts another one."""
    with Store(replace(address, hosted=True), "documents") as store:
        store.create(FINGERPRINT, 64)
        write(store, make_chunks("before.md", "one"))
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            if address.uri.encode() in process.read_bytes():
                os.kill(int(process.parent.name), signal.SIGKILL)
        write(store, make_chunks("after.md", "one"))
        assert sorted(store.catalogue()) == ["after.md", "before.md"]


def test_callers_that_meet_at_a_closed_collection_open_it_once(
    store: Store, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill the first calls, whatever they are, meet one collection: two would write over each other's log.

    A copy of the path while it is open is what kill -9 leaves.
    """
    from milvus_lite.engine import collection as vendor

    def recover_slowly(**options: Any) -> Any:
        time.sleep(next(seconds))
        return recover(**options)

    seconds = itertools.count(0.1, 0.1)
    recover = vendor.execute_recovery
    monkeypatch.setattr(vendor, "execute_recovery", recover_slowly)
    write(store, make_chunks("before.md", "one"))
    killed = copy_of(address, tmp_path / "killed.db")

    def call(number: int) -> None:
        with Store(killed, "documents") as ours:
            meet.wait()
            ours.open_for(FINGERPRINT, writing=True)
            write(ours, make_chunks(f"{number}.md", "one"))
            done.wait()

    meet, done = threading.Barrier(CALLERS, timeout=60), threading.Barrier(CALLERS + 1, timeout=60)
    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(call, number) for number in range(CALLERS)]
        done.wait()
        killed_again = copy_of(killed, tmp_path / "killed_again.db")
        for ended in calls:
            ended.result()
    with Store(killed_again, "documents") as left:
        left.open_for(FINGERPRINT, writing=True)
        assert sorted(left.catalogue()) == [*(f"{number}.md" for number in range(CALLERS)), "before.md"]


def copy_of(address: Address, path: Path) -> Address:
    """Copy an open path as kill -9 would leave it; only a note of the process that serves the other is missing."""
    shutil.copytree(address.uri, path, ignore=shutil.ignore_patterns(NOTE))
    return replace(address, uri=str(path))

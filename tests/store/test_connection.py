"""Connections to Milvus: opened, shared, given back, and honest about why they can't be had."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pymilvus
import pytest
from pymilvus.client.connection_manager import ConnectionManager

from rag_chain.errors import ConnectionLostError, RagChainError, SettingsError, StoreError, StoreUnreachableError
from rag_chain.settings import Settings
from rag_chain.store import collection
from rag_chain.store.collection import Store
from rag_chain.store.links import Address
from rag_chain.store.lite import release_lite
from rag_chain.store.vectorstore import ChunkStore
from tests.engines import Engine
from tests.fake_embeddings import FakeEmbeddings
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.store.conftest import OpenStore

ROOT = Path(__file__).parents[2]

READ = """
    from rag_chain.errors import StoreError
    from rag_chain.settings import Settings
    from rag_chain.store.collection import open_store
    try:
        with open_store(Settings(milvus_uri=sys.argv[1])) as store:
            store.open_for(None, writing=False)
            print(json.dumps(sorted(store.catalogue())))
    except StoreError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.fixture(scope="session")
def engine() -> Engine:
    """A path that one process holds is Milvus Lite's alone."""
    return Engine()


def run_python(code: str, *arguments: str, cwd: Path, **environment: str) -> Any:
    """Run a script in a process of its own and return the JSON that it prints."""
    script = cwd / "script.py"
    script.write_text(f"import json, os, sys\n{textwrap.dedent(code)}", "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def is_free(address: Address) -> bool:
    """Whether a new Milvus Lite can take the path, as another process would."""
    from milvus_lite.db import MilvusLite
    from milvus_lite.exceptions import DataDirLockedError

    try:
        MilvusLite(address.uri).close()
    except DataDirLockedError:
        return False
    return True


def test_a_store_can_be_reopened(store: Store, open_store: OpenStore) -> None:
    """What was written before closing is there after opening again."""
    write(store, make_chunks("a.md", "one", "two"))
    store.close()
    reopened = open_store()
    reopened.open_for(FINGERPRINT, writing=True)
    assert (reopened.count(), list(reopened.catalogue())) == (2, ["a.md"])


def test_closing_twice_is_fine(store: Store) -> None:
    """A connection is given back once."""
    store.close()
    store.close()


def test_the_last_store_gives_the_path_back(store: Store, open_store: OpenStore, address: Address) -> None:
    """As long as one store of this process is open the path is taken."""
    second = open_store("other")
    store.close()
    assert not is_free(address)
    assert not second.exists()
    second.close()
    assert is_free(address)


def test_a_forgotten_store_gives_the_path_back(address: Address) -> None:
    """A store that is garbage-collected is closed as well, from a thread of its own."""
    store = Store(address, "documents")
    store.__dict__["itself"] = store
    del store
    gc.collect()
    with Store(address, "documents") as other:
        other.create(FINGERPRINT, 64)
    for _ in range(1000):
        if is_free(address):
            break
        threading.Event().wait(0.01)
    assert is_free(address)


def test_all_paths_can_be_given_back_at_once(store: Store, address: Address) -> None:
    """A process that is told to stop closes every path, whoever has it open."""
    assert not is_free(address)
    release_lite()
    assert is_free(address)
    store.close()


def test_two_spellings_are_one_path(tmp_path: Path) -> None:
    """A path by another way, or through a link, is the same store and not a locked one."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    spellings = ["./test.db", str(tmp_path / "sub" / ".." / "test.db"), "link/test.db"]
    stores = [collection.open_store(Settings(milvus_uri=uri)) for uri in spellings]
    stores[0].create(FINGERPRINT, 64)
    stores[0].close()
    assert {store.address.uri for store in stores} == {str(tmp_path / "test.db")}
    assert stores[1].exists()
    stores[1].close()
    assert stores[2].exists()
    stores[2].close()


def test_the_folder_is_made(tmp_path: Path) -> None:
    """Folders above the path need not be there."""
    with collection.open_store(Settings(milvus_uri=str(tmp_path / "new" / "folder" / "test.db"))) as store:
        assert not store.exists()


def test_another_process_can_read_after_closing(store: Store, address: Address, tmp_path: Path) -> None:
    """What this process has written and closed, the next one finds."""
    write(store, make_chunks("a.md", "one"), make_chunks("b.md", "two"))
    store.close()
    assert run_python(READ, address.uri, cwd=tmp_path) == ["a.md", "b.md"]


def test_a_file_of_the_old_milvus_lite_is_refused(tmp_path: Path) -> None:
    """Version 2 kept a file where version 3 keeps a folder; the message says what to do, the file stays."""
    old = tmp_path / "old.db"
    old.write_bytes(b"SQLite format 3\0")
    with pytest.raises(StoreError, match=r"Milvus Lite 2.*move it away"):
        Store(Address(str(old)), "documents")
    assert old.read_bytes() == b"SQLite format 3\0"


def test_a_path_that_can_not_be_opened_is_refused(tmp_path: Path) -> None:
    """The reason and the setting are in the message."""
    blocked = tmp_path / "blocked.db"
    blocked.mkdir()
    (blocked / "LOCK").mkdir()
    with pytest.raises(StoreError, match="MILVUS_URI"):
        Store(Address(str(blocked)), "documents")


def test_a_refused_path_can_be_opened_later(tmp_path: Path) -> None:
    """A failure to open leaves nothing behind that is in the way."""
    path = tmp_path / "test.db"
    path.write_text("in the way", "utf-8")
    with pytest.raises(StoreError):
        Store(Address(str(path)), "documents")
    path.unlink()
    with Store(Address(str(path)), "documents") as store:
        assert not store.exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_server_that_is_not_there_is_unreachable(host: str) -> None:
    """Nothing listens, or there is no such host: the message names the address and the alternative."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://{host}:{unused.getsockname()[1]}"
        with pytest.raises(StoreUnreachableError, match=f"no Milvus at {uri}.*MILVUS_URI") as caught:
            collection.open_store(Settings(milvus_uri=uri))
    assert "\n" not in str(caught.value)


def test_a_server_that_says_nothing_is_unreachable() -> None:
    """Something that listens and is no Milvus is given up after the timeout."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(StoreUnreachableError, match="check MILVUS_URI and MILVUS_TOKEN"):
            collection.open_store(Settings(milvus_uri=uri, store_timeout=0.5))


def test_an_address_that_is_none_is_a_wrong_setting() -> None:
    """A port beyond 65,535 is told apart from a server that is down."""
    with pytest.raises(SettingsError, match=r"MILVUS_URI: .* is not an address"):
        collection.open_store(Settings(milvus_uri="http://localhost:99999"))


def test_settings_reach_the_connection() -> None:
    """Token and database are passed on; what is not set is not."""
    address = Address("http://h:1", "secret", "mine", timeout=5)
    limits = address.arguments().pop("grpc_options")
    assert json.loads(limits["grpc.service_config"]) == {"methodConfig": [{"name": [{}], "timeout": "15s"}]}
    assert Address("http://h:1", timeout=5).arguments() == {"uri": "http://h:1", "grpc_options": limits}
    known = {"uri": "http://h:1", "token": "secret", "db_name": "mine", "grpc_options": limits}
    assert address.arguments() == known
    assert address.arguments("http://h:2")["uri"] == "http://h:2"
    assert (address.is_lite, Address("/x/y.db").is_lite) == (False, True)


def test_store_errors_are_ours(store: Store) -> None:
    """A failing call says in one line what was being done."""
    store.client.drop_alias(store.name)
    with pytest.raises(RagChainError, match="Milvus failed while counting chunks: ") as caught:
        store.count()
    assert "\n" not in str(caught.value)


class Broken(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    """What a call raises whose connection broke."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "Socket closed"


def test_a_call_whose_connection_broke_is_made_once_more(store: Store) -> None:
    """Also where this process serves the path itself; what breaks twice is said, with gRPC's reason."""
    calls: list[int] = []

    def break_once(client: pymilvus.MilvusClient) -> list[str]:
        calls.append(1)
        if len(calls) == 1:
            raise Broken
        names: list[str] = client.list_collections()
        return names

    def break_always(_: pymilvus.MilvusClient) -> None:
        calls.append(1)
        raise Broken

    assert store.generations.current() in store.milvus.run("listing", break_once)
    with pytest.raises(ConnectionLostError, match=r"while listing \(UNAVAILABLE: Socket closed\): check MILVUS_URI"):
        store.milvus.run("listing", break_always)
    assert len(calls) == 4


@pytest.fixture(scope="module")
def seen_by_vendors(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process sees whose MILVUS_URI is a path, and whose virtual environment lies below a ``.env``."""
    project = tmp_path_factory.mktemp("project")
    (project / ".env").write_text("LEAKED=yes\nMILVUS_URI=./from-file.db\n", "utf-8")
    packages = project / "venv" / "lib"
    packages.mkdir(parents=True)
    (packages / "pymilvus").symlink_to(Path(pymilvus.__file__).parent, target_is_directory=True)
    code = """
        before = dict(os.environ)
        import rag_chain.store.collection, rag_chain.store.connection, rag_chain.store.vectorstore
        import pymilvus
        print(json.dumps({
            "from": pymilvus.__file__,
            "changed": {name: value for name, value in os.environ.items() if before.get(name) != value},
            "uri": os.environ["MILVUS_URI"],
        }))
    """
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    seen = run_python(code, cwd=elsewhere, MILVUS_URI="./x.db", PYTHONPATH=f"{packages}{os.pathsep}{ROOT}")
    assert seen["from"].startswith(str(packages))
    return seen


def test_a_path_in_the_environment_does_not_break_the_import(seen_by_vendors: Any) -> None:
    """The vendor refuses to be imported beside a MILVUS_URI that is a path; through our door it is not."""
    assert seen_by_vendors["uri"] == "./x.db"


def test_a_foreign_env_file_is_not_loaded(seen_by_vendors: Any) -> None:
    """The vendor loads any ``.env`` above its own folder; through our door nothing of it stays."""
    assert seen_by_vendors["changed"] == {}


def connections() -> Any:
    """What pymilvus knows of this process's connections."""
    return ConnectionManager.get_instance().get_stats()


def test_a_connection_is_ones_own_and_given_back(store: Store, address: Address) -> None:
    """A second store, LangChain's vector store and a client of pymilvus' own share no connection with the first."""
    write(store, make_chunks("a.md", "one"))
    before = connections()
    second = Store(address, "documents")
    chunks = ChunkStore(second, FakeEmbeddings())
    theirs = pymilvus.MilvusClient(store.arguments["uri"])
    now = connections()
    assert now["dedicated_connections"] == before["dedicated_connections"] + 2
    assert now["shared_connections"] == before["shared_connections"] + 1
    theirs.close()
    second.close()
    del chunks
    gc.collect()
    wait_until(lambda: connections()["dedicated_connections"] == before["dedicated_connections"])
    assert store.count() == 1


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_call_under_which_the_connection_is_closed_is_made_once_more(store: Store) -> None:
    """Another thread found it broken and opened it anew: the call that was on its way is made there."""
    write(store, make_chunks("a.md", "one"))
    calls: list[int] = []

    def be_overtaken(client: pymilvus.MilvusClient) -> list[str]:
        calls.append(1)
        if len(calls) == 1:
            with pytest.raises(ConnectionLostError):
                store.milvus.run("breaking", break_for_good)
        names: list[str] = client.list_collections()
        return names

    def break_for_good(_: pymilvus.MilvusClient) -> None:
        raise Broken

    assert store.generations.current() in store.milvus.run("listing", be_overtaken)
    assert len(calls) == 2


def test_the_vendor_is_left_as_it_is(tmp_path: Path) -> None:
    """Opening a store and a vector store changes no class and no function of pymilvus for the rest of the process."""
    code = """
        import inspect
        import rag_chain.settings
        import langchain_milvus, pymilvus, pymilvus.client.connection_manager

        def look():
            parts = {}
            for name, module in list(sys.modules.items()):
                if name.partition(".")[0] not in ("pymilvus", "langchain_milvus"):
                    continue
                for owner in [module, *(kind for kind in vars(module).values() if inspect.isclass(kind))]:
                    for part, value in list(vars(owner).items()):
                        if callable(value) or isinstance(value, (property, classmethod, staticmethod)):
                            parts[name, owner.__name__, part] = value
            return parts

        before = look()
        from rag_chain import Settings, build_chain, ingest
        settings = Settings(provider="local", milvus_uri=sys.argv[1])
        ingest(sys.argv[2], settings)
        build_chain(settings).invoke("Where do rows live?")
        after = look()
        print(json.dumps([len(before), [key for key in before if after.get(key) is not before[key]]]))
    """
    (tmp_path / "a.md").write_text("Rows live in segments.", "utf-8")
    seen, changed = run_python(code, str(tmp_path / "x.db"), str(tmp_path / "a.md"), cwd=tmp_path)
    assert seen > 1000
    assert changed == []

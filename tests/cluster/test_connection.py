"""What is refused before anything is sent to a cluster; none of it needs Ray."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import pytest

from rag_chain import Settings, ingest
from rag_chain.cli import main
from rag_chain.cluster.connection import Cluster
from rag_chain.errors import SettingsError
from tests.processes import read_line, running

if TYPE_CHECKING:
    from pathlib import Path

HERE = socket.gethostname()


def test_milvus_lite_is_refused_where_others_can_not_reach_it() -> None:
    """Each node would open a path of its own, and the rows be anywhere."""
    with pytest.raises(SettingsError, match=r"nodes on others \(worker-1\): set MILVUS_URI to a Milvus server"):
        Cluster(["node"] * 2, {HERE, "worker-1"}, 4).check_reach(on_lite=True)
    Cluster(["node"] * 2, {HERE, "worker-1"}, 4).check_reach(on_lite=False)
    Cluster(["node"] * 2, {HERE}, 4).check_reach(on_lite=True)


def test_without_ray_it_says_what_to_install(online: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written; where there is nothing to do, Ray is not needed."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"pip install 'rag-chain\[ray\]', or use --engine local"):
        ingest(folder, online, engine="ray")
    assert len(ingest(folder, online).added) == 3
    assert len(ingest(folder, online, engine="ray").unchanged) == 3


def test_an_address_needs_the_engine(capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that is named and not used is a mistake."""
    with pytest.raises(SystemExit) as ended:
        main(["ingest", "docs", "--ray-address", "auto"])
    assert ended.value.code == 2
    assert "--ray-address needs --engine ray" in capsys.readouterr().err


@pytest.mark.slow
def test_children_survive_beside_a_connection_to_milvus() -> None:
    """Ray starts its processes by fork; gRPC's own preparations for that made one of 200 abort before it began."""
    code = """
        import collections, subprocess, tempfile
        from rag_chain import Settings
        from rag_chain.settings import prepare_ray
        from rag_chain.store.collection import open_store

        prepare_ray(None)
        with tempfile.TemporaryDirectory() as folder:
            with open_store(Settings(milvus_uri=folder + "/test.db", provider="local"), hosted=True) as store:
                store.exists()
                ended = (subprocess.Popen(["true"], preexec_fn=dir).wait() for _ in range(1500))
                print("ready", flush=True)
                print(dict(collections.Counter(ended)), flush=True)
    """
    with running(code) as process:
        assert read_line(process) == "{0: 1500}"

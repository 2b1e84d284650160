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

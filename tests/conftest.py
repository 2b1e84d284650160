"""Fixtures that many tests share: an environment of their own, the loopback provider, a store in a folder."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rag_chain import ingest
from tests.corpus import leave_behind, settings_for, write_documents
from tests.engines import Engine, real_server, unpack_server
from tests.fireworks_server import FireworksServer
from tests.scheduling import make_scheduler, rank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

    from rag_chain.settings import Settings


def pytest_collection() -> None:
    """Before anything is imported: look for no garbage, which is a quarter of the time, and let slow machines be."""
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As shells start what runs in the background; the processes that the tests interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    from hypothesis import settings

    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """Look for garbage in what the tests make only: what was imported stays, and is most of what there is."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Share out as ``--dist loadfile`` does, but for the tests of long files, and in our order."""
    return make_scheduler(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Run every test in an empty folder, without the settings and proxies of whoever runs it."""
    leave_behind(monkeypatch, tmp_path, keep_key=request.node.get_closest_marker("live") is not None)


@pytest.fixture(scope="session")
def milvus_binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked Milvus server."""
    if given := os.environ.get("MILVUS_TEST_BINARIES"):
        return Path(given)
    return unpack_server(tmp_path_factory.mktemp("milvus-server"))


@pytest.fixture(scope="session")
def server_engine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A real Milvus server, for all tests that want one."""
    given = os.environ.get("MILVUS_TEST_URI")
    binaries = Path() if given else request.getfixturevalue("milvus_binaries")
    with real_server(tmp_path_factory.mktemp("milvus"), binaries) as engine:
        yield engine


@pytest.fixture(scope="session", params=["lite", pytest.param("server", marks=pytest.mark.server)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Milvus Lite, and with ``-m server`` a real server: what holds on one has to hold on the other."""
    if request.param == "lite":
        return Engine()
    server: Engine = request.getfixturevalue("server_engine")
    return server


@pytest.fixture
def fireworks(request: pytest.FixtureRequest) -> Iterator[FireworksServer]:
    """The loopback server that speaks the Fireworks API and remembers what it was asked.

    Where a test uses ``shared_fireworks`` too, it is that one, as new.
    """
    if "shared_fireworks" in request.fixturenames:
        shared: FireworksServer = request.getfixturevalue("shared_fireworks")
        shared.forget()
        yield shared
        return
    with FireworksServer() as server:
        yield server


@pytest.fixture
def online(fireworks: FireworksServer, tmp_path: Path) -> Settings:
    """Settings that use the loopback provider and a Milvus Lite of this test's own."""
    return settings_for(fireworks, tmp_path)


@pytest.fixture
def provider(fireworks: FireworksServer, monkeypatch: pytest.MonkeyPatch) -> FireworksServer:
    """Let commands, and processes that a test starts, find the loopback provider and a store in the test's folder."""
    monkeypatch.setenv("FIREWORKS_API_KEY", fireworks.key)
    monkeypatch.setenv("FIREWORKS_API_BASE", fireworks.base)
    monkeypatch.setenv("MILVUS_URI", "./test.db")
    monkeypatch.setenv("RAG_REQUEST_TIMEOUT", "10")
    return fireworks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three small documents."""
    return write_documents(tmp_path / "docs")


@pytest.fixture(scope="module")
def shared_fireworks() -> Iterator[FireworksServer]:
    """A loopback provider for all of a module that uses it; its tests take it through ``fireworks``."""
    with FireworksServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared(shared_fireworks: FireworksServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings over the three documents, for a module whose tests only ask."""
    place = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_behind(monkeypatch, place)
        settings = settings_for(shared_fireworks, place)
        ingest(write_documents(place / "docs"), settings)
    return settings


@pytest.fixture(scope="module")
def shared_address(shared: Settings) -> Iterator[str]:
    """The address of an app over the three documents, for all of a module."""
    from rag_chain import create_app
    from tests.serving import serving

    with serving(create_app(shared)) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[browser]'")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()

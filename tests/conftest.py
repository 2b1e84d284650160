"""Fixtures that many tests share: an environment of their own, the loopback provider, a store in a folder."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest

from rag_chain.settings import Settings, environment_name
from tests.fireworks_server import FireworksServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_collection() -> None:
    """Look for no garbage while everything is imported: that is a quarter of the time it takes."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage in what the tests make only: what was imported stays, and is most of what there is."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Run every test in an empty folder, without the settings and proxies of whoever runs it."""
    foreign = [environment_name(name) for name in Settings.model_fields]
    tracing = [name for name in os.environ if name.startswith(("LANGSMITH_", "LANGCHAIN_"))]
    for name in [*foreign, *tracing]:
        if not (name == "FIREWORKS_API_KEY" and request.node.get_closest_marker("live")):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fireworks() -> Iterator[FireworksServer]:
    """The loopback server that speaks the Fireworks API and remembers what it was asked."""
    with FireworksServer() as server:
        yield server


@pytest.fixture
def online(fireworks: FireworksServer, tmp_path: Path) -> Settings:
    """Settings that use the loopback provider and a Milvus Lite of this test's own."""
    return Settings(
        provider="fireworks",
        fireworks_api_key=fireworks.key,
        fireworks_api_base=fireworks.base,
        milvus_uri=str(tmp_path / "test.db"),
        request_timeout=20,
    )


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
    place = tmp_path / "docs"
    (place / "guide").mkdir(parents=True)
    (place / "guide" / "storage.md").write_text(
        "---\ntitle: Storage guide\n---\n# Storage\n\n## Where rows live\n\n"
        "Rows live in sealed segments on object storage. Metadata lives in etcd.\n\n"
        "## How to flush\n\nCall flush to seal the growing segments.\n",
        "utf-8",
    )
    (place / "bears.txt").write_text("Brown bears sleep through the winter. They eat salmon in autumn.\n", "utf-8")
    (place / "tides.html").write_text(
        "<html><head><title>Tides</title></head><body><h1>Tides</h1><p>The moon pulls the ocean, "
        "which makes the tides.</p></body></html>",
        "utf-8",
    )
    return place

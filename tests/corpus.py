"""Three small documents, and settings for a store of them behind the loopback provider."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rag_chain.settings import Settings, environment_name

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.fireworks_server import FireworksServer


def write_documents(place: Path) -> Path:
    """Write the documents into a new folder and return it."""
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


def settings_for(fireworks: FireworksServer, place: Path) -> Settings:
    """Return settings that use the loopback provider and a Milvus Lite in this folder."""
    return Settings(
        provider="fireworks",
        fireworks_api_key=fireworks.key,
        fireworks_api_base=fireworks.base,
        milvus_uri=str(place / "test.db"),
        request_timeout=20,
    )


def leave_behind(monkeypatch: pytest.MonkeyPatch, place: Path, *, keep_key: bool = False) -> None:
    """Go to an empty folder, without the settings and proxies of whoever runs the tests."""
    foreign = [environment_name(name) for name in Settings.model_fields]
    tracing = [name for name in os.environ if name.startswith(("LANGSMITH_", "LANGCHAIN_"))]
    for name in [*foreign, *tracing]:
        if not (name == "FIREWORKS_API_KEY" and keep_key):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(place)

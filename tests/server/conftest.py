"""What the tests of the doors share: an app over three ingested documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_chain import Settings, create_app, ingest
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def settings(online: Settings, tmp_path: Path) -> Settings:
    """Settings with keys and uploads of this test's own."""
    return online.with_changes(keys_file=tmp_path / "keys.json", upload_folder=tmp_path / "uploads")


@pytest.fixture
def address(settings: Settings, folder: Path) -> Iterator[str]:
    """The address of an app over three ingested documents."""
    ingest(folder, settings)
    with serving(create_app(settings)) as address:
        yield address

"""Four processes ingest into one collection at once: exact counts and no chunk twice, also when one is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain import Settings, build_retriever
from rag_chain.store.collection import open_store
from rag_chain.store.repair import take_inventory
from tests.engines import environment_of, settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rag_chain.store.links import Address
    from tests.engines import Engine
    from tests.fireworks_server import FireworksServer

pytestmark = pytest.mark.slow

PROCESSES, DOCUMENTS, SECTIONS = 4, 12, 4


@pytest.fixture
def address(engine: Engine, tmp_path: Path) -> Iterator[Address]:
    """An empty place."""
    with engine.place(tmp_path) as address:
        yield address


@pytest.fixture
def settings(address: Address, fireworks: FireworksServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings for this process and for those that it starts."""
    fireworks.latency, fireworks.dimensions = 0.05, 64
    given = {"FIREWORKS_API_KEY": fireworks.key, "FIREWORKS_API_BASE": fireworks.base, "RAG_EMBEDDING_BATCH": "8"}
    for name, value in {**given, **environment_of(address)}.items():
        monkeypatch.setenv(name, value)
    return settle(Settings(), address)


def write_folder(folder: Path, documents: int = DOCUMENTS, edition: str = "first") -> Path:
    """Write documents of as many chunks as sections; no two folders have a name or a text in common."""
    folder.mkdir(exist_ok=True)
    for number in range(documents):
        parts = [f"## Part {part}\n\n{folder.name} says {number}, {part}, {edition}.\n" for part in range(SECTIONS)]
        (folder / f"{folder.name}-{number}.md").write_text(f"# Page {number}\n\n" + "\n".join(parts), "utf-8")
    return folder


def start(*folders: Path) -> list[subprocess.Popen[bytes]]:
    """Start an ingest of each folder, all at once."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": os.environ}
    command = [sys.executable, "-m", "rag_chain", "ingest", "--json"]
    return [subprocess.Popen([*command, str(folder)], **pipes) for folder in folders]


def finish(processes: list[subprocess.Popen[bytes]]) -> list[dict[str, Any]]:
    """Return the processes' reports."""
    reports = []
    for process in processes:
        output, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors.decode()
        reports.append(json.loads(output))
    return reports


def check(settings: Settings, folders: dict[Path, int]) -> None:
    """Assert that the collection holds these folders' documents, each chunk once, and nothing else anywhere."""
    expected = {f"{folder.name}-{number}.md" for folder, documents in folders.items() for number in range(documents)}
    with open_store(settings) as store:
        store.open_for(None, writing=False)
        rows = store.read('id != ""', ["source"], list)
        assert {source: known.chunks for source, known in store.catalogue().items()} == dict.fromkeys(
            expected, SECTIONS
        )
        assert store.count() == len(rows) == len({row["id"] for row in rows}) == len(expected) * SECTIONS
        assert Counter(row["source"] for row in rows) == dict.fromkeys(expected, SECTIONS)
        assert not any(take_inventory(store, thorough=True).left_over)
        assert store.client.list_collections() == [f"{settings.collection}__1"]
    found = build_retriever(settings.with_changes(top_k=50)).invoke("Who says 3?")
    places = [(chunk.metadata["source"], chunk.metadata["start"]) for chunk in found]
    assert len(places) == len(set(places)) > 0


def test_the_same_folder_at_once(settings: Settings, tmp_path: Path) -> None:
    """One embeds it, the others find it done, and nobody writes anything twice; the same with a change."""
    folder = write_folder(tmp_path / "same")
    reports = finish(start(*[folder] * PROCESSES))
    assert sorted(report["documents"]["added"] for report in reports) == [0, 0, 0, DOCUMENTS]
    assert sum(report["chunks"]["embedded"] for report in reports) == DOCUMENTS * SECTIONS
    check(settings, {folder: DOCUMENTS})
    write_folder(folder, edition="second")
    reports = finish(start(*[folder] * PROCESSES))
    assert sorted(report["documents"]["changed"] for report in reports) == [0, 0, 0, DOCUMENTS]
    check(settings, {folder: DOCUMENTS})


def test_different_folders_at_once(settings: Settings, tmp_path: Path) -> None:
    """Each prunes what is gone from its own folder and nothing of the others'."""
    folders = [write_folder(tmp_path / f"folder{number}") for number in range(PROCESSES)]
    finish(start(*folders))
    check(settings, dict.fromkeys(folders, DOCUMENTS))
    for folder in folders[:2]:
        (folder / f"{folder.name}-{DOCUMENTS - 1}.md").unlink()
    reports = finish(start(*folders))
    assert [report["documents"]["removed"] for report in reports] == [1, 1, 0, 0]
    check(settings, dict(zip(folders, (DOCUMENTS - 1, DOCUMENTS - 1, DOCUMENTS, DOCUMENTS), strict=True)))


@pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does")
def test_one_of_them_is_killed(settings: Settings, tmp_path: Path) -> None:
    """Whichever of them has the turn: the others go on at once, and the same command completes what it began."""
    folders = [write_folder(tmp_path / f"folder{number}") for number in range(PROCESSES)]
    for round_ in range(3):
        processes = start(*folders)
        time.sleep(1.8 + 0.4 * round_)
        processes[round_].kill()
        processes[round_].communicate()
        finish([process for process in processes if process is not processes[round_]])
        finish(start(folders[round_]))
        check(settings, dict.fromkeys(folders, DOCUMENTS))
        for folder in folders:
            write_folder(folder, edition=f"edition {round_}")

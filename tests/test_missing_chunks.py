"""Chunks that somebody deleted past the ingest: the next ingest sees the hole and fills it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_chain import build_retriever, ingest, open_vector_store, plan_ingest
from rag_chain.diagnosis import diagnose
from rag_chain.store.collection import Store, open_store
from tests.corpus import settings_for
from tests.engines import settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rag_chain import Settings
    from rag_chain.ingestion.report import IngestReport
    from tests.engines import Engine
    from tests.fireworks_server import FireworksServer

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon")
REASON = "chunks of it were missing in the store"


@pytest.fixture
def settings(fireworks: FireworksServer, engine: Engine, tmp_path: Path) -> Iterator[Settings]:
    """A place for collections, and the loopback provider."""
    with engine.place(tmp_path) as address:
        yield settle(settings_for(fireworks, tmp_path), address)


@pytest.fixture
def sections(tmp_path: Path, settings: Settings) -> Path:
    """Two ingested documents; the long one has five chunks."""
    place = tmp_path / "docs"
    place.mkdir()
    (place / "long.md").write_text("\n\n".join(f"# {word}\n\nAbout {word} only." for word in WORDS), "utf-8")
    (place / "short.md").write_text("One section.", "utf-8")
    ingest(place, settings)
    return place


def lose(settings: Settings, *positions: int) -> None:
    """Delete chunks of the long document as pymilvus does for anybody."""
    with open_store(settings) as store:
        store.open_for(None, writing=True)
        store.client.delete(store.name, filter=f'source == "long.md" and position in {list(positions)}')
        store.flush()


def in_store(settings: Settings) -> list[int]:
    """Return the positions of the long document's chunks that can be found."""
    with open_vector_store(settings) as store:
        found = store.similarity_search("about", k=20, filter={"source": "long.md"})
    return sorted(chunk.metadata["position"] for chunk in found)


def counts(report: IngestReport) -> tuple[list[str], list[str], int, int, int]:
    return report.changed, report.unchanged, report.chunks_embedded, report.chunks_deleted, report.chunks_total


@pytest.mark.parametrize("positions", [[1], [4], [1, 2, 3, 4]], ids=str)
def test_a_hole_is_seen_and_filled(
    settings: Settings, fireworks: FireworksServer, sections: Path, positions: list[int]
) -> None:
    """The plan names the document and why; only the missing text is embedded; then there is nothing to do."""
    lose(settings, *positions)
    fireworks.forget()
    expected = (["long.md"], ["short.md"], len(positions), 0, 6)
    planned = plan_ingest(sections, settings)
    assert counts(planned) == expected
    assert planned.reasons == {"long.md": REASON}
    report = ingest(sections, settings)
    assert counts(report) == expected
    assert report.as_planned
    assert report.reasons == {"long.md": REASON}
    texts = [text for request in fireworks.embedding_requests for text in request.body["input"]]
    assert sorted(word for word in WORDS if any(f"About {word}" in text for text in texts)) == sorted(
        WORDS[position] for position in positions
    )
    assert in_store(settings) == [0, 1, 2, 3, 4]
    assert counts(ingest(sections, settings)) == ([], ["long.md", "short.md"], 0, 0, 6)


def test_a_lost_record_is_a_new_document(settings: Settings, sections: Path) -> None:
    """Without its first chunk the catalogue does not know it; the other chunks keep their vectors."""
    lose(settings, 0)
    report = ingest(sections, settings)
    assert (report.added, report.unchanged, report.chunks_embedded) == (["long.md"], ["short.md"], 1)
    assert in_store(settings) == [0, 1, 2, 3, 4]


def test_a_document_that_is_lost_whole_is_new(settings: Settings, sections: Path) -> None:
    """Nothing of it is there to be counted."""
    lose(settings, 0, 1, 2, 3, 4)
    assert ingest(sections, settings).added == ["long.md"]
    assert in_store(settings) == [0, 1, 2, 3, 4]


def test_a_hole_beside_orphans_is_seen(settings: Settings, sections: Path, tmp_path: Path) -> None:
    """As many chunks may be left over of another document as are missing of this one, less one."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "other.md").write_text("# one\n\nOne.\n\n# two\n\nTwo.\n\n# three\n\nThree.", "utf-8")
    ingest(tmp_path / "other", settings)
    with open_store(settings) as store:
        store.open_for(None, writing=True)
        store.client.delete(store.name, filter='source == "other.md" and position == 0')
        store.flush()
    lose(settings, 3)
    report = ingest(sections, settings, prune=False)
    assert report.changed == ["long.md"]
    assert in_store(settings) == [0, 1, 2, 3, 4]


def test_a_document_elsewhere_is_left_alone(settings: Settings, sections: Path, tmp_path: Path) -> None:
    """It was not read, so it can't be filled; it is not removed either, and ``doctor`` names it."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "other.md").write_text("Other.", "utf-8")
    lose(settings, 2)
    report = ingest(tmp_path / "other", settings)
    assert (report.added, report.changed, report.removed) == (["other.md"], [], [])
    given = {name: getattr(settings, name) for name in ("milvus_uri", "milvus_token", "milvus_db_name")}
    (check,) = [c for c in diagnose({**given, "provider": "local"})["checks"] if c["name"] == "incomplete documents"]
    assert not check["ok"]
    assert "long.md" in check["detail"]
    assert "rag-chain ingest PATH" in check["mend"]


def test_a_hole_in_a_changed_document_is_no_other_case(settings: Settings, sections: Path) -> None:
    """The new version is ingested whole, and what was left of the old one removed."""
    lose(settings, 1)
    text = (sections / "long.md").read_text("utf-8")
    (sections / "long.md").write_text(text + "\n\n# zeta\n\nAbout zeta only.", "utf-8")
    report = ingest(sections, settings)
    assert (report.changed, report.chunks_embedded, report.chunks_deleted, report.chunks_total) == (
        ["long.md"],
        2,
        4,
        7,
    )
    assert in_store(settings) == [0, 1, 2, 3, 4, 5]


def test_where_nothing_is_missing_one_count_is_all(
    settings: Settings, sections: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unchanged ingest reads the records and no other chunk."""
    read: list[str] = []
    original = Store.read

    def spy(self: Store, expression: str, *rest: object, **more: object) -> object:
        read.append(expression)
        return original(self, expression, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "read", spy)
    ingest(sections, settings)
    assert read == ["chunks > 0"]


def test_questions_are_answered_while_there_is_a_hole(settings: Settings, sections: Path) -> None:
    """A chunk less is no error for a reader."""
    lose(settings, 1)
    assert build_retriever(settings).invoke("gamma")[0].metadata["source"] == "long.md"

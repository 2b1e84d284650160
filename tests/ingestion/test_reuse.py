"""No text is embedded twice: what an ingest takes from the store instead of from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_chain.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ingestion.conftest import Library


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    """A folder with one page of ten sections."""
    folder = tmp_path / "guide"
    folder.mkdir()
    write_page(folder / "page.md", {})
    return folder


def write_page(path: Path, changed: dict[int, str]) -> None:
    parts = [f"## Part {n}\n\n{changed.get(n, f'Part {n} is about the number {n}.')}\n" for n in range(10)]
    path.write_text("# Page\n\n" + "\n".join(parts), "utf-8")


def test_a_changed_document_embeds_its_changed_chunks_only(library: Library, guide: Path) -> None:
    """One section of ten is rewritten: one text is embedded, nine vectors are taken over, nothing stale stays."""
    library.ingest(guide)
    write_page(guide / "page.md", {3: "Something else entirely."})
    report = library.ingest(guide)
    assert (report.changed, report.chunks_embedded, report.chunks_reused) == (["page.md"], 1, 9)
    assert library.store.count() == 10
    assert "Something else entirely." in library.texts()
    assert "about the number 3." not in library.texts()


def test_an_inserted_section_moves_the_others_for_free(library: Library, guide: Path) -> None:
    """Positions and offsets change, texts do not."""
    library.ingest(guide)
    page = guide / "page.md"
    page.write_text(page.read_text("utf-8").replace("## Part 1", "## New\n\nNew words.\n\n## Part 1"), "utf-8")
    report = library.ingest(guide)
    assert (report.chunks_embedded, report.chunks_reused) == (1, 10)


def test_a_renamed_document_embeds_nothing(library: Library, guide: Path) -> None:
    """The new name takes the vectors of the old one over, and the old one is removed."""
    library.ingest(guide)
    (guide / "page.md").rename(guide / "renamed.md")
    report = library.ingest(guide)
    assert (report.added, report.removed, report.chunks_embedded) == (["renamed.md"], ["page.md"], 0)
    assert {row["source"] for row in library.rows()} == {"renamed.md"}


def test_a_moved_folder_embeds_nothing(library: Library, guide: Path) -> None:
    """The documents keep their names under the new root."""
    library.ingest(guide)
    report = library.ingest(guide.rename(guide.with_name("moved")))
    assert (report.chunks_embedded, report.chunks_reused, library.store.count()) == (0, 10, 10)


def test_a_copy_embeds_nothing(library: Library, guide: Path) -> None:
    """A second document with the same bytes has the same vectors."""
    library.ingest(guide)
    (guide / "copy.md").write_bytes((guide / "page.md").read_bytes())
    report = library.ingest(guide)
    assert (report.added, report.chunks_embedded, library.store.count()) == (["copy.md"], 0, 20)


def test_copies_that_come_together_are_embedded_once(library: Library, guide: Path) -> None:
    """Whether the first has its vectors already or they are on their way; the plan knows it, too."""
    page = (guide / "page.md").read_bytes()
    for number in range(8):
        (guide / f"copy{number}.md").write_bytes(page)
    library.embeddings.batch_size = 4
    planned = library.preview(library.plan(guide))
    report = library.ingest(guide)
    assert (report.chunks_embedded, report.chunks_reused) == (10, 80)
    assert (planned.chunks_embedded, planned.chunks_reused) == (10, 80)
    rows = library.rows()
    assert len({row["id"] for row in rows}) == len(rows) == 90


def test_vectors_are_taken_over_unchanged(library: Library, guide: Path) -> None:
    """A vector that was taken over is the one that the model gave."""
    library.ingest(guide)
    write_page(guide / "page.md", {3: "Something else entirely."})
    library.ingest(guide)
    found = library.store.client.query(library.store.name, filter='heading like "%Part 5%"', output_fields=["dense"])
    (expected,) = (text for text in library.embeddings.texts if "number 5" in text)
    assert np.allclose(found[0]["dense"], library.embeddings.embed_documents([expected])[0], atol=1e-6)


def test_what_was_embedded_before_a_failure_is_not_embedded_again(library: Library, guide: Path) -> None:
    """The batches before the failure are kept, also those of a document that is not complete."""
    library.embeddings.fails_after = 1
    with pytest.raises(ModelError):
        library.ingest(guide)
    assert library.catalogue() == {}
    library.embeddings.fails_after = None
    report = library.ingest(guide)
    assert report.chunks_embedded + report.chunks_reused == 10
    # The document's first chunk is its record and could not be written yet.
    assert report.chunks_reused == library.embeddings.batch_size - 1
    assert len(library.catalogue()) == 1


def test_a_rebuild_takes_nothing_over(library: Library, guide: Path) -> None:
    """Building anew means asking the model anew."""
    library.ingest(guide)
    report = library.ingest(guide, rebuild=True)
    assert (report.chunks_embedded, report.chunks_reused) == (10, 0)

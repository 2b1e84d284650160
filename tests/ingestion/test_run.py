"""An ingest brings the collection in step with the documents, cheaply, and survives what goes wrong on the way."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from rag_chain.errors import DocumentError, ModelError, NoDocumentsError
from rag_chain.ingestion.writing import ROWS_PER_WRITE
from tests.documents.samples import build_pdf
from tests.ingestion.conftest import Library, long_text

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    'say "hi".md',
    "it's.md",
    "back\\slash.md",
    '" or id != ".md',
    "new\nline.md",
    "日本語 😀.md",
    "100%_*[a].md",
]


def write_zip(path: Path, **files: str) -> None:
    with ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.md", text)


def break_off(library: Library, docs: Path) -> None:
    """Let the model fail once, after a part of the last document was written."""
    (docs / "z_big.txt").write_text(long_text("eels", 8 * ROWS_PER_WRITE), "utf-8")
    library.embeddings.batch_size = 50
    library.embeddings.fails_after = ROWS_PER_WRITE // 50 + 2
    with pytest.raises(ModelError):
        library.ingest(docs)
    library.embeddings.fails_after = None


def test_documents_go_in(library: Library, docs: Path) -> None:
    """Every document is listed under its path, with its chunks, in the order of their positions."""
    report = library.ingest(docs)
    assert sorted(report.added) == sorted(library.catalogue()) == ["bears.md", "long.txt", "sub/tides.txt"]
    rows = [row for row in library.rows() if row["source"] == "long.txt"]
    assert [row["position"] for row in rows] == list(range(len(rows)))
    assert [row["chunks"] for row in rows] == [len(rows)] + [0] * (len(rows) - 1)
    assert len(rows) > 2


def test_what_is_embedded_carries_the_title_and_what_is_stored_does_not(library: Library, docs: Path) -> None:
    """The model sees title and headings above the text; the store holds the text."""
    library.ingest(docs / "sub", docs / "bears.md")
    assert library.embeddings.texts == [
        "tides\nThe moon pulls the ocean.",
        "Bears\n# Bears\n\nBrown bears sleep in winter.",
    ]
    assert [row["text"] for row in library.rows()] == [
        "# Bears\n\nBrown bears sleep in winter.",
        "The moon pulls the ocean.",
    ]


def test_a_second_run_embeds_nothing(library: Library, docs: Path) -> None:
    """Unchanged documents cost nothing, and stay as they are."""
    first = library.ingest(docs)
    before = library.rows()
    report = library.ingest(docs)
    assert (report.chunks_embedded, report.requests, report.tokens) == (0, 0, 0)
    assert (len(report.unchanged), report.chunks_reused) == (3, first.chunks_embedded)
    assert library.rows() == before


def test_a_new_time_stamp_is_no_change(library: Library, docs: Path) -> None:
    """Only the content counts."""
    library.ingest(docs)
    for path in (docs / "bears.md", docs / "long.txt"):
        os.utime(path, (1, 1))
    assert library.ingest(docs).chunks_embedded == 0


def test_a_changed_document_replaces_its_chunks(library: Library, docs: Path) -> None:
    """Nothing of what it held before can be found any more."""
    library.ingest(docs)
    held = library.catalogue()["long.txt"].chunks
    (docs / "long.txt").write_text("Eels swim to the sea.\n", "utf-8")
    report = library.ingest(docs)
    assert (report.changed, report.added, len(report.unchanged)) == (["long.txt"], [], 2)
    assert (report.chunks_embedded, report.chunks_deleted) == (1, held)
    assert library.catalogue()["long.txt"].chunks == 1
    assert "salmon" not in library.texts()


def test_a_document_that_changes_back_is_as_it_was(library: Library, docs: Path) -> None:
    """The same content gives the same chunks again."""
    library.ingest(docs)
    before = library.rows()
    (docs / "long.txt").write_text("Eels swim to the sea.\n", "utf-8")
    library.ingest(docs)
    (docs / "long.txt").write_text(long_text("salmon"), "utf-8")
    library.ingest(docs)
    assert library.rows() == before


def test_a_text_that_is_refused_takes_its_document_along(library: Library, docs: Path) -> None:
    """A document with a text that the model refuses is refused with the reason; the others go in whole."""
    (docs / "poison.txt").write_text(f"{long_text('wine', 40)} arsenic {long_text('beer', 40)}", "utf-8")
    library.embeddings.refuses = "arsenic"
    report = library.ingest(docs)
    (refused,) = report.refused
    assert refused.source == "poison.txt"
    assert "told to" in refused.reason
    assert report.differences == {"added": (4, 3), "refused": (0, 1)}
    assert {row["source"] for row in library.rows()} == {"bears.md", "long.txt", "sub/tides.txt"}
    library.embeddings.refuses = ""
    assert library.ingest(docs).added == ["poison.txt"]


def test_what_was_written_of_a_refused_document_is_taken_back(library: Library, docs: Path) -> None:
    """Its chunks before the refused text may be in the store already; they do not stay there."""
    (docs / "a_poison.txt").write_text(f"{long_text('wine', 8 * ROWS_PER_WRITE)} arsenic", "utf-8")
    library.embeddings.refuses = "arsenic"
    assert [refused.source for refused in library.ingest(docs).refused] == ["a_poison.txt"]
    assert {row["source"] for row in library.rows()} == {"bears.md", "long.txt", "sub/tides.txt"}


def test_a_changed_document_that_is_refused_stays_as_it_was(library: Library, docs: Path) -> None:
    """Its old text still answers."""
    library.ingest(docs)
    before = library.rows()
    (docs / "long.txt").write_text(f"{long_text('salmon')} arsenic {long_text('eels')}", "utf-8")
    library.embeddings.refuses = "arsenic"
    assert [refused.source for refused in library.ingest(docs).refused] == ["long.txt"]
    assert library.rows() == before


def test_a_removed_document_is_pruned(library: Library, docs: Path) -> None:
    """Its chunks go, and the report says so."""
    library.ingest(docs)
    held = library.catalogue()["long.txt"].chunks
    (docs / "long.txt").unlink()
    report = library.ingest(docs)
    assert (report.removed, report.chunks_deleted, report.chunks_embedded) == (["long.txt"], held, 0)
    assert sorted(library.catalogue()) == ["bears.md", "sub/tides.txt"]
    assert "salmon" not in library.texts()


def test_without_pruning_nothing_is_removed(library: Library, docs: Path) -> None:
    """``prune=False`` keeps what is not there any more."""
    library.ingest(docs)
    (docs / "long.txt").unlink()
    assert library.ingest(docs, prune=False).removed == []
    assert "long.txt" in library.catalogue()


def test_a_document_that_is_refused_now_keeps_its_chunks(library: Library, docs: Path) -> None:
    """What can't be read today is not gone: too large, binary, or with nothing in it."""
    library.ingest(docs)
    (docs / "long.txt").write_text("x" * (library.settings.max_file_bytes + 1), "utf-8")
    (docs / "sub" / "tides.txt").write_bytes(bytes(range(32)) * 40)
    (docs / "bears.md").write_text("\n\n", "utf-8")
    before = library.rows()
    report = library.ingest(docs)
    assert sorted(refused.source for refused in report.refused) == ["bears.md", "long.txt", "sub/tides.txt"]
    assert (report.removed, report.changed, library.rows()) == ([], [], before)


def test_scans_are_refused_as_such(library: Library, docs: Path) -> None:
    """A PDF without a text layer says how many pages it has, and what mends it."""
    (docs / "scan.pdf").write_bytes(build_pdf(["", ""]))
    (refused,) = library.ingest(docs).refused
    expected = "there is no text in it: its pages, 2 of them, are images; have their text recognized first"
    assert (refused.source, refused.reason) == ("scan.pdf", expected)


def test_documents_without_text_are_refused(library: Library, docs: Path) -> None:
    """They are named with the reason, and the others go in."""
    (docs / "blank.txt").write_text(" \n\n", "utf-8")
    report = library.ingest(docs)
    assert [(refused.source, refused.reason) for refused in report.refused] == [("blank.txt", "there is no text in it")]
    assert len(report.added) == len(library.catalogue()) == 3


def test_a_document_that_changes_while_it_is_read_is_refused(library: Library, docs: Path) -> None:
    """Its version would not be that of its chunks; the next run takes it."""
    plan = library.plan(docs)
    (docs / "bears.md").write_text("# Bears\n\nBlack bears climb trees.\n", "utf-8")
    report = library.run(plan)
    assert [(refused.source, "changed while" in refused.reason) for refused in report.refused] == [("bears.md", True)]
    assert library.ingest(docs).added == ["bears.md"]


def test_files_of_other_types_are_skipped(library: Library, docs: Path) -> None:
    """They are no documents, and no reason to complain."""
    (docs / "photo.jpg").write_bytes(b"\xff\xd8")
    report = library.ingest(docs)
    assert ([skipped.source for skipped in report.skipped], report.refused) == (["photo.jpg"], [])


def test_hostile_names_are_only_names(library: Library, docs: Path) -> None:
    """Documents can be added, changed and removed whatever their names hold."""
    for name in HOSTILE:
        (docs / name).write_text(f"{name} holds salmon.", "utf-8")
    library.ingest(docs)
    assert set(HOSTILE) < library.catalogue().keys()
    for name in HOSTILE:
        (docs / name).write_text("Now it holds eels.", "utf-8")
    assert sorted(library.ingest(docs).changed) == sorted(HOSTILE)
    for name in HOSTILE:
        (docs / name).unlink()
    assert sorted(library.ingest(docs).removed) == sorted(HOSTILE)
    assert len(library.catalogue()) == 3


def test_batches_run_across_documents(library: Library, tmp_path: Path) -> None:
    """Ten documents of one chunk are two requests for eight texts at most, and not ten."""
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text(f"Document number {number}.", "utf-8")
    report = library.ingest(*(tmp_path / f"{number}.txt" for number in range(10)))
    assert [len(batch) for batch in library.embeddings.batches] == [8, 2]
    assert report.requests == math.ceil(report.chunks_embedded / library.embeddings.batch_size) == 2


def test_many_chunks_are_written_in_groups(library: Library, tmp_path: Path) -> None:
    """Documents of more chunks than one write takes, and many small ones, are all complete."""
    library.embeddings.batch_size = 100
    (tmp_path / "big.txt").write_text(long_text("eels", 2 * ROWS_PER_WRITE), "utf-8")
    (tmp_path / "bigger.txt").write_text(long_text("salmon", 8 * ROWS_PER_WRITE), "utf-8")
    (tmp_path / "small.txt").write_text("Small.", "utf-8")
    report = library.ingest(*(tmp_path / f"{name}.txt" for name in ("big", "bigger", "small")))
    assert report.chunks_embedded == len(library.rows()) > ROWS_PER_WRITE
    assert report.added == ["big.txt", "bigger.txt", "small.txt"]
    assert sum(stored.chunks for stored in library.catalogue().values()) == report.chunks_embedded


def test_progress_counts_up_to_the_end(library: Library, docs: Path) -> None:
    """It begins before anything is read, never goes back and ends with all chunks."""
    library.embeddings.batch_size = 1
    report = library.ingest(docs)
    chunks = [progress.chunks for progress in library.progress]
    assert chunks == list(range(report.chunks_embedded + 1))
    assert {progress.total for progress in library.progress} == {3}
    assert library.progress[-1].tokens == report.tokens


def test_a_failure_leaves_complete_documents_only(library: Library, docs: Path) -> None:
    """When the model gives up halfway, every document listed has all its chunks, in this run and the next."""
    break_off(library, docs)
    listed = library.catalogue()
    assert listed
    assert "z_big.txt" not in listed
    rows = library.rows()
    for source, stored in listed.items():
        assert len([row for row in rows if row["source"] == source]) == stored.chunks
    assert [row for row in rows if row["source"] == "z_big.txt"]


def test_a_run_after_a_failure_ends_as_an_undisturbed_one(library: Library, docs: Path, tmp_path: Path) -> None:
    """The same chunks with the same ids, and what was complete is not embedded again."""
    break_off(library, docs)
    report = library.ingest(docs)
    assert (report.added, len(report.unchanged)) == (["z_big.txt"], 3)
    undisturbed = Library(tmp_path, "undisturbed")
    undisturbed.ingest(docs)
    assert library.rows() == undisturbed.rows()
    undisturbed.store.close()


def test_a_document_edited_after_a_failure_leaves_nothing_stale(library: Library, docs: Path) -> None:
    """What a broken run wrote of a document goes with the document's next version."""
    break_off(library, docs)
    assert "eels" in library.texts()
    (docs / "z_big.txt").write_text("It is short now.", "utf-8")
    library.ingest(docs)
    assert "eels" not in library.texts()


def test_a_changed_document_keeps_its_old_version_until_the_new_one_is_in(library: Library, docs: Path) -> None:
    """A failure before the new record leaves the old one in place."""
    library.ingest(docs)
    (docs / "long.txt").write_text(long_text("eels"), "utf-8")
    library.embeddings.fails_after = len(library.embeddings.batches)
    with pytest.raises(ModelError):
        library.ingest(docs)
    assert "salmon" in library.texts()
    library.embeddings.fails_after = None
    assert library.ingest(docs).changed == ["long.txt"]
    assert ("eels" in library.texts(), "salmon" in library.texts()) == (True, False)


def test_a_missing_place_changes_nothing(library: Library, docs: Path) -> None:
    """It is an error before anything is removed or embedded, other places or not."""
    library.ingest(docs)
    (docs / "long.txt").unlink()
    before, asked = library.rows(), len(library.embeddings.batches)
    with pytest.raises(DocumentError, match="no such file or folder"):
        library.ingest(docs, docs.parent / "missing")
    assert (library.rows(), len(library.embeddings.batches)) == (before, asked)


def test_an_emptied_place_changes_nothing(library: Library, docs: Path) -> None:
    """A folder without documents is more likely unmounted than emptied."""
    library.ingest(docs)
    for path in [*docs.glob("*.*"), *docs.glob("sub/*")]:
        path.unlink()
    before = library.rows()
    with pytest.raises(NoDocumentsError, match="no document"):
        library.ingest(docs)
    assert library.rows() == before


def test_an_emptied_place_beside_another_is_not_pruned(library: Library, docs: Path, tmp_path: Path) -> None:
    """Only places in which something was found are believed."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "eels.txt").write_text("Eels swim.", "utf-8")
    library.ingest(docs, tmp_path / "more")
    (tmp_path / "more" / "eels.txt").unlink()
    assert library.ingest(docs, tmp_path / "more").removed == []
    assert "eels.txt" in library.catalogue()


def test_another_place_is_left_alone(library: Library, docs: Path, tmp_path: Path) -> None:
    """Documents of places that were not named are not pruned."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "eels.txt").write_text("Eels swim.", "utf-8")
    library.ingest(docs)
    library.ingest(tmp_path / "more")
    assert len(library.catalogue()) == 4


@pytest.mark.parametrize(("place", "glob"), [("", "*.md"), ("*.md", "")])
def test_what_a_pattern_leaves_out_is_not_pruned(library: Library, docs: Path, place: str, glob: str) -> None:
    """Neither --glob nor a pattern among the places says that other documents are gone."""
    library.ingest(docs)
    (docs / "bears.md").write_text("# Bears\n\nBlack bears climb.\n", "utf-8")
    report = library.ingest(docs / place, glob=glob)
    assert (report.changed, report.removed) == (["bears.md"], [])
    assert len(library.catalogue()) == 3


def test_what_is_gone_from_an_archive_is_pruned(library: Library, tmp_path: Path) -> None:
    """An archive that was read to its end is believed, and named documents keep their paths in it."""
    archive = tmp_path / "docs.zip"
    write_zip(archive, a="Salmon swim.", b="Eels swim.")
    library.ingest(archive)
    write_zip(archive, b="Eels swim.", c="Bears sleep.")
    report = library.ingest(archive)
    assert (report.removed, report.unchanged, report.added) == (["a.md"], ["b.md"], ["c.md"])


def test_an_archive_beside_documents_is_not_pruned_with_their_folder(library: Library, docs: Path) -> None:
    """A folder says nothing about what is in an archive below it, until the archive is gone."""
    archive = docs / "more.zip"
    write_zip(archive, a="Salmon swim.", b="Eels swim.")
    library.ingest(docs, archive)
    assert library.ingest(docs).removed == []
    archive.unlink()
    assert sorted(library.ingest(docs).removed) == ["a.md", "b.md"]


def test_a_path_too_long_for_the_store_is_refused(library: Library, tmp_path: Path) -> None:
    """An archive may hold longer paths than the store; the other documents go in."""
    archive = tmp_path / "docs.zip"
    name = "folder/" * 600 + "a"
    write_zip(archive, **{name: "Salmon swim."}, b="Eels swim.")
    report = library.ingest(archive)
    assert [(refused.source, refused.reason) for refused in report.refused] == [
        (f"{name}.md", "its path is longer than 4096 bytes")
    ]
    assert list(library.catalogue()) == ["b.md"]

"""Every document has one name, whichever way it is reached, and no two share one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rag_chain.documents import Findings, FoundFile, Refusal
from rag_chain.errors import NoDocumentsError
from rag_chain.ingestion.names import still_exists
from rag_chain.ingestion.plan import make_plan
from rag_chain.store.collection import StoredDocument

if TYPE_CHECKING:
    from tests.ingestion.conftest import Library


def two_roots(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders whose documents have equal paths."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "readme.md").write_text(f"# Readme\n\nThis is {name}.\n", "utf-8")
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.parametrize("together", [True, False])
def test_equal_paths_in_two_places_are_two_documents(library: Library, tmp_path: Path, together: bool) -> None:
    """The second one's name starts with its folder, whether both are ingested at once or not."""
    one, two = two_roots(tmp_path)
    if together:
        library.ingest(one, two)
    else:
        library.ingest(one)
        library.ingest(two)
    assert sorted(library.catalogue()) == ["readme.md", "two/readme.md"]
    assert [row["text"] for row in library.rows()] == ["# Readme\n\nThis is one.", "# Readme\n\nThis is two."]


def test_names_stay_in_any_order(library: Library, tmp_path: Path) -> None:
    """A document keeps the name that it has when places are named in another order, or alone."""
    one, two = two_roots(tmp_path)
    library.ingest(one, two)
    for places in ((two, one), (two,), (one,)):
        report = library.ingest(*places)
        assert (report.added, report.changed, report.removed, report.chunks_embedded) == ([], [], [], 0)


def test_a_name_that_is_taken_twice_over_still_differs(library: Library, tmp_path: Path) -> None:
    """Where the folder's name does not tell two documents apart, a digest of the place does."""
    one, two = two_roots(tmp_path)
    (one / "two").mkdir()
    (one / "two" / "readme.md").write_text("This is one below two.", "utf-8")
    library.ingest(one, two)
    names = sorted(library.catalogue())
    assert names[:1] + names[2:] == ["readme.md", "two/readme.md"]
    assert names[1].startswith("two-")
    assert names[1].endswith("/readme.md")


@pytest.mark.parametrize("spelling", ["relative", "slash", "dots", "link", "file"])
def test_another_spelling_is_the_same_document(library: Library, docs: Path, spelling: str) -> None:
    """However a place is written, its documents are the ones already there."""
    library.ingest(docs)
    (docs.parent / "link").symlink_to(docs, target_is_directory=True)
    places: dict[str, str | Path] = {
        "relative": os.path.relpath(docs, Path.cwd()),
        "slash": f"{docs}/",
        "dots": str(docs / "sub" / ".."),
        "link": docs.parent / "link",
        "file": docs / "sub" / "tides.txt",
    }
    report = library.ingest(places[spelling])
    assert (report.added, report.changed, report.removed, report.chunks_embedded) == ([], [], [], 0)
    assert report.unchanged


def test_nested_places_do_not_duplicate(library: Library, docs: Path) -> None:
    """A folder, a folder in it and a file in that one, at once or one after the other, are three documents."""
    library.ingest(docs, docs / "sub", docs / "sub" / "tides.txt")
    assert len(library.catalogue()) == 3
    for place in (docs / "sub", docs / "sub" / "tides.txt", docs):
        report = library.ingest(place)
        assert (report.added, report.changed, report.removed) == ([], [], [])
    assert len(library.catalogue()) == 3


def test_the_inner_place_may_come_first(library: Library, docs: Path) -> None:
    """A document keeps the shorter name that it got there."""
    library.ingest(docs / "sub")
    report = library.ingest(docs)
    assert (sorted(report.added), report.unchanged) == (["bears.md", "long.txt"], ["tides.txt"])


def test_a_moved_folder_takes_its_names_along(library: Library, docs: Path) -> None:
    """When the old path is gone the documents are the same, at their new address."""
    library.ingest(docs)
    before = library.rows()
    moved = docs.rename(docs.parent / "moved")
    report = library.ingest(moved)
    assert (report.added, report.removed, len(report.changed), report.chunks_deleted) == ([], [], 3, 0)
    assert library.rows() == before
    assert all("/moved/" in stored.uri for stored in library.catalogue().values())
    assert library.ingest(moved).chunks_embedded == 0


def test_a_copied_folder_is_another_place(library: Library, docs: Path) -> None:
    """While the old path exists its documents keep their names."""
    library.ingest(docs / "sub")
    (docs.parent / "copy").mkdir()
    (docs.parent / "copy" / "tides.txt").write_text("The moon pulls the ocean.\n", "utf-8")
    assert library.ingest(docs.parent / "copy").added == ["copy/tides.txt"]


def test_a_rebuild_that_would_lose_another_place_is_refused(library: Library, tmp_path: Path) -> None:
    """It says how many documents, and which; nothing is embedded."""
    one, two = two_roots(tmp_path)
    library.ingest(one, two)
    asked = len(library.embeddings.batches)
    with pytest.raises(NoDocumentsError, match=r"would lose 1 documents.*'two/readme\.md': name their places too"):
        library.ingest(one, rebuild=True)
    assert (len(library.catalogue()), len(library.embeddings.batches)) == (2, asked)


def test_a_rebuild_from_all_places_embeds_everything_anew(library: Library, tmp_path: Path) -> None:
    """Names and ids stay, and what was removed meanwhile goes."""
    one, two = two_roots(tmp_path)
    (one / "old.md").write_text("Old.", "utf-8")
    library.ingest(one, two)
    before = [row for row in library.rows() if row["source"] != "old.md"]
    (one / "old.md").unlink()
    report = library.ingest(two, one, rebuild=True)
    assert (sorted(report.added), report.chunks_embedded, report.chunks_reused) == (
        ["readme.md", "two/readme.md"],
        2,
        0,
    )
    assert library.rows() == before


@pytest.mark.parametrize(("place", "glob"), [("", "*.md"), ("*.md", "")])
def test_a_rebuild_from_a_pattern_is_refused(library: Library, docs: Path, place: str, glob: str) -> None:
    """What the pattern leaves out is still there, and would be lost."""
    library.ingest(docs)
    with pytest.raises(NoDocumentsError, match="would lose 2 documents"):
        library.ingest(docs / place, rebuild=True, glob=glob)
    assert len(library.catalogue()) == 3


def test_a_broken_rebuild_leaves_everything(library: Library, docs: Path) -> None:
    """Readers keep the old collection; the next rebuild succeeds."""
    library.ingest(docs)
    before = library.rows()
    library.embeddings.batch_size = 1
    library.embeddings.fails_after = len(library.embeddings.batches) + 2
    with pytest.raises(Exception, match="as it was told"):
        library.ingest(docs, rebuild=True)
    assert library.rows() == before
    library.embeddings.fails_after = None
    assert len(library.ingest(docs, rebuild=True).added) == 3
    assert library.rows() == before
    assert len(library.store.client.list_collections()) == 1


def test_a_refused_document_is_kept_under_any_name(docs: Path) -> None:
    """A document with its folder's name before its path is not taken for gone when it is refused."""
    held = StoredDocument("docs/long.txt", (docs / "long.txt").as_uri(), "v1", 3)
    found: list[FoundFile | Refusal] = [found_file(docs / "bears.md", docs), Refusal("long.txt", "too large")]
    plan = make_plan(Findings(found), {held.source: held}, prune=True, rebuild=False)
    assert (plan.removed, len(plan.added)) == ([], 1)


def test_a_folder_that_can_not_be_listed_is_not_empty(docs: Path) -> None:
    """What is below it was not looked at, and stays."""
    held = StoredDocument("sub/tides.txt", (docs / "sub" / "tides.txt").as_uri(), "v1", 1)
    found: list[FoundFile | Refusal] = [
        found_file(docs / "bears.md", docs),
        Refusal("sub", "can't be listed: Permission denied"),
    ]
    assert make_plan(Findings(found), {held.source: held}, prune=True, rebuild=False).removed == []


def test_a_refused_document_of_an_archive_is_kept_under_any_name(docs: Path) -> None:
    """The archive's refusals go by the path in it, whatever the store calls the document."""
    root = (docs / "more.zip").as_uri()
    held = StoredDocument("more.zip/a.md", f"{root}!/a.md", "v1", 1)
    gone = StoredDocument("more.zip/b.md", f"{root}!/b.md", "v1", 1)
    other = FoundFile("c.md", f"{root}!/c.md", root, 0, 1, lambda: b"c")
    found: list[FoundFile | Refusal] = [other, Refusal("a.md", "encrypted")]
    plan = make_plan(Findings(found), {held.source: held, gone.source: gone}, prune=True, rebuild=False)
    assert plan.removed == ["more.zip/b.md"]


def test_remote_documents_are_taken_to_exist(docs: Path) -> None:
    """What can't be looked up is not called gone; local files and archives are looked up."""
    assert still_exists("https://example.com/docs.zip!/a.md")
    assert still_exists((docs / "long.txt").as_uri())
    assert not still_exists((docs / "missing.txt").as_uri())
    assert not still_exists(docs.as_uri())


def found_file(path: Path, root: Path) -> FoundFile:
    name = path.relative_to(root).as_posix()
    return FoundFile(name, path.as_uri(), root.as_uri(), 0, path.stat().st_size, path.read_bytes)

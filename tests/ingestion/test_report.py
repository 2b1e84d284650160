"""What an ingest reports, and what a preview promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain import ingest, plan_ingest
from rag_chain.ingestion.report import IngestReport, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from rag_chain import Settings
    from tests.fireworks_server import FireworksServer
    from tests.ingestion.conftest import Library


def counts(report: IngestReport) -> dict[str, object]:
    """Return what a preview and its run have to agree on."""
    printed = report.to_json()
    return {key: printed[key] for key in ("documents", "refused", "skipped", "chunks", "embedding")}


def change_everything(docs: Path) -> None:
    """Add, change, remove and spoil a document, and leave one alone."""
    (docs / "new.md").write_text("# New\n\nOtters play.\n", "utf-8")
    (docs / "bears.md").write_text("# Bears\n\nBlack bears climb.\n\n## Cubs\n\nThey are small.\n", "utf-8")
    (docs / "long.txt").unlink(missing_ok=True)
    (docs / "blank.txt").write_text("\n", "utf-8")
    (docs / "photo.jpg").write_bytes(b"\xff\xd8")


def test_counts_add_up(library: Library, docs: Path) -> None:
    """Documents and chunks are counted by what became of them."""
    first = library.ingest(docs)
    assert first.chunks_embedded == len(library.rows())
    deleted = library.catalogue()["long.txt"].chunks + library.catalogue()["bears.md"].chunks
    change_everything(docs)
    report = library.ingest(docs)
    assert (report.added, report.changed, report.removed) == (["new.md"], ["bears.md"], ["long.txt"])
    assert (report.unchanged, [refused.source for refused in report.refused]) == (["sub/tides.txt"], ["blank.txt"])
    assert (report.chunks_embedded, report.chunks_deleted, report.chunks_reused) == (3, deleted, 1)
    assert report.chunks_embedded + report.chunks_reused == len(library.rows())
    assert report.documents == 4


def test_usage_is_that_of_the_run(library: Library, docs: Path) -> None:
    """What the model did before does not count."""
    library.embeddings.embed_documents(["something", "else"])
    before = library.embeddings.usage.tokens
    report = library.ingest(docs)
    assert report.requests == 1
    assert report.tokens == library.embeddings.usage.tokens - before


def test_a_preview_promises_what_the_run_does(library: Library, docs: Path) -> None:
    """Documents, chunks, requests and tokens are those of the run, for a first ingest and for a later one."""
    for _ in range(2):
        plan = library.plan(docs)
        preview = library.preview(plan)
        report = library.run(plan)
        report.chunks_total = library.store.count()
        assert counts(preview) == counts(report)
        change_everything(docs)


def test_a_preview_of_a_rebuild_promises_what_it_does(library: Library, docs: Path) -> None:
    """Everything is added anew and nothing is deleted, since the old collection goes as a whole."""
    library.ingest(docs)
    (docs / "long.txt").unlink()
    plan = library.plan(docs, rebuild=True)
    preview = library.preview(plan, rebuild=True)
    report = library.run(plan, rebuild=True)
    report.chunks_total = library.store.count()
    assert counts(preview) == counts(report)
    assert (preview.chunks_deleted, preview.chunks_total) == (0, 2)


def test_a_preview_of_a_moved_folder_promises_what_the_run_does(library: Library, docs: Path) -> None:
    """Chunks that are written over are not counted twice."""
    library.ingest(docs)
    plan = library.plan(docs.rename(docs.parent / "moved"))
    preview = library.preview(plan)
    report = library.run(plan)
    report.chunks_total = library.store.count()
    assert counts(preview) == counts(report)


def test_a_preview_touches_nothing(library: Library, docs: Path) -> None:
    """No model is asked, nothing is written, and the plan can still be run."""
    (docs / "blank.txt").write_text("\n", "utf-8")
    plan = library.plan(docs)
    assert [len(library.preview(plan).refused) for _ in range(2)] == [1, 1]
    assert (library.embeddings.batches, library.store.exists()) == ([], False)
    assert len(library.run(plan).refused) == 1


def test_the_printed_report_has_its_shape() -> None:
    """The keys are those that scripts rely on."""
    report = IngestReport(
        added=["a"],
        changed=["b", "c"],
        unchanged=["d"],
        removed=[],
        refused=[Refused("e", "too large")],
        skipped=[Refused("f", "no loader for .jpg files")],
        chunks_total=9,
        chunks_embedded=5,
        chunks_reused=4,
        chunks_deleted=2,
        requests=1,
        tokens=70,
        dollars=None,
        seconds=1.23456,
    )
    assert report.to_json() == {
        "documents": {"added": 1, "changed": 2, "unchanged": 1, "removed": 0, "refused": 1},
        "refused": [{"source": "e", "reason": "too large"}],
        "skipped": [{"source": "f", "reason": "no loader for .jpg files"}],
        "chunks": {"total": 9, "embedded": 5, "reused": 4, "deleted": 2},
        "embedding": {"requests": 1, "texts": 5, "tokens": 70, "dollars": None},
        "seconds": 1.235,
    }


def test_the_package_reports_the_same(online: Settings, fireworks: FireworksServer, docs: Path) -> None:
    """Through the public functions too the plan promises what the ingest does, pruning included."""
    ingest(docs, online)
    change_everything(docs)
    plan = plan_ingest(docs, online).to_json()
    report = ingest(docs, online).to_json()
    assert (
        plan["documents"]
        == report["documents"]
        == {
            "added": 1,
            "changed": 1,
            "unchanged": 1,
            "removed": 1,
            "refused": 1,
        }
    )
    assert plan["chunks"] == report["chunks"]
    assert plan["embedding"]["requests"] == report["embedding"]["requests"] == 1
    assert len(fireworks.embedding_requests) == 2


def test_the_package_does_not_prune_what_a_glob_leaves_out(online: Settings, docs: Path) -> None:
    """Documents that are gone stay as well, as long as a glob narrows the look."""
    ingest(docs, online)
    (docs / "long.txt").unlink()
    report = ingest(docs, online, glob="*.md")
    assert (report.removed, report.unchanged) == ([], ["bears.md"])
    assert ingest(docs, online, prune=False).removed == []
    assert ingest(docs, online).removed == ["long.txt"]

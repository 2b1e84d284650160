"""What an ingest reports, and what a preview promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain import Settings, ingest, plan_ingest
from rag_chain.ingestion.report import IngestReport, Refused

if TYPE_CHECKING:
    from pathlib import Path

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
        planned={"added": 2, "changed": 2, "unchanged": 1, "removed": 0, "refused": 0},
        reasons={"c": "moved from file:///c"},
        chunks_total=9,
        chunks_embedded=5,
        chunks_reused=4,
        chunks_deleted=2,
        requests=1,
        tokens=70,
        dollars=None,
        minutes=1.5,
        limited_by="requests per minute",
        seconds=1.23456,
    )
    assert report.to_json() == {
        "documents": {"added": 1, "changed": 2, "unchanged": 1, "removed": 0, "refused": 1},
        "planned": {"added": 2, "changed": 2, "unchanged": 1, "removed": 0, "refused": 0},
        "as_planned": False,
        "refused": [{"source": "e", "reason": "too large"}],
        "skipped": [{"source": "f", "reason": "no loader for .jpg files"}],
        "sources": [
            {"source": "a", "state": "added", "reason": "new"},
            {"source": "b", "state": "changed", "reason": "its content changed"},
            {"source": "c", "state": "changed", "reason": "moved from file:///c"},
            {"source": "d", "state": "unchanged", "reason": "same content"},
            {"source": "e", "state": "refused", "reason": "too large"},
        ],
        "chunks": {"total": 9, "embedded": 5, "reused": 4, "deleted": 2},
        "embedding": {"requests": 1, "texts": 5, "tokens": 70, "dollars": None},
        "estimate": {"minutes": 1.5, "limited_by": "requests per minute"},
        "seconds": 1.235,
    }


def test_an_ingest_that_is_done_has_no_estimate() -> None:
    """The key is there all the same."""
    assert IngestReport().to_json()["estimate"] is None


def test_differences_are_planned_and_done() -> None:
    """States that came out as planned are not among them."""
    report = IngestReport(
        added=["a"],
        unchanged=["c"],
        refused=[Refused("b", "broken")],
        planned={"added": 2, "unchanged": 1, "refused": 0},
    )
    assert report.differences == {"added": (2, 1), "refused": (0, 1)}
    assert not report.as_planned


def test_a_document_without_text_is_not_as_planned(library: Library, docs: Path) -> None:
    """What a document holds is seen when it is loaded; the plan had counted on it."""
    assert library.ingest(docs).as_planned
    (docs / "blank.txt").write_text("\n", "utf-8")
    report = library.ingest(docs)
    assert report.planned == {"added": 1, "changed": 0, "unchanged": 3, "removed": 0, "refused": 0}
    assert report.differences == {"added": (1, 0), "refused": (0, 1)}


def states(report: IngestReport) -> dict[str, tuple[str, str]]:
    """Return the state and the reason of every document."""
    return {entry["source"]: (entry["state"], entry["reason"]) for entry in report.to_json()["sources"]}


def test_every_document_has_its_state_and_the_reason(library: Library, docs: Path) -> None:
    """None is left out, whatever became of it."""
    library.ingest(docs)
    change_everything(docs)
    assert states(library.ingest(docs)) == {
        "new.md": ("added", "new"),
        "bears.md": ("changed", "its content changed"),
        "sub/tides.txt": ("unchanged", "same content"),
        "long.txt": ("removed", "gone from its place"),
        "blank.txt": ("refused", "there is no text in it"),
    }


def test_a_moved_document_says_from_where(library: Library, docs: Path) -> None:
    """And whether its content changed on the way."""
    library.ingest(docs)
    before = docs.as_uri()
    moved = docs.rename(docs.parent / "moved")
    (moved / "bears.md").write_text("# Bears\n\nBlack bears climb.\n", "utf-8")
    assert states(library.ingest(moved)) == {
        "bears.md": ("changed", f"moved from {before}/bears.md, and its content changed"),
        "long.txt": ("changed", f"moved from {before}/long.txt"),
        "sub/tides.txt": ("changed", f"moved from {before}/sub/tides.txt"),
    }


def test_a_rebuild_says_what_is_new_and_what_is_not(library: Library, docs: Path) -> None:
    """A document that was there before is built anew."""
    library.ingest(docs / "bears.md")
    reasons = states(library.ingest(docs, rebuild=True))
    assert reasons["bears.md"] == ("added", "built anew")
    assert reasons["long.txt"] == ("added", "new")


def promised(report: IngestReport) -> dict[str, object]:
    """Return what the public functions have to agree on; the provider alone knows the tokens."""
    printed = report.to_json()
    shared = {key: printed[key] for key in ("documents", "planned", "refused", "skipped", "chunks")}
    return {**shared, "requests": report.requests, "sources": states(report)}


def test_a_plan_and_its_ingest_agree(online: Settings, fireworks: FireworksServer, folder: Path) -> None:
    """First, after changes, moves and removals, and for a rebuild: documents, chunks and requests are the same."""

    def plan_and_do(*, rebuild: bool = False) -> IngestReport:
        plan = plan_ingest(folder, settings, rebuild=rebuild)
        before = len(fireworks.embedding_requests)
        report = ingest(folder, settings, rebuild=rebuild)
        assert promised(plan) == promised(report)
        assert report.requests == len(fireworks.embedding_requests) - before
        return report

    settings = online.with_changes(embedding_batch=2)
    assert (plan_and_do().requests, plan_and_do().requests) == (2, 0)
    (folder / "bears.txt").write_text("Black bears climb.\n", "utf-8")
    (folder / "guide").rename(folder / "manual")
    (folder / "tides.html").unlink()
    (folder / "blank.txt").write_text("\n", "utf-8")
    report = plan_and_do()
    assert report.counts == {"added": 1, "changed": 1, "unchanged": 0, "removed": 2, "refused": 1}
    assert (report.chunks_embedded, report.chunks_reused) == (1, 2)
    assert plan_and_do(rebuild=True).counts["added"] == 2


def test_the_local_model_is_promised_no_requests(docs: Path, tmp_path: Path) -> None:
    """It runs on this machine, in the plan as in the deed."""
    settings = Settings(provider="local", milvus_uri=str(tmp_path / "local.db"))
    plan, report = plan_ingest(docs, settings), ingest(docs, settings)
    assert promised(plan) == promised(report)
    assert (plan.requests, plan.dollars, plan.limited_by) == (0, 0.0, "this machine")


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

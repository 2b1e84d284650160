"""Documents of LangChain loaders, and documents that are given themselves, have the guarantees that files have."""

from __future__ import annotations

import gc
import logging
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from rag_chain import build_retriever, ingest, plan_ingest
from rag_chain.documents import load_documents
from rag_chain.errors import DocumentError, NoDocumentsError, SettingsError
from rag_chain.store.collection import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rag_chain import Settings
    from tests.fireworks_server import FireworksServer


class ListLoader(BaseLoader):
    """A loader of what it is given; ``fails_after`` so many documents."""

    def __init__(self, documents: Iterable[Document], path: str = "", fails_after: int | None = None) -> None:
        self.documents = documents
        self.path = path
        self.fails_after = fails_after

    def lazy_load(self) -> Iterator[Document]:
        for number, document in enumerate(self.documents):
            if number == self.fails_after:
                raise KeyError("the token has expired")
            yield document


class EagerLoader(BaseLoader):
    """A loader of the older kind, which has no ``lazy_load``."""

    def load(self) -> list[Document]:
        return some("eager")


def some(*names: str, **metadata: Any) -> list[Document]:
    return [Document(f"This one is about {name}.", metadata={"source": name, **metadata}) for name in names]


def stored(settings: Settings) -> dict[str, str]:
    """Return the address of each document in the store."""
    with open_store(settings) as store:
        store.open_for(None, writing=False)
        return {source: entry.uri for source, entry in store.catalogue().items()}


def rows(settings: Settings, *fields: str) -> list[dict[str, Any]]:
    with open_store(settings) as store:
        store.open_for(None, writing=False)
        found: list[dict[str, Any]] = store.client.query(
            store.name, filter='id != ""', output_fields=["source", "position", *fields]
        )
    return sorted(found, key=lambda row: (row["source"], row["position"]))


def test_everything_can_be_mixed(folder: Path, online: Settings) -> None:
    """Paths, loaders, documents, lists and generators in one call; the same call again changes nothing."""

    def given() -> list[Any]:
        return [folder, ListLoader(some("loaded")), Document("By hand."), (d for d in some("x", "y")), [EagerLoader()]]

    report = ingest(given(), online)
    assert len(report.added) == 3 + 1 + 1 + 2 + 1
    report = ingest(given(), online)
    assert (len(report.unchanged), report.chunks_embedded, report.removed) == (8, 0, [])


def test_a_loader_prunes_what_it_gave_before_and_nothing_else(folder: Path, online: Settings) -> None:
    """Not files, not the documents of another loader of its class, not those given by hand."""
    ingest([folder, ListLoader(some("a", "b"), path="one"), ListLoader(some("c", "d"), path="two"), *some("e")], online)
    report = ingest(ListLoader(some("a"), path="one"), online)
    assert (report.removed, len(stored(online))) == (["b"], 7)
    assert ingest(folder, online).removed == []
    assert ingest(some("f"), online).removed == []
    assert ingest(ListLoader(some("c"), path="two"), online, prune=False).removed == []


def test_a_name_is_a_scope(online: Settings) -> None:
    """``loader_name`` tells loaders apart that look alike, and is in the address as an archive's path would be."""
    ingest(ListLoader(some("a", "b")), online, loader_name="crm / eu")
    ingest(ListLoader(some("c")), online, loader_name="crm / us")
    assert ingest(ListLoader(some("a")), online, loader_name="crm / eu").removed == ["b"]
    assert stored(online) == {"a": "loader:crm%20%2F%20eu!/a", "c": "loader:crm%20%2F%20us!/c"}


def test_named_documents_are_all_there_are(online: Settings) -> None:
    """Documents given by hand are pruned only where a name says that these are all of its scope."""
    ingest(some("a", "b"), online)
    assert ingest(some("a"), online).removed == []
    ingest(iter(some("c", "d")), online, loader_name="mine")
    assert ingest(iter(some("c")), online, loader_name="mine").removed == ["d"]
    assert sorted(stored(online)) == ["a", "b", "c"]


def test_an_empty_load_removes_nothing(folder: Path, online: Settings) -> None:
    """It is more likely a lost permission than an empty place; alone it is an error, beside others a note."""
    ingest(ListLoader(some("a", "b")), online)
    with pytest.raises(NoDocumentsError, match="the loader ListLoader gave no document"):
        ingest(ListLoader([]), online)
    report = ingest([ListLoader([]), folder], online)
    assert (report.removed, len(report.added)) == ([], 3)
    assert report.notes == ["the loader ListLoader gave no document; what it gave before is kept"]
    assert report.to_json()["notes"] == report.notes


@pytest.mark.parametrize("fails_after", [0, 2])
def test_a_failing_load_changes_nothing(folder: Path, online: Settings, fails_after: int) -> None:
    """One clear error says which loader and why; nothing is removed, added or changed, nor of files beside it."""
    ingest(ListLoader(some("a", "b", "c")), online)
    before = rows(online, "text")
    failing = ListLoader(some("a", "new", "b"), fails_after=fails_after)
    for act in (ingest, plan_ingest):
        with pytest.raises(DocumentError, match=r"^the loader ListLoader failed: KeyError: .*token has expired.*again"):
            act([failing, folder], online)
    assert rows(online, "text") == before


def test_a_failing_generator_changes_nothing(online: Settings) -> None:
    """The same for an iterable that is handed over."""

    def broken() -> Iterator[Document]:
        yield from some("a")
        raise OSError("connection lost")

    with pytest.raises(DocumentError, match="failed: OSError: connection lost"):
        ingest(broken(), online)


@pytest.mark.parametrize("given", [3, [3], b"docs", {"source": "a"}, [None]])
def test_what_can_not_be_ingested_is_refused(given: Any, online: Settings) -> None:
    """Neither path nor document nor loader: one line says what it is."""
    with pytest.raises(DocumentError, match="can't be ingested: give paths, Documents and loaders"):
        ingest(given, online)


def test_a_loader_of_something_else_is_an_error(online: Settings) -> None:
    """A loader that gives no Documents."""
    with pytest.raises(DocumentError, match="gave a str, which is no LangChain Document"):
        ingest(ListLoader(["text"]), online)  # type: ignore[list-item]


def test_names_that_name_nothing(folder: Path, online: Settings) -> None:
    """A name for paths, an empty one, one for two loaders, and two loaders that can't be told apart."""
    one, two = ListLoader(some("a")), ListLoader(some("b"))
    for given, name in ((folder, "x"), (one, " "), ([one, two], "x"), ([one, two], None)):
        with pytest.raises(SettingsError, match="loader"):
            ingest(given, online, loader_name=name)


def test_metadata_is_watched(online: Settings, fireworks: FireworksServer) -> None:
    """A document whose metadata alone has changed is written again, and no text is embedded again."""
    ingest(ListLoader(some("a", "b", status="draft")), online)
    fireworks.requests.clear()
    report = ingest(ListLoader([*some("a", status="final"), *some("b", status="draft")]), online)
    assert (report.changed, report.unchanged, report.chunks_embedded) == (["a"], ["b"], 0)
    assert fireworks.requests == []
    assert [row["status"] for row in rows(online, "status")] == ["final", "draft"]


def test_when_somebody_looked_is_no_change(online: Settings) -> None:
    """The time of the last access, which reading itself changes, is stored and not compared."""
    ingest(ListLoader(some("a", last_accessed=1.5)), online)
    assert ingest(ListLoader(some("a", last_accessed=2.5)), online).unchanged == ["a"]


def test_a_new_name_takes_the_vectors_along(online: Settings, fireworks: FireworksServer) -> None:
    """Renamed, also with other metadata, in the same scope or another: nothing is embedded."""
    ingest(ListLoader(some("a", version=1)), online)
    fireworks.requests.clear()
    renamed = Document("This one is about a.", metadata={"source": "b", "version": 2})
    report = ingest(ListLoader([renamed]), online)
    assert (report.added, report.removed, report.chunks_embedded) == (["b"], ["a"], 0)
    assert ingest(ListLoader([renamed]), online, loader_name="other").chunks_embedded == 0
    assert fireworks.requests == []


def test_the_same_text_is_embedded_once(online: Settings) -> None:
    """A hundred messages that say the same are one text to the model; the plan knows it."""
    given = [Document("Thank you!", metadata={"source": f"message {number}", "user": number}) for number in range(100)]
    assert plan_ingest(ListLoader(given), online).chunks_embedded == 1
    report = ingest(ListLoader(given), online)
    assert (report.chunks_embedded, report.chunks_total) == (1, 100)


@pytest.mark.parametrize("key", ["source", "url", "id", "path", "document"])
def test_what_names_a_document(online: Settings, key: str) -> None:
    """Source, url, id, path of the metadata, in this order, or the document's own id."""
    keys = ["source", "url", "id", "path"]
    later = keys[keys.index(key) + 1 :] if key in keys else []
    known = {**dict.fromkeys(later, "no"), **({key: "its name"} if key in keys else {})}
    document = Document("Some words.", metadata=known, id="no" if key in keys else "its name")
    assert ingest(ListLoader([document]), online).added == ["its name"]


def test_a_key_names_the_documents(online: Settings) -> None:
    """``source_key`` goes before all others, takes numbers, and is refused by name where it is missing."""
    numbered = some("all the same", row=0) + some("all the same", row=1)
    report = ingest(ListLoader([*numbered, *some("nameless")]), online, source_key="row")
    assert (report.added, [refused.source for refused in report.refused]) == (["0", "1"], ["ListLoader: document 3"])
    assert "no 'row' in its metadata (source)" in report.refused[0].reason
    assert {row["source_"] for row in rows(online, "source_")} == {"all the same"}


def test_a_document_without_a_name_may_be_any(online: Settings) -> None:
    """A loader that gives one prunes nothing in that run: it may be one of those that seem to be gone."""
    ingest(ListLoader(some("a", "b")), online)
    report = ingest(ListLoader([*some("a"), Document("This one is about b.")]), online)
    assert (report.unchanged, report.removed, len(report.refused)) == (["a"], [], 1)


def test_a_document_given_by_hand_needs_no_name(online: Settings) -> None:
    """It goes by its text: given again it is the same one, and with other metadata a changed one."""
    report = ingest(Document("The moon pulls the ocean."), online)
    (name,) = report.added
    assert name.startswith("document-")
    assert ingest([Document("The moon pulls the ocean.")], online).unchanged == [name]
    assert ingest([Document("The moon pulls the ocean.", metadata={"by": "Ada"})], online).changed == [name]
    twice = [Document("Twice.", metadata={"by": by}) for by in ("Ada", "Bob")]
    report = ingest(twice, online)
    assert (len(report.added), "give both a source" in report.refused[0].reason) == (1, True)


def test_documents_of_one_source_are_its_pages(online: Settings) -> None:
    """Also with others between them: one document, whose chunks know their pages, from 1, and their own metadata."""
    pages = [
        Document(f"Page {n} of {name}. " + "Words. " * 500, metadata={"source": name, "page": n, "label": f"p{n}"})
        for n, name in ((0, "one.pdf"), (1, "one.pdf"), (0, "two.pdf"), (2, "one.pdf"))
    ]
    report = ingest(ListLoader(pages), online)
    assert report.added == ["one.pdf", "two.pdf"]
    held = rows(online, "text", "page", "label")
    first = {row["text"][:6]: (row["page"], row["label"]) for row in held if row["text"].startswith("Page")}
    assert first["Page 0"] == (1, "p0")
    assert {row["page"]: row["label"] for row in held if row["source"] == "one.pdf"} == {1: "p0", 2: "p1", 3: "p2"}
    assert ingest(ListLoader(pages[::-1]), online).counts["unchanged"] == 2


def test_pages_keep_their_own_numbers(online: Settings) -> None:
    """Where none is 0 they are taken as they are; without any the parts are counted."""
    ingest(ListLoader([*some("a", page=7), *some("b"), Document("And more.", metadata={"source": "b"})]), online)
    assert [(row["source"], row["page"]) for row in rows(online, "page")] == [("a", 7), ("b", 1)]


def test_a_document_given_twice_is_taken_once(online: Settings) -> None:
    """Its text is not doubled, and the report says so."""
    report = ingest(ListLoader(some("a", "b", "a")), online)
    assert report.notes == ["a document was given twice and is taken once"]
    assert [row["text"] for row in rows(online, "text")] == ["This one is about a.", "This one is about b."]


def test_title_and_headings_are_as_with_files(online: Settings) -> None:
    """A title of the metadata, else the first heading; sections are cut at the headings of Markdown."""
    text = "# Guide\n\n## Storage\n\nRows live in segments.\n\n## Flush\n\nCall flush."
    given = [Document(text, metadata={"source": "a"}), Document(text, metadata={"source": "b", "title": "Its own"})]
    ingest(ListLoader(given), online)
    held = {(row["source"], row["heading"]): row["title"] for row in rows(online, "heading", "title")}
    assert held == {
        ("a", "Guide > Storage"): "Guide",
        ("a", "Guide > Flush"): "Guide",
        ("b", "Guide > Storage"): "Its own",
        ("b", "Guide > Flush"): "Its own",
    }


def test_chunks_are_slices_of_the_text_that_was_given(online: Settings) -> None:
    """Whatever line ends and characters it has, ``text[start:end]`` is the chunk."""
    text = "\r\n  # A\r\n\r\nCarriage returns\u2028and \ufeffmarks, \x00nul.\r\n\r\n" + "Some words here. " * 400
    ingest(ListLoader([Document(text, metadata={"source": "a"})]), online)
    found = rows(online, "text", "start", "end")
    assert len(found) > 2
    assert all(text.replace("\x00", "\ufffd")[row["start"] : row["end"]] == row["text"] for row in found)


def test_metadata_can_be_filtered_by(online: Settings) -> None:
    """By the names under which the notes say that it is kept."""
    given = [*some("a", **{"last-edited": 2020}), *some("b", **{"last-edited": 2024})]
    assert ingest(ListLoader(given), online).notes == ["metadata 'last-edited' is kept as last_edited (2 times)"]
    chain = build_retriever(online)
    found = chain.invoke("This one is about", filter={"last_edited": {"gte": 2022}})
    assert [chunk.metadata["source"] for chunk in found] == ["b"]


def test_empty_documents_are_refused_by_name(online: Settings) -> None:
    """As empty files are."""
    report = ingest(ListLoader([*some("a"), Document(" \n", metadata={"source": "empty"})]), online)
    assert [(refused.source, refused.reason) for refused in report.refused] == [("empty", "there is no text in it")]


def test_a_rebuild_loses_nothing(folder: Path, online: Settings) -> None:
    """One that leaves out a loader or a document given by hand is refused; with all of them it has the same rows."""
    ingest([folder, ListLoader(some("a", "b")), *some("c")], online)
    before = rows(online, "id", "text")
    loaded = ListLoader(some("a", "b"))
    less: list[Any] = [folder, [folder, loaded], [folder, loaded, *some("d")]]
    for given in less:
        with pytest.raises(NoDocumentsError, match="would lose"):
            ingest(given, online, rebuild=True)
    report = ingest([folder, ListLoader(some("a", "b")), *some("c")], online, rebuild=True)
    assert (len(report.added), rows(online, "id", "text")) == (6, before)


def test_texts_are_on_disk_and_gone_afterwards(
    online: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary file is gone after an ingest, a plan and an error."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    ingest(ListLoader(some("a")), online)
    plan_ingest(ListLoader(some("a")), online)
    assert len(list(load_documents(ListLoader(some("a")), online))) == 1
    with pytest.raises(DocumentError):
        ingest([*some("a"), ListLoader(some("a", "b"), fails_after=1)], online)
    with pytest.raises(DocumentError):
        ingest([*some("a"), 3], online)  # type: ignore[list-item]
    gc.collect()
    assert list(place.iterdir()) == []


def test_no_room_is_told(online: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the texts can't be kept, one line says where and what mends it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(DocumentError, match=r"missing.*: make room there, or set TMPDIR"):
        ingest(some("a"), online)


def test_documents_can_be_loaded_alone(folder: Path, online: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """``load_documents`` takes the same, and logs what it refuses."""
    caplog.set_level(logging.WARNING)
    loaded = list(load_documents([folder, ListLoader([*some("a"), Document("x")])], online))
    assert len(loaded) == 4
    assert loaded[-1].metadata["uri"] == "loader:ListLoader!/a"
    assert "ListLoader: document 2: nothing names it" in caplog.text


def test_names_of_files_and_loaders_do_not_collide(folder: Path, online: Settings) -> None:
    """A document whose name a file has goes by its loader's name, too."""
    ingest(folder, online)
    assert ingest(ListLoader(some("bears.txt")), online).added == ["loader:ListLoader/bears.txt"]
    assert ingest([folder, ListLoader(some("bears.txt"))], online).counts["unchanged"] == 4

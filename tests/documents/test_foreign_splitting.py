"""Any TextSplitter of LangChain: its chunks are found again in the text, and it is part of the fingerprint."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_text_splitters import (
    CharacterTextSplitter,
    MarkdownHeaderTextSplitter,
    MarkdownTextSplitter,
    PythonCodeTextSplitter,
    RecursiveCharacterTextSplitter,
    TextSplitter,
)

from rag_chain import Settings, build_chain, ingest, plan_ingest
from rag_chain.documents import split_documents
from rag_chain.documents.foreign_splitting import describe_splitter
from rag_chain.documents.splitting import SectionSplitter
from rag_chain.errors import FingerprintError, SettingsError
from rag_chain.store.collection import open_store
from rag_chain.store.documents import read_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = "# Guide\n\nIntro.\n\n## Storage\n\n" + "Rows live in segments. " * 20 + "\n\n## Flush\n\n" + "Call flush. " * 20
SMALL: dict[str, Any] = {"chunk_size": 60, "chunk_overlap": 20}
SETTINGS = Settings(provider="local")


class Shouting(TextSplitter):
    """A splitter that changes every text."""

    def split_text(self, text: str) -> list[str]:
        return [line.upper() for line in text.splitlines() if line]


class Numbering(RecursiveCharacterTextSplitter):
    """A splitter that says something of its own about each chunk, and gives empty ones too."""

    def split_documents(self, documents: Any) -> list[Document]:
        chunks = super().split_documents(documents)
        for number, chunk in enumerate(chunks):
            chunk.metadata |= {"part no": number, "heading": f"Part {number}"}
        return [*chunks, Document("  \n", metadata={})]


class Failing(TextSplitter):
    """A splitter that can't take some texts."""

    def split_text(self, text: str) -> list[str]:
        if "moon" in text:
            raise ValueError("no moon here")
        return [text]


def split(splitter: TextSplitter, text: str = TEXT, **metadata: Any) -> list[Document]:
    return list(split_documents([Document(text, metadata={"source": "a", **metadata})], SETTINGS, splitter=splitter))


@pytest.mark.parametrize("add_start_index", [True, False])
@pytest.mark.parametrize(
    "kind", [RecursiveCharacterTextSplitter, CharacterTextSplitter, MarkdownTextSplitter, PythonCodeTextSplitter]
)
def test_chunks_are_found_again(kind: type[TextSplitter], add_start_index: bool) -> None:
    """With or without offsets of its own each chunk is where it says, and all of the words are in chunks."""
    chunks = split(kind(**SMALL, add_start_index=add_start_index))
    assert chunks
    assert all(TEXT[chunk.metadata["start"] : chunk.metadata["end"]] == chunk.page_content for chunk in chunks)
    starts = [chunk.metadata["start"] for chunk in chunks]
    assert starts == sorted(starts)
    assert [chunk.metadata["position"] for chunk in chunks] == list(range(len(chunks)))
    assert len({chunk.id for chunk in chunks}) == len(chunks)


@given(
    words=st.lists(st.sampled_from(["a", "b", "ab", "a b", "\n", "\n\n", ".", "é😀"]), max_size=80),
    size=st.integers(3, 30),
    overlap=st.integers(0, 10),
)
def test_places_are_never_wrong(words: list[str], size: int, overlap: int) -> None:
    """Also where the same words come again and again: a chunk is at its place, or nowhere."""
    text = " ".join(words)
    splitter = RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=min(overlap, size))
    for chunk in split(splitter, text):
        start, end = chunk.metadata["start"], chunk.metadata["end"]
        assert (start, end) == (-1, -1) or text[start:end] == chunk.page_content


def test_a_changed_text_is_nowhere() -> None:
    """Its chunks are kept, and their places are -1, which is LangChain's own sign for it."""
    chunks = split(Shouting())
    assert [chunk.page_content for chunk in chunks][:2] == ["# GUIDE", "INTRO."]
    assert {(chunk.metadata["start"], chunk.metadata["end"]) for chunk in chunks} == {(-1, -1)}


def test_the_splitter_speaks_for_its_chunks() -> None:
    """Its metadata is kept under names that can be stored, its headings go before ours; empty chunks are none."""
    chunks = split(Numbering(**SMALL))
    assert [chunk.metadata["part_no"] for chunk in chunks] == list(range(len(chunks)))
    assert chunks[1].metadata["heading"] == "Part 1"


def test_headings_and_pages_are_those_of_the_place() -> None:
    """Where the splitter has none, a chunk has the headings over its start, and the page in which it starts."""
    pages = [0, TEXT.index("## Flush")]
    chunks = split(RecursiveCharacterTextSplitter(**SMALL), pages=pages)
    known = {(chunk.metadata["heading"], chunk.metadata["page"]) for chunk in chunks}
    assert {("Guide > Storage", 1), ("Guide > Flush", 2)} <= known
    assert all(chunk.metadata["page"] == 2 for chunk in chunks if chunk.page_content.startswith("Call"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CharacterTextSplitter, RecursiveCharacterTextSplitter),
        (lambda: CharacterTextSplitter(chunk_size=300), lambda: CharacterTextSplitter(chunk_size=301)),
        (lambda: CharacterTextSplitter(separator="a"), lambda: CharacterTextSplitter(separator="b")),
        (
            lambda: CharacterTextSplitter(length_function=len),
            lambda: CharacterTextSplitter(length_function=lambda text: len(text.split())),
        ),
        (
            lambda: CharacterTextSplitter(length_function=lambda text: len(text) // 4),
            lambda: CharacterTextSplitter(length_function=lambda text: len(text) // 5),
        ),
        (lambda: SectionSplitter(100), lambda: SectionSplitter(200)),
    ],
)
def test_an_identity_tells_splitters_apart(one: Callable[[], TextSplitter], other: Callable[[], TextSplitter]) -> None:
    """By class, sizes, separators and functions; the same made again is the same."""
    assert describe_splitter(one()) == describe_splitter(one())
    assert describe_splitter(one()) != describe_splitter(other())


def test_the_splitter_is_part_of_the_fingerprint(folder: Path, online: Settings) -> None:
    """Another one is refused with the remedy; the same one embeds nothing; ours by hand is the one of the settings."""
    splitter = RecursiveCharacterTextSplitter(chunk_size=80, chunk_overlap=10)
    planned = plan_ingest(folder, online, splitter=splitter)
    report = ingest(folder, online, splitter=splitter)
    assert (report.chunks_embedded, report.as_planned) == (planned.chunks_embedded, True)
    again = RecursiveCharacterTextSplitter(chunk_size=80, chunk_overlap=10)
    assert ingest(folder, online, splitter=again).chunks_embedded == 0
    for other in (None, RecursiveCharacterTextSplitter(chunk_size=81, chunk_overlap=10)):
        with pytest.raises(FingerprintError, match=r"splitter.*RecursiveCharacterTextSplitter.*--rebuild"):
            ingest(folder, online, splitter=other)
    assert build_chain(online).invoke("Where do rows live?")["sources"]
    assert len(ingest(folder, online, rebuild=True).added) == 3
    own = SectionSplitter(online.resolved_chunk_tokens, online.chunk_overlap)
    assert len(ingest(folder, online, splitter=own).unchanged) == 3


def test_what_a_splitter_has_changed_can_be_asked_for(folder: Path, online: Settings) -> None:
    """Its chunks are found, cited without a place, and read back one after the other."""
    ingest(folder, online, splitter=Shouting())
    answer = build_chain(online).invoke("Where do rows live?")
    assert any("SEALED SEGMENTS" in source["text"] for source in answer["sources"])
    assert {(source["start"], source["end"]) for source in answer["sources"]} == {(-1, -1)}
    assert {(cited["start"], cited["end"]) for cited in answer["citations"] if cited["quote"]} <= {(-1, -1)}
    with open_store(online) as store:
        text = read_document(store, "guide/storage.md") or ""
    assert text.split("\n\n")[:2] == ["# STORAGE", "## WHERE ROWS LIVE"]


def test_a_document_that_the_splitter_fails_at_is_refused(folder: Path, online: Settings) -> None:
    """By name, with the splitter's words; the others are ingested."""
    report = ingest(folder, online, splitter=Failing())
    reasons = {refused.source: refused.reason for refused in report.refused}
    assert reasons == {"tides.html": "the splitter Failing failed: ValueError: no moon here"}
    assert len(report.added) == 2


def test_a_chunk_that_does_not_fit_is_refused(tmp_path: Path, online: Settings) -> None:
    """Milvus holds 65,535 bytes; the reason says what mends it."""
    (tmp_path / "long.txt").write_text("x" * 70_000, "utf-8")
    report = ingest(tmp_path / "long.txt", online, splitter=Failing())
    assert report.refused[0].reason == "chunk 1 is longer than 65535 bytes: give the splitter smaller sizes"


@pytest.mark.parametrize("given", [MarkdownHeaderTextSplitter([("#", "h")]), RecursiveCharacterTextSplitter, "x"])
def test_what_is_no_splitter_is_refused(given: Any, folder: Path, online: Settings) -> None:
    """Such as a class, or what splits but is no TextSplitter."""
    with pytest.raises(SettingsError, match="is no TextSplitter"):
        ingest(folder, online, splitter=given)


def test_a_splitter_that_can_not_be_sent(folder: Path, online: Settings) -> None:
    """It is told before any work; without processes to be sent to it does."""
    splitter = Failing()
    splitter.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match=r"can't be sent to other processes.*RAG_READERS=0"):
        ingest(folder, online, splitter=splitter)
    assert len(ingest(folder, online.with_changes(readers=0), splitter=splitter).added) == 2


def test_ours_takes_the_names_of_langchain() -> None:
    """``chunk_size`` by place or name, ``chunk_tokens`` as before, ``add_start_index`` with the right index."""
    expected = split(SectionSplitter(20, 5))
    for same in (SectionSplitter(chunk_size=20, chunk_overlap=5), SectionSplitter(chunk_tokens=20, chunk_overlap=5)):
        assert split(same) == expected
    with pytest.raises(ValueError, match="give one of them"):
        SectionSplitter(20, chunk_tokens=20)
    made = SectionSplitter(20, 5, add_start_index=True).create_documents([TEXT], [{"by": "Ada"}])
    assert [chunk.metadata["start_index"] for chunk in made] == [chunk.metadata["start"] for chunk in expected]
    assert {chunk.metadata["by"] for chunk in made} == {"Ada"}
    transformed = SectionSplitter(20, 5).transform_documents([Document(TEXT)])
    assert [chunk.page_content for chunk in transformed] == [chunk.page_content for chunk in expected]


def test_ours_reads_the_headings_of_any_document() -> None:
    """Nothing says that it is Markdown but its headings; without any it is plain text; what it says itself counts."""

    def headings(text: str = TEXT, **metadata: Any) -> set[str]:
        return {chunk.metadata["heading"] for chunk in split(SectionSplitter(60), text, **metadata)}

    assert headings() == {"Guide", "Guide > Storage", "Guide > Flush"}
    assert headings("No heading.\n\n" * 9) == headings(markup="plain") == {""}
    assert len(headings(pages=12)) == 3

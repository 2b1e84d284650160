"""Chunks are exact slices that keep sections, blocks and sentences together as far as they fit."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_text_splitters import TextSplitter

from rag_chain.documents import blocks, split_documents
from rag_chain.documents.sections import Section, find_sections
from rag_chain.documents.splitting import SectionSplitter, chunk_id, text_to_embed
from rag_chain.models.tokens import count_tokens
from rag_chain.sentences import sentence_starts
from rag_chain.settings import Settings

ORDINARY = "alpha beta Gamma unbelievableness x 3.14 e.g. Dr. end. Next! a-b_c http://x.y/z?q=1 - ... `code` _"
FOREIGN = "naïve 日本語のテキスト。 한국어 ไทย 😀 e\u0301 İ ﬁ antidisestablishmentarianism"
# White space to Python, nothing or a letter to the tokenizer.
ODD = [*(f"a{letter}b" for letter in "\u200b\x1c\x0c\x85\u2028\xa0"), "q" * 120]
WORDS = st.sampled_from([*ORDINARY.split(), *FOREIGN.split(), *ODD])
LINES = st.lists(WORDS, max_size=25).map(" ".join)
BLOCKS = st.one_of(
    LINES,
    st.tuples(st.sampled_from(["# ", "## ", "###### ", "  # ", "> "]), LINES).map("".join),
    st.lists(LINES, max_size=5).map(lambda lines: "\n".join(["```", *lines, "```"])),
    st.lists(LINES, max_size=6).map(lambda lines: "\n".join(f"- {line}" for line in lines)),
    st.sampled_from(
        [
            "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |",
            "Title\n=====",
            "---",
            "<div>\n# no\n</div>",
            "- a\n\n  # in\n  text",
            "1. x\n\n    # code",
            "```\nnot closed",
        ]
    ),
    st.text(max_size=60),
)
ENDS = st.sampled_from(["\n", "\n\n", " \n\n\n", "\r\n", "\r", "\n \n"])
MARKDOWN = st.lists(st.tuples(BLOCKS, ENDS).map("".join), max_size=14).map("".join)
TEXTS = st.one_of(st.text(max_size=300), MARKDOWN)
MARKUPS = st.sampled_from(["markdown", "plain"])


def document(text: str, markup: str = "markdown", **metadata: object) -> Document:
    return Document(text, metadata={"source": "a.md", "markup": markup, **metadata})


def split(text: str, tokens: int = 200, overlap: int = 40, markup: str = "markdown") -> list[Document]:
    return list(SectionSplitter(tokens, overlap).iterate_chunks(document(text, markup)))


def texts(text: str, tokens: int = 200, overlap: int = 40, markup: str = "markdown") -> list[str]:
    return [chunk.page_content for chunk in split(text, tokens, overlap, markup)]


def spans(chunks: list[Document]) -> list[tuple[int, int]]:
    return [(chunk.metadata["start"], chunk.metadata["end"]) for chunk in chunks]


def size(text: str) -> int:
    return count_tokens([text])[0]


def section_at(place: int, sections: list[Section]) -> Section:
    return next(section for section in sections if section.start <= place < section.end)


@settings(deadline=None)
@given(TEXTS, st.integers(4, 60), st.integers(0, 40), MARKUPS)
def test_chunks_are_slices_of_the_text(text: str, tokens: int, overlap: int, markup: str) -> None:
    """``text[start:end]`` is the chunk, which is not blank and has no blank ends."""
    for chunk in split(text, tokens, overlap, markup):
        assert text[chunk.metadata["start"] : chunk.metadata["end"]] == chunk.page_content
        assert chunk.page_content.strip() == chunk.page_content != ""


@settings(deadline=None)
@given(TEXTS, st.integers(4, 60), st.integers(0, 40), MARKUPS)
def test_no_text_is_lost(text: str, tokens: int, overlap: int, markup: str) -> None:
    """All that is not blank is in some chunk, headings without text of their own, too."""
    covered = {place for start, end in spans(split(text, tokens, overlap, markup)) for place in range(start, end)}
    assert all(place in covered or letter.isspace() for place, letter in enumerate(text))


@settings(deadline=None)
@given(TEXTS, st.integers(4, 60), st.integers(0, 40), MARKUPS)
def test_no_chunk_is_too_long(text: str, tokens: int, overlap: int, markup: str) -> None:
    """Counted on its own, no chunk has more tokens than allowed, nor more bytes than Milvus takes."""
    for chunk in texts(text, tokens, overlap, markup):
        assert size(chunk) <= tokens
        assert len(chunk.encode()) <= 65_535


@settings(deadline=None)
@given(TEXTS, st.integers(4, 60), st.integers(0, 40), MARKUPS)
def test_every_chunk_brings_something_new(text: str, tokens: int, overlap: int, markup: str) -> None:
    """Positions count from 0, and each chunk ends after the one before it, whatever the overlap."""
    chunks = split(text, tokens, overlap, markup)
    ends = [end for _, end in spans(chunks)]
    assert ends == sorted(set(ends))
    assert [chunk.metadata["position"] for chunk in chunks] == list(range(len(chunks)))


@settings(deadline=None)
@given(MARKDOWN, st.integers(16, 80), st.integers(0, 40))
def test_overlap_stays_in_its_section_and_starts_at_a_sentence(text: str, tokens: int, overlap: int) -> None:
    """Chunks share text only inside a section, from a sentence or line on, and no more than the overlap."""
    chunks, sections = split(text, tokens, overlap), list(find_sections(text, "markdown"))
    for (_, end), (start, _) in pairwise(spans(chunks)):
        if start >= end:
            continue
        section = section_at(start, sections)
        assert section == section_at(end - 1, sections)
        assert size(text[start:end]) <= overlap
        body = text[section.start : section.end]
        starts = {*sentence_starts(body), *(place + 1 for place, letter in enumerate(body) if letter == "\n")}
        assert any(not body[place : start - section.start].strip() for place in starts if place <= start)


@settings(deadline=None)
@given(MARKDOWN, st.integers(16, 80), st.integers(0, 40))
def test_a_block_that_fits_is_whole(text: str, tokens: int, overlap: int) -> None:
    """A fence, table, list or paragraph of up to three quarters of a chunk is in one piece.

    A section's first block counts with the heading, from which it is not cut off.
    """
    found = spans(split(text, tokens, overlap))
    for section in find_sections(text, "markdown"):
        starts = [section.start, *(block for block in section.blocks if block > section.body)]
        for start, end in zip(starts, [*starts[1:], section.end], strict=True):
            block = text[start:end].strip()
            if block and size(block) <= tokens * 3 // 4:
                place = text.index(block, start)
                assert any(first <= place and place + len(block) <= last for first, last in found)


def test_a_long_markdown_text_is_parsed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sections and blocks are those of the text as a whole, fences across the pieces included."""
    code = "```python\n# no heading\n\nno prose\n```"
    part = f"# One {{n}}\n\nSome *prose*.\n\n{code}\n\n## Two {{n}}\n\n- a\n- b\n\nMore.\n\n"
    text = "".join(part.replace("{n}", str(number)) for number in range(50))
    expected = list(find_sections(text, "markdown"))
    monkeypatch.setattr(blocks, "PIECE_CHARACTERS", 100)
    assert list(find_sections(text, "markdown")) == expected
    assert len(expected) == 100


@pytest.mark.parametrize("separator", ["\n\n", "\n", " ", ""])
def test_a_section_of_any_length_is_cut(separator: str) -> None:
    """A text too long for the tokenizer to take at once is cut as well, at the best kind of place that it has."""
    text = separator.join(f"word{number}x" for number in range(60_000))
    chunks = split(text, 8000, 0, "plain")
    assert separator.join(text[start:end] for start, end in spans(chunks)) == text


def test_ids_are_the_same_in_every_run() -> None:
    """An id depends on source, content and position, and on nothing else."""
    first = SectionSplitter(20, 0).iterate_chunks(document("word " * 50, title="A", modified=1))
    second = SectionSplitter(20, 0).iterate_chunks(document("word " * 50, title="B", modified=2))
    assert [chunk.id for chunk in first] == [chunk.id for chunk in second]


def test_ids_differ_by_source_content_and_position() -> None:
    """Another source, content, content hash or position gives another id."""
    texts = [document("text"), document("text", source="b.md"), document("other")]
    others = [*texts, document("text", content_hash="abc")]
    ids = {str(chunk.id) for other in others for chunk in SectionSplitter(20, 0).iterate_chunks(other)}
    ids.add(chunk_id("a.md", "abc", 1))
    assert len(ids) == 5
    assert all(len(found) == 32 and int(found, 16) >= 0 for found in ids)


def test_chunks_know_their_headings() -> None:
    """The heading path leads from the top to the section, without Markdown's marks."""
    text = "intro\n\n# One\na\n\n### *Deep* `er`\nb\n\n## [Two](http://x.y)\nc\n\n# Three #\nd\n"
    assert [chunk.metadata["heading"] for chunk in split(text)] == ["", "One", "One > Deep er", "One > Two", "Three"]


def test_headings_without_text_go_with_the_section_below_them() -> None:
    """They stand in its heading path, and before it in its text; at the end they go with the one above."""
    chunks = split("# Guide\n\n## Part\n\n### Step\nDo it.\n\n## Empty\n\n## Last\nDone.\n\n## End\n")
    assert [(c.metadata["heading"], c.page_content) for c in chunks] == [
        ("Guide > Part > Step", "# Guide\n\n## Part\n\n### Step\nDo it."),
        ("Guide > Last", "## Empty\n\n## Last\nDone.\n\n## End"),
    ]


def test_a_text_of_headings_only_is_one_chunk() -> None:
    """Where there is nothing but headings they are the text."""
    assert texts("# One\n\n## Two\n") == ["# One\n\n## Two"]


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
def test_a_comment_in_a_fence_is_no_heading(fence: str) -> None:
    """A line with # inside of a code fence starts no section."""
    text = f"# Setup\n\n{fence}sh\n# install\npip install x\n{fence}\n"
    (chunk,) = split(text)
    assert (chunk.metadata["heading"], chunk.page_content) == ("Setup", text.strip())


def test_plain_text_has_no_headings() -> None:
    """Without Markdown a # is a character like any other."""
    (chunk,) = split("# not a heading\n\n## nor this\ntext", markup="plain")
    assert (chunk.metadata["heading"], chunk.page_content) == ("", "# not a heading\n\n## nor this\ntext")


def test_an_underlined_heading_is_a_heading() -> None:
    """Both kinds of underline count."""
    text = "One\n===\na\n\nTwo\n---\nb\n"
    assert [chunk.metadata["heading"] for chunk in split(text)] == ["One", "One > Two"]


def test_a_heading_indented_below_a_list_is_a_heading() -> None:
    """Markdown would take it for a part of the last item, its author did not."""
    assert [chunk.metadata["heading"] for chunk in split("- item\n\n  # Next\n\n  text\n")] == ["", "Next"]


def test_carriage_returns_do_no_harm() -> None:
    """Line ends of other systems move no offset and make no heading of a comment."""
    assert texts("# A\r\none\r\n\r\n# B\r\ntwo\r\n") == ["# A\r\none", "# B\r\ntwo"]
    assert texts("a\r\r```\r# no\r```\r") == ["a\r\r```\r# no\r```"]


@pytest.mark.parametrize(
    "block",
    [
        "```python\n" + "value = compute(1, 2)\n\n" * 4 + "```",
        "| name | size |\n|---|---|\n" + "| alpha | 12 |\n" * 6 + "| omega | 9 |",
        "\n".join(f"- item number {number}" for number in range(12)),
    ],
    ids=["fence", "table", "list"],
)
def test_a_block_is_not_torn(block: str) -> None:
    """Long texts are cut beside the block and not in it."""
    prose = "A sentence of some words stands here. " * 6
    for overlap in (0, 40):
        assert any(block in chunk for chunk in texts(f"# H\n\n{prose}\n\n{block}\n\n{prose}\n", 90, overlap))


def test_a_block_that_does_not_fit_is_cut_at_lines() -> None:
    """A list longer than a chunk is cut between its items."""
    items = [f"- item number {number} is here" for number in range(60)]
    assert "\n".join(texts("\n".join(items), 50, 0)) == "\n".join(items)
    assert all(chunk.startswith("- ") for chunk in texts("\n".join(items), 50, 0))


def test_sections_are_not_mixed() -> None:
    """Two short sections are two chunks."""
    assert texts("# A\none\n\n# B\ntwo\n") == ["# A\none", "# B\ntwo"]


def test_chunks_overlap_by_whole_sentences() -> None:
    """Where a paragraph is cut, the next chunk repeats its last sentences."""
    sentences = [f"This is the sentence with number {number}." for number in range(30)]
    chunks = texts(" ".join(sentences), 60, 20, "plain")
    for before, after in pairwise(chunks):
        shared = after[: after.index(".") + 1]
        assert shared in sentences
        assert before.endswith(shared) or shared in before


def test_a_large_overlap_is_kept_before_a_long_line() -> None:
    """Where only a place inside the overlap would be better, the cut is made further on."""
    short = [f"Line {number} of ten words which are not many." for number in range(5)]
    first, second, *_ = texts("\n".join([*short, "endless " * 200]), 100, 35, "plain")
    assert first == "\n".join(short)
    assert second.startswith(short[2])
    assert "endless" in second


@pytest.mark.parametrize("overlap", range(1, 20))
def test_a_character_of_several_tokens_counts_as_several(overlap: int) -> None:
    """Korean syllables are up to three tokens each, and the overlap stays within its limit."""
    text = "한국어 문장 하나. " * 40
    for (_, end), (start, _) in pairwise(spans(split(text, 40, overlap, "plain"))):
        assert start >= end or size(text[start:end]) <= overlap


def test_without_overlap_nothing_is_repeated() -> None:
    """Chunks meet end to start."""
    text = "Some words in a sentence. " * 60
    found = spans(split(text, 30, 0, "plain"))
    assert all(before[1] < after[0] for before, after in pairwise(found))


def test_pages_are_counted_from_one() -> None:
    """A chunk is on the page on which it starts."""
    text = "First page.\n\nSecond page.\n\nThird page."
    pages = [0, text.index("Second"), text.index("Third")]
    splitter = SectionSplitter(4, 0)
    chunks = splitter.split_documents([document(text, "plain", pages=pages)])
    assert [(chunk.page_content, chunk.metadata["page"]) for chunk in chunks] == [
        ("First page.", 1),
        ("Second page.", 2),
        ("Third page.", 3),
    ]


def test_without_pages_there_is_no_page() -> None:
    """Only documents that have pages give their chunks a page number."""
    (chunk,) = split("text")
    assert "page" not in chunk.metadata


def test_metadata_of_the_document_is_passed_on() -> None:
    """Chunks know what the document knows, except for what only cutting needs."""
    given = document("text", title="T", language="en", pages=[0])
    (chunk,) = SectionSplitter().iterate_chunks(given)
    kept = {"source": "a.md", "title": "T", "language": "en"}
    own = {"heading": "", "start": 0, "end": 4, "position": 0, "page": 1}
    assert chunk.metadata == kept | own


@pytest.mark.parametrize(
    "text",
    [
        "q" * 50_000,
        "0123456789abcdef" * 4000,
        "情報検索は、大量の文書の中から必要なものを見つける技術である。" * 300,
        "情報検索" * 8000,
        "😀" * 40_000,
        "한국어" * 3000,
        "e\u0301" * 3000,
    ],
    ids=["one word", "digits", "Japanese", "Japanese without stops", "emoji", "Korean", "accents"],
)
def test_text_without_places_to_cut_is_cut_anyway(text: str) -> None:
    """Huge words and scripts without spaces lose nothing and stay within the limits."""
    chunks = texts(text, 64, 16)
    assert all(size(chunk) <= 64 and len(chunk.encode()) <= 65_535 for chunk in chunks)
    covered = {place for start, end in spans(split(text, 64, 16)) for place in range(start, end)}
    assert len(covered) == len(text)


@pytest.mark.parametrize("text", ["", " ", "\n\n\t \n", "\u3000\xa0", "\r\n"])
@pytest.mark.parametrize("markup", ["markdown", "plain"])
def test_blank_text_has_no_chunks(text: str, markup: str) -> None:
    """White space of any kind gives nothing."""
    assert split(text, markup=markup) == []


@pytest.mark.parametrize(
    ("metadata", "context"),
    [
        ({"title": "Guide", "heading": "One > Two"}, "Guide > One > Two\n"),
        ({"title": "Guide", "heading": "Guide > Two"}, "Guide > Two\n"),
        ({"title": "Guide", "heading": ""}, "Guide\n"),
        ({"title": "", "heading": "One"}, "One\n"),
        ({}, ""),
    ],
)
def test_what_is_embedded_carries_title_and_heading(metadata: dict[str, str], context: str) -> None:
    """The title, where the heading path does not start with it, and the path stand above the text."""
    assert text_to_embed(Document("Body.", metadata=metadata)) == f"{context}Body."


def test_what_is_stored_is_the_text_alone() -> None:
    """Title and headings of the sections above are not in the chunk's own text."""
    text = "# Top\nWords.\n\n## Sub\n" + "Some words in a sentence. " * 30
    chunks = list(SectionSplitter(50, 0).iterate_chunks(document(text, title="Title")))
    assert len(chunks) > 3
    chunks = chunks[1:]
    assert all(text_to_embed(chunk).startswith("Title > Top > Sub\n") for chunk in chunks)
    assert not any("Top" in chunk.page_content or "Title" in chunk.page_content for chunk in chunks)


def test_it_is_a_langchain_text_splitter() -> None:
    """The methods of LangChain's interface give the same chunks."""
    splitter = SectionSplitter(20, 5)
    assert isinstance(splitter, TextSplitter)
    text = "# A\n" + "Some words in a sentence. " * 20
    expected = texts(text, 20, 5)
    assert splitter.split_text(text) == expected
    assert [chunk.page_content for chunk in splitter.split_documents([document(text)])] == expected
    (chunk, *_) = splitter.create_documents([text], [{"source": "s"}])
    assert (chunk.page_content, chunk.metadata["source"]) == (expected[0], "s")


def test_settings_give_the_size() -> None:
    """``split_documents`` of the package cuts as the settings say."""
    settings = Settings(provider="local", chunk_tokens=16, chunk_overlap=0)
    text = "Some words in a sentence. " * 20
    assert list(split_documents([document(text)], settings)) == split(text, 16, 0)
    assert [chunk.metadata["position"] for chunk in split_documents([document("a"), document("b")], settings)] == [0, 0]

"""Telling words from Markdown's marks."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.markup import blank_unread, plain_words
from rag_chain.words import content_words, is_negated


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("**Bold** and `code`", "Bold and code"),
        ("[a link](http://x.y/z_(1)) here", "a link here"),
        ("![picture](p.png) [text](u 'title')", "picture text"),
        ("Heading {#anchor}", "Heading"),
        ("A<br/>B <span class='x'>C</span>", "AB C"),
        ("List<String> and Vec<T>", "List<String> and Vec<T>"),
        ("snake_case and _stressed_", "snake_case and stressed"),
    ],
)
def test_words_are_what_a_reader_sees(markdown: str, words: str) -> None:
    """Marks and addresses go, names with marks in them stay."""
    assert plain_words(markdown) == words


@given(st.text(alphabet="ab[](){}#<>/*_` \n", max_size=200))
def test_blanking_keeps_every_offset(text: str) -> None:
    """The blanked text is as long as the text and differs only in blanks."""
    blanked = blank_unread(text)
    assert len(blanked) == len(text)
    assert all(new in (old, " ") for old, new in zip(text, blanked, strict=True))


def test_many_brackets_cost_no_more_than_other_text() -> None:
    """A page of opening brackets is done in a moment, not in minutes."""
    started = time.process_time()
    plain_words("[" * 200_000)
    blank_unread("](" * 100_000)
    assert time.process_time() - started < 10


def test_content_words_keep_numbers_whole() -> None:
    """Points, signs and units stay apart from words; plurals and singulars meet."""
    assert content_words("The limits are 3.5 GB at -5 degrees") == {"limit", "3.5", "gb", "-5", "degree"}


@pytest.mark.parametrize(("text", "negated"), [("It does not.", True), ("It doesn't.", True), ("It knots.", False)])
def test_a_denial_is_seen(text: str, negated: bool) -> None:
    """As far as a word can tell."""
    assert is_negated(text) is negated

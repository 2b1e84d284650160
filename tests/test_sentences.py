"""Where sentences begin and end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_chain.sentences import sentence_starts, split_sentences

ANY_TEXT = st.text(
    alphabet=st.one_of(st.sampled_from("aB1.!?。…\"')]*_` \n\t-#>|)（」"), st.characters(codec="utf-8")), max_size=80
)


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@settings(deadline=None)
@given(ANY_TEXT)
def test_spans_are_in_order_and_do_not_overlap(text: str) -> None:
    """Each span starts where the one before it has ended, or later, and ends inside the text."""
    places = [place for span in split_sentences(text) for place in span]
    assert places == sorted(places)
    assert all(0 <= place <= len(text) for place in places)


@settings(deadline=None)
@given(ANY_TEXT)
def test_every_letter_and_digit_is_in_a_sentence(text: str) -> None:
    """Nothing that can be read is outside of all spans."""
    covered = {place for start, end in split_sentences(text) for place in range(start, end)}
    assert all(place in covered for place, character in enumerate(text) if character.isalnum())


@settings(deadline=None)
@given(ANY_TEXT)
def test_no_sentence_is_blank_or_has_blank_ends(text: str) -> None:
    """Every sentence holds a letter or digit, and white space is taken off."""
    for sentence in sentences(text):
        assert any(character.isalnum() for character in sentence)
        assert sentence == sentence.strip()


@settings(deadline=None)
@given(ANY_TEXT)
def test_starts_rise_from_the_first_character(text: str) -> None:
    """Starts begin at 0, rise, and lie inside the text; an empty text has none."""
    starts = list(sentence_starts(text))
    assert starts == sorted(set(starts))
    assert starts[:1] == ([0] if text else [])
    assert all(start < len(text) for start in starts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One is. Two was! Three? Four", ["One is.", "Two was!", "Three?", "Four"]),
        ("Wait... What? No…  Yes.", ["Wait...", "What?", "No…", "Yes."]),
        ('He said "go." Then he went.', ['He said "go."', "Then he went."]),
        ("**Bold.** Next.", ["**Bold.**", "Next."]),
        ("一つ。二つ！「三つ。」四つ", ["一つ。", "二つ！", "「三つ。」", "四つ"]),
        ("A line\n\nAnother", ["A line", "Another"]),
        ("- one\n- two\n* three", ["- one", "- two", "* three"]),
        ("A heading\n# Next\ntext", ["A heading", "# Next\ntext"]),
        ("Wrapped\nline. Next", ["Wrapped\nline.", "Next"]),
    ],
)
def test_sentences_end_at(text: str, expected: list[str]) -> None:
    """Sentences end at stops, closing marks included, at blank lines and before list items."""
    assert sentences(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith and Mr. Jones met J. R. Tolkien.",
        "Use it, e.g. Milvus, i.e. a database.",
        "See Fig. 3 of vol. two.",
        "It is 3.5 GB at example.com/index.html today.",
        "the file main.py is short.",
    ],
)
def test_sentences_do_not_end_at(text: str) -> None:
    """Abbreviations, initials, numbers and names with dots end no sentence."""
    assert sentences(text) == [text]


def test_an_items_number_is_no_sentence() -> None:
    """The number of a list item belongs to the item."""
    assert sentences("1. First thing.\n2. Second thing.\n 10. Tenth.") == [
        "1. First thing.",
        "2. Second thing.",
        "10. Tenth.",
    ]


@pytest.mark.parametrize("text", ["", " \n ", "...", "--- !"])
def test_a_text_without_letters_has_no_sentence(text: str) -> None:
    """Blank texts and bare punctuation give none."""
    assert sentences(text) == []

"""Counting tokens, of whole texts and of spans."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_chain.models.tokens import count_tokens, map_tokens, most_tokens, open_tokenizer, read_vocabulary

TEXTS = st.text(alphabet="ab cé\u0301ﬁ中文😀\n.,-İẞ", max_size=60)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), (" \n", 0), ("milvus", 2), ("How is data stored?", 5), ("中文", 2), ("naïve café", 2)],
)
def test_tokens_of_a_text(text: str, tokens: int) -> None:
    """Words and word pieces are counted, the marks at a text's ends are not."""
    assert count_tokens([text]) == [tokens]


def test_long_texts_are_counted_whole() -> None:
    """Counting knows no limit, whatever the model reads."""
    assert count_tokens(["data " * 5000, "data"]) == [5000, 1]


def test_the_vocabulary_comes_with_the_package() -> None:
    """The tokenizer is read from the package once, without a network."""
    assert json.loads(read_vocabulary())["model"]["type"] == "WordPiece"
    assert open_tokenizer() is open_tokenizer()


@given(TEXTS | st.text() | st.text("가각힣ʰ½ﷺ\u0f73"))
@settings(max_examples=300, deadline=None)
def test_a_text_has_no_more_tokens_than_its_characters_taken_apart(text: str) -> None:
    """The bound that costs nothing holds for every script."""
    assert count_tokens([text])[0] <= most_tokens(text)


@given(TEXTS)
@settings(max_examples=60, deadline=None)
def test_a_whole_span_has_all_tokens(text: str) -> None:
    """The span of the whole text counts as many tokens as the text."""
    assert map_tokens(text).count(0, len(text)) == count_tokens([text])[0]


@given(st.text(st.characters(max_codepoint=127)) | st.text("aA1_-.\x01 \n\x7f\x0b") | st.just("x" * 101 + " y" * 3))
@settings(max_examples=200, deadline=None)
def test_tokens_begin_where_the_tokenizer_says(text: str) -> None:
    """The way that is quick for plain English finds the same tokens."""
    encoding = open_tokenizer().encode(text, add_special_tokens=False)
    assert map_tokens(text).starts == [start for start, _ in encoding.offsets]


@given(TEXTS, st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_spans_add_up(text: str, first: int, second: int) -> None:
    """Cutting a span in two loses no token and counts none twice."""
    start, middle = sorted((min(first, len(text)), min(second, len(text))))
    tokens = map_tokens(text)
    assert tokens.count(start, middle) + tokens.count(middle, len(text)) == tokens.count(start, len(text))


@given(TEXTS, st.integers(0, 60), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_reach_is_the_furthest_end(text: str, start: int, most: int) -> None:
    """Up to its reach a span has at most that many tokens, and one character more would be too much."""
    start = min(start, len(text))
    tokens = map_tokens(text)
    end = tokens.reach(start, most)
    assert tokens.count(start, end) <= most
    assert end == len(text) or tokens.count(start, end + 1) > most


@given(TEXTS, st.integers(0, 60), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_back_is_the_earliest_start(text: str, end: int, most: int) -> None:
    """From there to its end a span has at most that many tokens, and with the token before it too many."""
    end = min(end, len(text))
    tokens = map_tokens(text)
    start = tokens.back(end, most)
    before = [place for place in tokens.starts if place < start]
    assert tokens.count(start, end) <= most
    assert start == 0 or tokens.count(before[-1], end) > most

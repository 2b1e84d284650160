"""Marks in an answer that is still coming."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.answering.marks import MarkFilter


def passed(*pieces: str, numbers: tuple[int, ...] = (1, 2)) -> tuple[str, int]:
    marks = MarkFilter(numbers)
    return "".join([*map(marks.feed, pieces), marks.finish()]), marks.removed


@pytest.mark.parametrize(
    ("answer", "shown", "removed"),
    [
        ("Rows live there [1].", "Rows live there [1].", 0),
        ("Rows live there [9].", "Rows live there.", 1),
        ("Rows live there. [9]", "Rows live there.", 1),
        ("Rows [1][9] and [9][2].", "Rows [1] and [2].", 2),
        ("Rows [1, 2, 9].", "Rows [1][2].", 1),
        ("Rows【1†L3-L4】.", "Rows[1].", 0),
        ("Rows 【7】.", "Rows.", 1),
        ("The list items[0] is first [1].", "The list items[0] is first [1].", 0),
        (
            "Write `items[9]` or\n```\na[9] = b [7]\n```\nthen [9].",
            "Write `items[9]` or\n```\na[9] = b [7]\n```\nthen.",
            1,
        ),
        ("See [the guide](x.md) [1].", "See [the guide](x.md) [1].", 0),
        ("An open [", "An open [", 0),
        ("Ends with blanks  ", "Ends with blanks  ", 0),
        ("In the year [1999].", "In the year [1999].", 0),
        ("", "", 0),
    ],
)
def test_marks_of_no_source_are_taken_out(answer: str, shown: str, removed: int) -> None:
    """They are counted; indexes, years, links and code are no marks."""
    assert passed(answer) == (shown, removed)


def test_a_row_of_hundreds_is_one_row() -> None:
    """However long a row is, and wherever its pieces are cut, nothing but its true marks is left of it."""
    row = "A fact" + " [9]" * 300 + ". Another" + "[1]" * 200 + " [9]" * 90 + "."
    shown = "A fact. Another" + "[1]" * 200 + "."
    assert passed(row)[0] == shown
    for step in (1, 7, 250):
        assert passed(*(row[n : n + step] for n in range(0, len(row), step)))[0] == shown


@given(
    st.lists(
        st.sampled_from(["[1]", "[9]", "[", "]", "1", ",", " ", "`", "```", "word", ".", "\n", "【2†x】", "[2, 9]"]),
        max_size=25,
    ),
    st.lists(st.integers(0, 60), max_size=10),
)
def test_however_it_comes_it_is_the_same(parts: list[str], cuts: list[int]) -> None:
    """Where the stream is cut into pieces changes nothing."""
    answer = "".join(parts)
    places = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    pieces = [answer[start:end] for start, end in pairwise(places)]
    assert passed(*pieces) == passed(answer)


def test_nothing_is_kept_back_for_long() -> None:
    """A reader sees words as they come; only what may become a mark waits."""
    marks = MarkFilter([1])
    assert [marks.feed(piece) for piece in ("Rows", " live", " there", " [", "1", "]", ".")] == [
        *("Rows", " live", " there", "", "", "", " [1]."),
    ]

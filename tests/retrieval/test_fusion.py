"""Two rankings become one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag_chain.retrieval.fusion import fuse

SCORES = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.floats(0, 1), max_size=20)


def test_a_result_that_both_rank_first_is_first() -> None:
    """It has the best score in each."""
    fused = fuse({"a": 0.9, "b": 0.5, "c": 0.4}, {"a": 9.0, "c": 3.0}, dense_weight=0.5, depth=10)
    assert list(fused) == ["a", "c", "b"]


def test_the_one_chunk_with_a_rare_word_comes_first() -> None:
    """Where only one chunk holds a word of the question, that says more than a little less of a cosine."""
    cosines = {f"chunk {number}": 0.5 - number / 1000 for number in range(100)}
    fused = fuse(cosines, {"chunk 60": 7.0}, dense_weight=0.6, depth=100)
    assert next(iter(fused)) == "chunk 60"


def test_words_that_all_chunks_share_change_little() -> None:
    """A keyword ranking in which all are alike does not outvote one in which one stands out."""
    cosines = {"a": 0.8, **{f"{number}": 0.3 for number in range(50)}}
    bm25 = {f"{number}": 2.0 + number / 1e6 for number in range(50)} | {"a": 2.0}
    assert next(iter(fuse(cosines, bm25, dense_weight=0.6, depth=50))) == "a"


@given(SCORES, SCORES, st.floats(0, 1))
def test_every_result_is_kept_once_and_in_order(
    cosines: dict[str, float], bm25: dict[str, float], weight: float
) -> None:
    """Nothing is lost, nothing is added, and scores fall."""
    fused = fuse(cosines, bm25, dense_weight=weight, depth=20)
    assert fused.keys() == cosines.keys() | bm25.keys()
    assert list(fused.values()) == sorted(fused.values(), reverse=True)


@given(SCORES.filter(bool), SCORES)
def test_all_the_weight_is_the_ranking_itself(cosines: dict[str, float], bm25: dict[str, float]) -> None:
    """With a weight of 1 the words change nothing about the order of what has a cosine."""
    fused = fuse(cosines, bm25, dense_weight=1.0, depth=20)
    ranked = [fused[chunk] for chunk in sorted(cosines, key=lambda chunk: -cosines[chunk])]
    assert ranked == sorted(ranked, reverse=True)


def test_nothing_found_is_nothing() -> None:
    """Two empty rankings."""
    assert fuse({}, {}, dense_weight=0.6, depth=100) == {}

"""Sources and conversation share one budget."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rag_chain.answering.packing import cut_text, pack_history, pack_sources
from rag_chain.models.tokens import count_tokens
from rag_chain.sentences import split_sentences

SENTENCE = "Rows live in sealed segments on object storage. "


def source(number: int, sentences: int = 1) -> dict[str, Any]:
    text = (SENTENCE * sentences).strip()
    return {"number": number, "text": text, "start": 100, "end": 100 + len(text)}


def turn(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


def test_what_fits_is_untouched() -> None:
    """Sources in their order, turns in theirs."""
    sources, turns = [source(1), source(2)], [turn("Hello"), turn("Hi", "assistant")]
    assert pack_sources(sources, turns, 1000) == [{**one, "cut": False} for one in sources]
    assert pack_history(turns, 1000) == turns


def test_the_source_that_does_not_fit_is_cut_at_a_sentence_and_says_so() -> None:
    """Those after it are left out; its place is that of what is shown."""
    packed = pack_sources([source(1, 5), source(2, 50), source(3)], [], 200)
    assert [(one["number"], one["cut"]) for one in packed] == [(1, False), (2, True)]
    text = packed[1]["text"]
    assert text.endswith(".")
    assert (packed[1]["end"] - packed[1]["start"], sum(count_tokens([one["text"] for one in packed])) <= 200) == (
        len(text),
        True,
    )


def test_the_first_source_is_never_left_out() -> None:
    """Of one that is too long its beginning is shown."""
    (packed,) = pack_sources([source(1, 100)], [], 50)
    assert packed["cut"]
    assert 0 < sum(count_tokens([packed["text"]])) <= 50


def test_the_conversation_has_a_quarter() -> None:
    """The latest turns are kept, the oldest of them is cut; a short conversation leaves more to the sources."""
    turns = [turn(SENTENCE * 30), turn(SENTENCE * 3, "assistant"), turn("And then?")]
    kept = pack_history(turns, 400)
    assert [one["content"][-5:] for one in kept] == ["[cut]", "age. ", "then?"]
    assert sum(count_tokens([one["content"] for one in kept])) <= 110
    assert len(pack_sources([source(n, 5) for n in range(1, 9)], turns, 400)) < len(
        pack_sources([source(n, 5) for n in range(1, 9)], [], 400)
    )


@given(
    st.lists(st.sampled_from([SENTENCE, "Short one. ", "日本語の文。", "no end ", "\n\n- item "]), min_size=1),
    st.integers(0, 100),
)
def test_a_cut_text_is_whole_sentences(parts: list[str], tokens: int) -> None:
    """It is a beginning of the text and ends where a sentence does."""
    text = "".join(parts)
    cut = cut_text(text, tokens)
    assert text.startswith(cut)
    ends = [end for _, end in split_sentences(text)]
    assert len(cut) in ends
    assert sum(count_tokens([cut])) <= tokens or len(cut) == ends[0]

"""Citations are checked against the text of their sources."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_chain.answering.citations import check_answer
from rag_chain.answering.support import find_support, find_verbatim
from rag_chain.claims import split_claims
from rag_chain.sentences import split_sentences
from rag_chain.words import content_words

STORAGE = "Milvus keeps **rows** in 12 sealed\nsegments. The limit is 1.5 GB. It holds 112 pages."
TIDES = "The moon pulls the ocean, which makes the “spring tide”. It does not move the land."
SOURCES = [
    {"number": 1, "text": STORAGE, "start": 1000},
    {"number": 2, "text": TIDES, "start": 0},
]


def verdicts(answer: str) -> list[tuple[int, str]]:
    return [(citation["number"], citation["verdict"]) for citation in check_answer(answer, SOURCES)["citations"]]


def grounded(answer: str) -> bool:
    held: bool = check_answer(answer, SOURCES)["grounded"]
    return held


@pytest.mark.parametrize(
    "claim",
    [
        "Milvus keeps rows in 12 sealed segments",
        "milvus   KEEPS rows\nin 12 sealed segments",
        "Milvus *keeps* `rows` in **12 sealed** segments",
        "Milvus keeps “rows” in 12—sealed—segments",
        "[Milvus](http://milvus.io) keeps rows in 12 sealed segments",
        "Ｍilvus keeps rows in １２ sealed segments",
    ],
)
def test_a_quotation_is_verbatim_in_any_dress(claim: str) -> None:
    """White space, case, typography and Markdown do not count; the quote is the source's own text."""
    checked = check_answer(f"{claim} [1].", SOURCES)
    (citation,) = checked["citations"]
    assert (citation["verdict"], checked["grounded"]) == ("verbatim", True)
    assert citation["quote"] == "Milvus keeps **rows** in 12 sealed\nsegments"


def test_a_paraphrase_is_supported_by_one_sentence() -> None:
    """A sentence with most of the claim's words stands behind it, and is the quote."""
    (citation,) = check_answer("The ocean is pulled by the moon, which makes a spring tide [2].", SOURCES)["citations"]
    assert (citation["verdict"], citation["quote"]) == ("supported", TIDES[: TIDES.index(".") + 1])


@pytest.mark.parametrize(
    "claim",
    [
        "Milvus keeps rows in 13 sealed segments",
        "The limit is 15 GB",
        "The limit is 5 GB",
        "It holds 12 pages",
        "It holds 1120 pages",
    ],
)
def test_a_wrong_number_is_unsupported(claim: str) -> None:
    """A number has to stand in the source as a whole, however well the words fit."""
    checked = check_answer(f"{claim} [1].", SOURCES)
    assert [(c["verdict"], c["quote"]) for c in checked["citations"]] == [("unsupported", "")]
    assert not checked["grounded"]


def test_a_denial_of_the_source_is_unsupported() -> None:
    """A claim that says the opposite shares its words with the source and is not supported."""
    assert verdicts("The moon does not pull the ocean, which makes the spring tide [2].") == [(2, "unsupported")]


def test_an_invented_claim_is_unsupported() -> None:
    """A claim of which the source knows nothing has no quote, and its place is the source's start."""
    (citation,) = check_answer("Penguins live in Antarctica [1].", SOURCES)["citations"]
    assert citation == {"number": 1, "quote": "", "start": 1000, "end": 1000, "verdict": "unsupported"}


def test_a_source_that_does_not_exist_is_unsupported() -> None:
    """A number that no source has gets an empty quote."""
    checked = check_answer("The moon pulls the ocean [9].", SOURCES)
    (citation,) = checked["citations"]
    assert citation == {"number": 9, "quote": "", "start": 0, "end": 0, "verdict": "unsupported"}
    assert not checked["grounded"]


@pytest.mark.parametrize("marks", ["[2][1]", "[2] [1]", "[2, 1]", "[2,1]", "[2, 1][2]"])
def test_several_marks_are_several_citations(marks: str) -> None:
    """Each source named is checked, once, in the order named."""
    assert verdicts(f"The moon pulls the ocean {marks}.") == [(2, "verbatim"), (1, "unsupported")]


def test_one_wrong_citation_spoils_the_answer() -> None:
    """Each of the sources named has to stand behind the sentence."""
    assert not grounded("The moon pulls the ocean [2][1].")


@pytest.mark.parametrize(
    "answer",
    [
        "The moon pulls the ocean [2]. The limit is 1.5 GB [1].",
        "The moon pulls the ocean. [2] The limit is 1.5 GB. [1]",
        "The moon pulls the ocean.[2] The limit is 1.5 GB.[1]",
        "The moon pulls the ocean... [2] The limit is 1.5 GB?! [1]",
        "“The moon pulls the ocean.” [2] (The limit is 1.5 GB.) [1]",
        "**The moon pulls the ocean.** [2] The limit is 1.5 GB. [1]",
        "The moon pulls the ocean。[2]The limit is 1.5 GB。[1]",
        "The moon pulls the ocean.\n[2]\n\nThe limit is 1.5 GB.\n\n[1]",
        "- The moon pulls the ocean [2]\n- The limit is 1.5 GB [1]",
        "1. The moon pulls the ocean [2].\n2. The limit is 1.5 GB [1].",
    ],
)
def test_a_mark_belongs_to_the_sentence_that_it_follows(answer: str) -> None:
    """Before or after the full stop, in lists and at the end of a paragraph."""
    assert verdicts(answer) == [(2, "verbatim"), (1, "verbatim")]
    assert grounded(answer)


def test_a_sentence_without_a_citation_is_not_grounded() -> None:
    """One sentence that names no source is enough."""
    assert not grounded("The moon pulls the ocean [2]. The limit is 1.5 GB.")


@pytest.mark.parametrize("answer", ["I don't know.", "The sources do not say.", "The sources do not say [1].", "", " "])
def test_a_refusal_is_not_grounded(answer: str) -> None:
    """An answer that claims nothing of its sources is not grounded in them."""
    assert not grounded(answer)


def test_a_sentence_without_content_claims_nothing() -> None:
    """A bare yes needs no source."""
    assert grounded("Yes. The moon pulls the ocean [2].")
    assert [claim.text for claim in split_claims("Yes. So it is. The moon [2].")] == ["The moon."]


def test_an_index_is_no_mark() -> None:
    """Neither in code, nor where it is 0, which no source is."""
    answer = "Read `items[9]` or `a` [1]. The first is rows[0] [2].\n```\nx[3]\n```"
    assert [claim.numbers for claim in split_claims(answer)][:2] == [(1,), (2,)]
    assert all(3 not in claim.numbers for claim in split_claims(answer))


def test_claims_come_without_marks() -> None:
    """Marks of citations and lists are no part of a claim; its sign is."""
    claims = list(split_claims("- One thing [1, 2] here [3].\n2. Other thing.\n-5 degrees [1]."))
    assert [(claim.text, claim.numbers) for claim in claims] == [
        ("One thing here.", (1, 2, 3)),
        ("Other thing.", ()),
        ("-5 degrees.", (1,)),
    ]


def test_offsets_are_those_of_the_document() -> None:
    """``start`` and ``end`` count from the start of the document that the source is a slice of."""
    document = "#" * 1000 + STORAGE
    for citation in check_answer("The limit is 1.5 GB [1]. Sealed are 12 segments of rows [1].", SOURCES)["citations"]:
        assert citation["quote"] == document[citation["start"] : citation["end"]] != ""


def test_nothing_is_found_for_a_claim_without_words() -> None:
    """Bare punctuation is neither in a source nor supported by it."""
    assert find_verbatim("...", STORAGE) is None
    assert find_support("...", STORAGE) is None


WORDS = st.sampled_from(
    "Milvus keeps rows in 12 3.5 segments the a_b **bold** `code` Dr. e.g. (see it) “quoted” naïve 日本語 well-known "
    "x=1 -5 U.S. etc. I 1,000 http://a.b/c No. [link](http://x.y) one/two 😀 _em_ é".split()
)
SENTENCES = st.tuples(
    st.lists(WORDS, min_size=1, max_size=9).map(" ".join), st.sampled_from([*".!?。:", "...", ""])
).map("".join)


@settings(deadline=None)
@given(
    st.lists(SENTENCES, min_size=1, max_size=5),
    st.sampled_from([" ", "\n", "\n\n", "\n- ", "\n1. "]),
    st.integers(0, 50),
    st.sampled_from([" [1]", "[1]"]),
)
def test_any_sentence_of_a_source_is_verbatim(written: list[str], between: str, offset: int, mark: str) -> None:
    """Whatever sentence of a source is quoted, it is found there, at the offsets given."""
    text = between.join(written)
    sources: list[dict[str, Any]] = [{"number": 1, "text": text, "start": offset}]
    for start, end in split_sentences(text):
        if all(word.isdigit() for word in content_words(text[start:end])):
            continue
        checked = check_answer(text[start:end] + mark, sources)
        assert checked["grounded"]
        for citation in checked["citations"]:
            assert citation["verdict"] == "verbatim"
            assert citation["quote"] == text[citation["start"] - offset : citation["end"] - offset] != ""


@settings(deadline=None)
@given(st.text(max_size=120), st.text(max_size=120))
def test_any_answer_can_be_checked(answer: str, text: str) -> None:
    """No text is too odd, and what is quoted always stands in the source."""
    checked = check_answer(answer + " [1].", [{"number": 1, "text": text, "start": 0}])
    for citation in checked["citations"]:
        if citation["number"] == 1:
            assert citation["quote"] == text[citation["start"] : citation["end"]]

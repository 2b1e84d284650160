"""The terms that BM25 counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.errors import SettingsError
from rag_chain.settings import Settings
from rag_chain.store.terms import find_terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Flushing the segments", ["flush", "segment"]),
        ("FLUSHED", ["flush"]),
        ("How do I flush?", ["flush"]),
        ("query_node 2.4", ["query_nod", "2", "4"]),
        ("数据库存储", ["数据", "据库", "库存", "存储"]),
        ("ｍｉｌｖｕｓ", ["milvus"]),
        ("Milvus는 데이터", ["milvus", "는", "데이", "이터"]),
        ("東京 tower", ["東京", "tower"]),
        ("?!", []),
        ("", []),
    ],
)
def test_words_lose_their_endings_and_unspaced_scripts_are_cut_in_pairs(text: str, terms: list[str]) -> None:
    """What is asked and what is written become the same terms."""
    assert find_terms(text, "english") == terms


def test_the_language_is_the_collections() -> None:
    """Each language has its endings; none keeps words whole."""
    assert find_terms("Häuser", "german") == ["haus"]
    assert find_terms("Flushing segments", "none") == ["flushing", "segments"]


def test_a_language_that_nobody_knows_is_refused() -> None:
    """The error lists those that there are."""
    with pytest.raises(SettingsError, match=r"RAG_LANGUAGE.*german"):
        Settings(language="klingon")


@given(st.text(max_size=200))
def test_terms_survive_the_store(text: str) -> None:
    """Joined with blanks and cut at what is no word, as Milvus Lite does, they are what they were."""
    import re

    terms = find_terms(text, "english")
    assert re.findall(r"\w+", " ".join(terms).lower()) == [term.lower() for term in terms]

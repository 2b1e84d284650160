"""The words that carry a sentence's meaning: for choosing sentences and for comparing a claim with its source."""

from __future__ import annotations

import re
import unicodedata

# A number keeps its point and sign; an underscore inside a name belongs to it, one around it is emphasis.
WORD = re.compile(r"(?<![\w.])[-−]?\d[\d.,]*\d|(?<![\w.])[-−]\d|[^\W_]+(?:_+[^\W_]+)*")
_STOP_WORDS = frozenset(
    "a about after all also an and any are as at be because been but by can could do does for from had has have how "
    "if in into is it its may more most of on one only or other our out over so some such than that the their them "
    "then there these they this those through to under up use used uses using was we were what when where which while "
    "who why will with would yes you your".split()
)
_NEGATION = re.compile(r"\b(?:not|no|never|none|neither|nor|without|cannot)\b|n['’]t\b", re.IGNORECASE)


def content_words(text: str) -> set[str]:
    """Return the words that carry meaning, in lower case and without a plural's s."""
    words = (word.lower() for word in WORD.findall(unicodedata.normalize("NFKC", text)))
    return {word.removesuffix("s") if len(word) > 3 else word for word in words if word not in _STOP_WORDS}


def is_negated(text: str) -> bool:
    """Return whether a sentence denies something, as far as a word can tell."""
    return _NEGATION.search(text) is not None

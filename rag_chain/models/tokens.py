"""Count tokens with the WordPiece vocabulary that MiniLM and nomic-embed-text share."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer


def read_vocabulary() -> str:
    """Return the tokenizer definition that comes with the package."""
    return (files("rag_chain.models") / "data" / "wordpiece.json").read_text("utf-8")


@cache
def open_tokenizer() -> Tokenizer:
    """Load the tokenizer, with the truncation and padding of its file switched off."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(read_vocabulary())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text, without the two that mark its ends."""
    encodings = open_tokenizer().encode_batch_fast(list(texts), add_special_tokens=False)
    return [len(encoding) for encoding in encodings]


class TokenMap:
    """Where the tokens of one text lie, so that counting a span costs two look-ups."""

    def __init__(self, starts: list[int], length: int) -> None:
        self.starts = starts
        self.length = length

    def count(self, start: int, end: int) -> int:
        """Return how many tokens begin in ``text[start:end]``."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def reach(self, start: int, tokens: int) -> int:
        """Return the furthest end for which ``text[start:end]`` has at most ``tokens`` tokens."""
        last = bisect_left(self.starts, start) + tokens
        return self.starts[last] if last < len(self.starts) else self.length

    def back(self, end: int, tokens: int) -> int:
        """Return the earliest token's start, or 0, for which ``text[start:end]`` has at most ``tokens`` tokens."""
        first = bisect_right(self.starts, end - 1) - tokens
        return self.starts[first] if first > 0 else 0


def map_tokens(text: str) -> TokenMap:
    """Tokenize a text and keep where its tokens begin."""
    if not text.isascii() or _CONTROL.search(text):
        encoding = open_tokenizer().encode(text, add_special_tokens=False)
        # An accent that was taken off can give offsets out of order; counting needs them sorted.
        return TokenMap(list(accumulate((start for start, _ in encoding.offsets), max)), len(text))
    # The same, four times as fast: a text says few words often, and a word's tokens are the same in each place.
    _learn_words({word for word in set(_WORD.findall(text)) if word not in _words})
    starts: list[int] = []
    for word in _WORD.finditer(text):
        place, inner = word.start(), _words[word.group()]
        starts += [place] if len(inner) == 1 else [place + start for start in inner]
    return TokenMap(starts, len(text))


# In ASCII without the control characters that the tokenizer drops words end where they seem to.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_WORD = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
_MOST_WORDS = 200_000
_words: dict[str, tuple[int, ...]] = {}


def _learn_words(words: set[str]) -> None:
    """Keep where the tokens of some words begin."""
    if len(_words) > _MOST_WORDS:
        _words.clear()
    unknown = list(words)
    for word, encoding in zip(unknown, open_tokenizer().encode_batch(unknown, add_special_tokens=False), strict=True):
        _words[word] = tuple(start for start, _ in encoding.offsets)

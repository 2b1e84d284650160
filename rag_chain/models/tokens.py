"""Count tokens with the WordPiece vocabulary that MiniLM and nomic-embed-text share."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

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


def most_tokens(text: str) -> int:
    """Return a number of tokens that a text does not have more of, for next to nothing.

    A token is at least one character of the text as the tokenizer takes it apart: accents and Hangul's letters alone.
    """
    return len(unicodedata.normalize("NFD", text))


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
    vocabulary, known = _read_words()
    if len(known) > MOST_WORDS:
        known.clear()
    starts: list[int] = []
    for match in _WORD.finditer(text):
        place, word = match.start(), match.group()
        pieces = known.get(word)
        if pieces is None:
            pieces = known[word] = find_pieces(word.lower(), vocabulary)
        starts += [place] if len(pieces) == 1 else [place + start for start in pieces]
    return TokenMap(starts, len(text))


# In ASCII without the control characters that the tokenizer drops words end where they seem to.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_WORD = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
MOST_WORDS = 200_000
# What is longer is one unknown token.
MOST_LETTERS = 100


@cache
def _read_words() -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Return the vocabulary, and where the tokens begin in the words that were met."""
    return open_tokenizer().get_vocab(), {}


def find_pieces(word: str, vocabulary: Container[str]) -> tuple[int, ...]:
    """Return where the tokens of a word begin: the longest known piece, again and again (Wu et al., 2016)."""
    starts: list[int] = []
    start, end = 0, len(word)
    while start < len(word) <= MOST_LETTERS:
        if (word[start:end] if start == 0 else f"##{word[start:end]}") in vocabulary:
            starts.append(start)
            start, end = end, len(word)
        elif end > start + 1:
            end -= 1
        else:
            return (0,)
    return tuple(starts) or (0,)

"""Count tokens with the WordPiece vocabulary that MiniLM and nomic-embed-text share."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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

    def __init__(self, starts: Iterable[int], length: int) -> None:
        # An accent that was taken off can give offsets out of order; counting needs them sorted.
        self.starts = list(accumulate(starts, max))
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
    encoding = open_tokenizer().encode(text, add_special_tokens=False)
    return TokenMap((start for start, _ in encoding.offsets), len(text))

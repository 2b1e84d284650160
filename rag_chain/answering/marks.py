"""Find the ``[n]`` in an answer, also while it is still coming, and take out those that name no source."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What models write for [1]: lists of numbers, and the brackets of some with what they mean by their source.
_ONE = r"\[\d{1,3}(?:\s*,\s*\d{1,3})*\]|【\d{1,3}(?:[†:][^】\n]{0,40})?】"
_MARKS = re.compile(rf"(?:{_ONE})(?:[ \t]?(?:{_ONE}))*")
_NUMBERS = re.compile(r"\[([\d\s,]+)\]|【(\d+)")
# What may become a row of them, or go on as one, when more has come; code in backticks is no place for one.
_BEGUN = re.compile(rf"[ \t]*(?:(?:{_ONE})[ \t]?)*(?:\[[\d\s,]{{0,20}}|【[^】\n]{{0,45}})?\Z")
# Where the beginning is looked for first, in characters from the end; and the longest mark.
TAIL, LONGEST = 300, 100
_CODE = re.compile(r"(`+)")
_PAIRS = (("[", "]"), ("【", "】"))


def _find_begun(text: str) -> int:
    """Return where a row of marks begins that may go on, or the end; nearly always that is near the end."""
    shown = text.rstrip(" \t")
    # Where all brackets are closed and words came after them, a row can only begin; so it is nearly always.
    is_open = any(opening in shown and closing not in shown[shown.rfind(opening) :] for opening, closing in _PAIRS)
    if not is_open and not shown.endswith(("]", "】")):
        return len(shown)
    tail = max(0, len(text) - TAIL)
    begun = _BEGUN.search(text, tail)
    # A row that is longer is met in its middle, at the next of its marks.
    if begun is not None and tail and begun.start() < tail + LONGEST:
        begun = _BEGUN.search(text)
    return begun.start() if begun else len(text)


class MarkFilter:
    """Passes an answer on piece by piece, with every mark as ``[n]`` and those of no source taken out.

    ``removed`` counts the numbers taken out. What stands in backticks stays as it is.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers = frozenset(numbers)
        self._kept_back = ""
        self._fence = ""
        self.removed = 0

    def feed(self, piece: str) -> str:
        """Return what can be said of the answer now that this has come."""
        text = self._kept_back + piece
        end = len(text) - len(text.rstrip("`"))
        cut = len(text) - end if end else _find_begun(text)
        self._kept_back = text[cut:]
        return self._filter(text[:cut])

    def finish(self) -> str:
        """Return what was kept back."""
        rest, self._kept_back = self._kept_back, ""
        return self._filter(rest)

    def _filter(self, text: str) -> str:
        parts = []
        for number, part in enumerate(_CODE.split(text)):
            if number % 2:
                self._fence = "" if part == self._fence else self._fence or part
                parts.append(part)
            else:
                parts += [part] if self._fence else self._rewrite_all(part)
        return "".join(parts)

    def _rewrite_all(self, text: str) -> Iterator[str]:
        """Yield the text piece by piece; of a mark that goes, the blanks before it go, too."""
        end = 0
        for found in _MARKS.finditer(text):
            marks, before = self._rewrite(found), text[end : found.start()]
            yield before if marks else before.rstrip(" \t")
            yield marks
            end = found.end()
        yield text[end:]

    def _rewrite(self, found: re.Match[str]) -> str:
        numbers = [int(n) for listed, one in _NUMBERS.findall(found[0]) for n in (listed or one).split(",")]
        # Sources are numbered from 1: [0] is the index of something.
        if numbers == [0]:
            return found[0]
        kept = [number for number in numbers if number in self._numbers]
        self.removed += len(numbers) - len(kept)
        return "".join(f"[{number}]" for number in kept)

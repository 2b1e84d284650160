"""The corpora of the ingest benchmark: a folder as it is, the same many times over, and an edited one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EDITED, DELETED = 5, 2

_FENCE = re.compile(r"\s*(?:```|~~~)")
_HEADING = re.compile(r"#{1,6} ")
# A list item keeps its mark and HTML its tag, so that they stay what they are; a table is left alone.
_PARAGRAPH = re.compile(r"(\s*(?:[-*+>]|\d+[.)])\s+|<\w[^>]*>)?(?=[^\s|<]|$)")


def copy_corpus(docs: Path, target: Path, times: int) -> int:
    """Copy the folder, several times into ``copy0``, ``copy1``, ... with a word of its own each; return the pages."""
    for number in range(times):
        folder = target / f"copy{number}" if times > 1 else target
        for path in (path for path in docs.rglob("*") if path.is_file()):
            copied = folder / path.relative_to(docs)
            copied.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes()
            marked = times > 1 and path.suffix == ".md"
            copied.write_bytes(mark(content.decode(), f"copy{number}").encode() if marked else content)
    return len(_pages(target))


def mark(text: str, word: str) -> str:
    """Put the word behind every heading and before every paragraph, list item and HTML block."""
    return "\n".join(_mark_lines(text.split("\n"), word))


def edit_corpus(corpus: Path) -> None:
    """Add a sentence to five pages and delete two, spread evenly over the folder."""
    pages = _pages(corpus)
    chosen = pages[:: max(len(pages) // (EDITED + DELETED), 1)][: EDITED + DELETED]
    for page in chosen[:EDITED]:
        page.write_text(f"{page.read_text('utf-8')}\n\nThis sentence is new.\n", "utf-8")
    for page in chosen[EDITED:]:
        page.unlink()


def _pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.md"))


def _mark_lines(lines: list[str], word: str) -> Iterator[str]:
    in_code, after_blank = False, True
    in_front_matter = lines[0].strip() == "---"
    for number, line in enumerate(lines):
        is_fence = not in_front_matter and bool(_FENCE.match(line))
        if in_front_matter or in_code or is_fence:
            yield line
        elif _HEADING.match(line):
            yield f"{line} {word}"
        else:
            begins = _PARAGRAPH.match(line) if after_blank and line else None
            yield f"{begins[0]}{word} {line[begins.end() :]}" if begins else line
        in_code ^= is_fence
        in_front_matter = in_front_matter and (number == 0 or line.strip() != "---")
        after_blank = not line.strip()

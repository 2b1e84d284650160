"""Walk a folder: every file once, in an order that does not depend on the disk."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rag_chain.documents.finding.found import Refusal, why


@dataclass(frozen=True)
class Walked:
    """A file of a walked folder, by its path from there."""

    relative: str
    path: Path


def is_hidden(relative: str) -> bool:
    """Whether a part of the path starts with a dot or is the folder that macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.split("/"))


def walk_folder(root: Path, depth: int | None = None) -> Iterator[Walked | Refusal]:
    """Yield the files below a folder, sorted by name, down to ``depth`` folders.

    Links are followed, and no folder is entered twice; a folder that can't be listed is a refusal.
    """
    seen = {root.resolve()}
    # A stack and not recursion: a tree may be deeper than Python's recursion limit.
    stack = [iter(_list_folder(root, ""))]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
        elif isinstance(item, Refusal) or not _is_folder(item.path):
            yield item
        elif (depth is None or len(stack) <= depth) and (real := item.path.resolve()) not in seen:
            seen.add(real)
            stack.append(iter(_list_folder(item.path, item.relative + "/")))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # whoever reads it as a file says why it can't be
        return False


def _list_folder(folder: Path, prefix: str) -> list[Walked | Refusal]:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        return [Refusal(prefix.rstrip("/") or printable(str(folder)), f"can't be listed: {why(error)}")]
    return [Walked(prefix + printable(name), folder / name) for name in names if not is_hidden(printable(name))]


def printable(name: str) -> str:
    r"""Return a file name as text that UTF-8 can hold; bytes that are not text become ``\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")

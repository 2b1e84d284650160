"""Glob patterns over relative paths: ``*`` and ``?`` stay inside a folder, ``**`` crosses folders."""

import re
from collections.abc import Callable, Sequence

_WILDCARD = re.compile(r"[*?\[]")
_SPAN = re.compile(r".-.|.", re.DOTALL)
_TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def has_wildcard(text: str) -> bool:
    """Whether a path has ``*``, ``?`` or ``[`` in it."""
    return _WILDCARD.search(text) is not None


def split_pattern(pattern: str) -> tuple[str, str]:
    """Split ``docs/en/**/*.md`` into the folder before the first wildcard and the rest."""
    parts = pattern.split("/")
    fixed = next(number for number, part in enumerate(parts) if has_wildcard(part))
    folder = "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ".")
    return folder, "/".join(parts[fixed:])


def deepest(pattern: str) -> int | None:
    """Return how many folders below its root a pattern can reach; None when ``**`` removes the end."""
    parts = pattern.split("/")
    return None if "**" in parts else len(parts) - 1


def build_matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    """Return a test for relative paths: true when any of the patterns matches, or there are none."""
    if not globs:
        return lambda _path: True
    wanted = re.compile("|".join(f"(?:{_translate(glob)})" for glob in globs), re.DOTALL)
    return lambda path: wanted.fullmatch(path) is not None


def _translate(glob: str) -> str:
    """Turn a pattern into a regular expression; ``**`` stands for any number of folders, also none."""
    parts = glob.removeprefix("./").split("/")
    regex = ""
    for number, part in enumerate(parts, start=1):
        last = number == len(parts)
        if part == "**":
            regex += ".*" if last else "(?:[^/]+/)*"
        else:
            regex += "".join(map(_translate_token, _TOKEN.findall(part))) + ("" if last else "/")
    return regex


def _translate_token(part: str) -> str:
    if part.startswith("*"):
        return "[^/]*"
    if part == "?":
        return "[^/]"
    negated = part.startswith("[!") and len(part) > 3
    members = part[2 if negated else 1 : -1]
    if not part.startswith("[") or not members:
        return re.escape(part)
    # A range the wrong way round holds nothing, as in the shell; it must not break the pattern.
    spans = [(span[0], span[-1]) for span in _SPAN.findall(members) if span[0] <= span[-1]]
    choices = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in spans)
    if not choices:
        return "[^/]" if negated else "(?!)"
    return f"(?!/)[{'^' if negated else ''}{choices}]"

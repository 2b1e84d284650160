"""From the places that were named to the files that are there."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import stat_result
from pathlib import Path
from stat import S_ISREG

from rag_chain.documents.finding.archives import ARCHIVE_ENDINGS, find_in_archive, is_archive
from rag_chain.documents.finding.folders import Walked, printable, walk_folder
from rag_chain.documents.finding.found import Finding, FoundFile, Limits, Refusal, Skipped, leave_out, read_path, why
from rag_chain.documents.finding.patterns import build_matcher, deepest, has_wildcard, split_pattern
from rag_chain.documents.loading.table import SUPPORTED_SUFFIXES
from rag_chain.errors import DocumentError

_TEXTS = {".md", ".markdown", ".txt", ".text", ".log", ".html", ".htm", ".xml"}
_STARTS = {b"%PDF-": ".pdf", b"{\\rtf": ".rtf"}
_LONGEST_START = max(map(len, _STARTS))
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class _Search:
    """What holds for all places of one search; ``alone`` when there is only one of them."""

    globs: Sequence[str]
    limits: Limits
    alone: bool


@dataclass(frozen=True)
class _Address:
    url: str


@dataclass(frozen=True)
class _Pattern:
    folder: Path
    pattern: str


def find_files(
    paths: str | Path | Iterable[str | Path],
    *,
    globs: Sequence[str] = (),
    limits: Limits,
) -> Iterator[Finding]:
    """Yield every file at the given places once, and what was refused or skipped on the way.

    A place is a file, a folder, a glob pattern, a zip archive or the http(s) address of one.
    ``globs`` keep only the matching paths of folders and archives. :class:`DocumentError` is raised at
    once for a place that does not exist, and on the way for an address that yields no archive and for a
    broken archive that is the only place.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    places = [_resolve_place(path) for path in named]
    search = _Search(globs, limits, alone=len(places) == 1)
    return _without_repeats(finding for place in places for finding in _find_at(place, search))


def _resolve_place(named: str | Path) -> Path | _Address | _Pattern:
    text = str(named)
    if isinstance(named, str) and _ADDRESS.match(named):
        if not named.lower().startswith(("http://", "https://")):
            raise DocumentError(f"only http and https addresses can be read: {named}")
        return _Address(named)
    # An empty string is a variable that was not set, and not the current folder.
    if text and _stat(Path(text)):
        return Path(text)
    if has_wildcard(text):
        folder, pattern = split_pattern(Path(text).as_posix())
        return _Pattern(_existing(Path(folder)), pattern)
    raise DocumentError(f"no such file or folder: {printable(text) or repr(text)}")


def _existing(folder: Path) -> Path:
    if not _stat(folder):
        raise DocumentError(f"no such file or folder: {printable(str(folder))}")
    return folder


def _stat(path: Path) -> stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DocumentError(f"can't be read: {printable(str(path))!r}: {why(error)}") from error


def _without_repeats(findings: Iterator[Finding]) -> Iterator[Finding]:
    seen = set[object]()
    for finding in findings:
        key = finding.uri if isinstance(finding, FoundFile) else finding
        if key not in seen:
            seen.add(key)
            yield finding


def _find_at(place: Path | _Address | _Pattern, search: _Search) -> Iterator[Finding]:
    if isinstance(place, _Address):
        return _find_at_address(place.url, search)
    if isinstance(place, _Pattern):
        return _find_by_pattern(place, search)
    if place.is_dir():
        return _find_in_folder(place, search)
    if is_archive(place.name):
        return _find_in_named_archive(place, search)
    return iter([_take_named(place, search.limits)])


def _find_at_address(url: str, search: _Search) -> Iterator[Finding]:
    # Imported here: most searches need no HTTP client, and it is slow to import.
    from rag_chain.documents.finding.web import find_at_address

    yield from find_at_address(url, build_matcher(search.globs), search.limits)


def _find_by_pattern(place: _Pattern, search: _Search) -> Iterator[Finding]:
    matches = build_matcher([place.pattern])
    wanted = build_matcher(search.globs)
    root = place.folder.resolve().as_uri()
    for item in walk_folder(place.folder, deepest(place.pattern)):
        if isinstance(item, Refusal):
            yield item
        elif matches(item.relative) and wanted(item.relative):
            # Who writes *.zip has named archives; who writes ** has not.
            if is_archive(place.pattern):
                yield from _find_in_named_archive(item.path, search)
            else:
                yield _take_walked(item, root, search.limits)


def _find_in_folder(folder: Path, search: _Search) -> Iterator[Finding]:
    matches = build_matcher(search.globs)
    root = folder.resolve().as_uri()
    for item in walk_folder(folder):
        if isinstance(item, Refusal):
            yield item
        elif matches(item.relative):
            yield _take_walked(item, root, search.limits)


def _find_in_named_archive(path: Path, search: _Search) -> Iterator[Finding]:
    real = path.resolve()
    try:
        matches = build_matcher(search.globs)
        found = find_in_archive(real.open("rb"), real.as_uri(), real.stat().st_mtime, matches, search.limits)
    except (DocumentError, OSError) as error:
        reason = str(error) if isinstance(error, DocumentError) else f"can't be read: {why(error)}"
        if search.alone:
            raise DocumentError(f"{reason}: {printable(str(path))}") from error
        yield Refusal(printable(path.name), reason)
        return
    yield from found


def _take_named(path: Path, limits: Limits) -> Finding:
    name = printable(path.name)
    if path.suffix.lower() not in SUPPORTED_SUFFIXES:
        known = " ".join([*sorted(SUPPORTED_SUFFIXES), *ARCHIVE_ENDINGS])
        return Refusal(
            name,
            f"no loader for {path.suffix or 'suffixless'} files; there is one for {known}",
        )
    return _take(path, name, path.resolve().as_uri(), limits)


def _take_walked(item: Walked, root: str, limits: Limits) -> Finding:
    suffix = item.path.suffix.lower()
    if is_archive(item.path.name):
        return Skipped(item.relative, "an archive inside a folder is not opened; name it to read it")
    if suffix not in SUPPORTED_SUFFIXES:
        return Skipped(item.relative, f"no loader for {suffix or 'suffixless'} files")
    found = _take(item.path, item.relative, root, limits)
    return (leave_out(found) if isinstance(found, FoundFile) else None) or found


def _take(path: Path, source: str, root: str, limits: Limits) -> Finding:
    try:
        real = path.resolve()
        status = real.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: links that point at each other
        return Refusal(source, f"can't be read: {why(error)}")
    if not S_ISREG(status.st_mode):
        # Opening a pipe would wait for a writer for ever.
        return Refusal(source, "not a regular file")
    if reason := limits.refuse_size(status.st_size):
        return Refusal(source, reason)
    return FoundFile(
        source=source,
        uri=real.as_uri(),
        root=root,
        modified=status.st_mtime,
        size=status.st_size,
        reader=partial(read_path, real),
        suffix=_sniff(real),
    )


def _sniff(path: Path) -> str:
    """Return what a file is whose name says that it is text, where its first bytes say otherwise; else nothing."""
    if path.suffix.lower() not in _TEXTS:
        return ""
    try:
        with path.open("rb") as file:
            start = file.read(_LONGEST_START)
    except OSError:  # whoever reads it says so
        return ""
    return next((suffix for mark, suffix in _STARTS.items() if start.startswith(mark)), "")

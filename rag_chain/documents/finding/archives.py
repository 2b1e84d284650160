"""Look into archives, and archives in them, without unpacking them and without believing what they say."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO

from rag_chain.documents.finding.folders import is_hidden
from rag_chain.documents.finding.found import Finding, FoundFile, Limits, Refusal, Skipped, leave_out
from rag_chain.documents.finding.tars import TarArchive
from rag_chain.documents.finding.zips import Entry, ZipArchive
from rag_chain.documents.loading.table import SUPPORTED_SUFFIXES
from rag_chain.errors import DocumentError

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


def is_archive(name: str) -> bool:
    """Return whether a file of this name is an archive."""
    return name.lower().endswith(ARCHIVE_ENDINGS)


@dataclass
class _Search:
    """What holds for an archive and all that are in it; ``unpacked`` counts the bytes of their documents."""

    uri: str
    matches: Callable[[str], bool]
    limits: Limits
    unpacked: int = field(default=0)


def find_in_archive(
    file: IO[bytes], uri: str, modified: float, matches: Callable[[str], bool], limits: Limits
) -> Iterator[Finding]:
    """Yield what is in an archive, in its own order; sizes are held against the limits before reading.

    :class:`DocumentError` when it is none, at once.
    """
    archive = _open(file, uri, modified, limits)
    return _find_in(archive, _Search(uri, matches, limits), "", 0)


def _open(file: IO[bytes], name: str, modified: float, limits: Limits) -> ZipArchive | TarArchive:
    """Open what it is, whatever its name says; what is neither is called what its name says."""
    start = file.read(2)
    file.seek(0)
    if start == b"PK" or (name.lower().endswith(".zip") and start not in {b"\x1f\x8b", b"BZ"}):
        return ZipArchive(file, modified, limits.password)
    return TarArchive(file, limits.max_archive_bytes)


def _find_in(archive: ZipArchive | TarArchive, search: _Search, prefix: str, depth: int) -> Iterator[Finding]:
    for entry in archive.entries():
        name = f"{prefix}{entry.name}"
        if _is_noise(entry.name):
            continue
        if is_archive(name) and entry.fault is None and entry.left_out is None:
            yield from _find_in_inner(entry, search, name, depth + 1)
        elif search.matches(name):
            yield _take(entry, name, search)


def _find_in_inner(entry: Entry, search: _Search, name: str, depth: int) -> Iterator[Finding]:
    """Yield what is in an archive inside an archive."""
    if depth > search.limits.max_archive_depth:
        yield Skipped(name, "an archive inside an archive is not opened; RAG_MAX_ARCHIVE_DEPTH has it opened")
        return
    if reason := _refuse_entry(entry, search):
        yield Refusal(name, reason)
        return
    try:
        inner = _open(io.BytesIO(entry.read()), name, entry.modified, search.limits)
        yield from _find_in(inner, search, f"{name}/", depth)
    except DocumentError as error:
        yield Refusal(name, str(error))


def _take(entry: Entry, name: str, search: _Search) -> Finding:
    suffix = PurePosixPath(name).suffix.lower()
    reason = None if suffix in SUPPORTED_SUFFIXES else f"no loader for {suffix or 'suffixless'} files"
    if left_out := entry.left_out or reason:
        return Skipped(name, left_out)
    if fault := _refuse_entry(entry, search):
        return Refusal(name, fault)
    found = FoundFile(name, f"{search.uri}!/{name}", search.uri, entry.modified, entry.size, entry.read)
    return leave_out(found) or found


def _refuse_entry(entry: Entry, search: _Search) -> str | None:
    """Return why a file is refused; if it is not, its size counts."""
    if entry.name.startswith("/") or ".." in entry.name.split("/") or re.match(r"[A-Za-z]:", entry.name):
        return "its path leads out of the archive"
    if fault := entry.fault or search.limits.refuse_size(entry.size):
        return fault
    search.unpacked += entry.size
    if search.unpacked > search.limits.max_archive_bytes:
        return f"its archive unpacks to over {search.limits.max_archive_bytes:,} bytes; RAG_MAX_ARCHIVE_BYTES raises it"
    return None


def _is_noise(name: str) -> bool:
    return is_hidden("/".join(part for part in name.split("/") if part not in {".", ".."}))

"""Look into zip archives without unpacking them, and without believing what they say."""

import re
import stat
import struct
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import PurePosixPath
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, LargeZipFile, ZipFile, ZipInfo

from rag_chain.documents.finding.folders import is_hidden
from rag_chain.documents.finding.found import Finding, FoundFile, Limits, Refusal, Skipped, why
from rag_chain.documents.loading.table import SUPPORTED_SUFFIXES
from rag_chain.errors import DocumentError

# zipfile has no common root for what a damaged archive makes it raise: struct and zlib errors, EOFError,
# NotImplementedError for versions and methods, RuntimeError for passwords, ValueError for offsets and
# undecodable names, MemoryError and OverflowError for sizes that are lies.
BROKEN_ZIP = (
    BadZipFile,
    LargeZipFile,
    EOFError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED, _UTF_8_NAME = 0x1, 0x800  # flags in an entry's header
_READ_BYTES = 1 << 16
# Text compresses 3 to 20 times; 200 is out of reach for a document and cheap for a bomb.
_MAX_RATIO = 200
_RATIO_FROM_BYTES = 1_000_000


class Archive:
    """An open zip archive; it closes when neither it nor a file found in it is in use any more."""

    def __init__(self, file: IO[bytes], uri: str, modified: float) -> None:
        # The handle outlives this object only until the collector has seen that nobody reads from it.
        weakref.finalize(self, file.close)
        self.uri = uri
        self.modified = modified
        try:
            self._zip = ZipFile(file)
        except BROKEN_ZIP as error:
            raise DocumentError(f"not a readable zip archive: {why(error)}") from error
        self._refuse_overlaps()

    def entries(self) -> Iterator[tuple[str, ZipInfo]]:
        """Yield the path and header of every file that is not hidden; of equal paths the last one counts."""
        latest = {_name_of(info): info for info in self._zip.infolist()}
        return ((name, info) for name, info in latest.items() if not name.endswith("/") and not _is_noise(name))

    def read(self, info: ZipInfo) -> bytes:
        """Return one file's bytes: never more than its header declares, or an error."""
        try:
            with self._zip.open(info) as member:
                # Small reads bound what one step of decompression can put into memory.
                data = b"".join(iter(partial(member.read, _READ_BYTES), b""))
        except BROKEN_ZIP as error:
            raise DocumentError(f"damaged in its archive: {why(error)}") from error
        if len(data) != info.file_size:
            raise DocumentError("damaged in its archive: it is shorter than its header says")
        return data

    def _refuse_overlaps(self) -> None:
        """Refuse entries that share bytes, the trick of zip bombs; newer Pythons do so when reading."""
        end = 0
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise DocumentError("not a readable zip archive: its entries overlap, as in a zip bomb")
            end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size


def find_in_archive(archive: Archive, matches: Callable[[str], bool], limits: Limits) -> Iterator[Finding]:
    """Yield what is in an archive, in its own order; sizes are held against the limits before reading."""
    total = 0
    for name, info in archive.entries():
        if not matches(name):
            continue
        if reason := _skip_entry(name, info):
            yield Skipped(name, reason)
        elif reason := _refuse_entry(name, info, limits):
            yield Refusal(name, reason)
        elif (total := total + info.file_size) > limits.max_archive_bytes:
            reason = f"its archive unpacks to over {limits.max_archive_bytes:,} bytes"
            yield Refusal(name, f"{reason}; RAG_MAX_ARCHIVE_BYTES raises the limit")
        else:
            yield FoundFile(
                source=name,
                uri=f"{archive.uri}!/{name}",
                root=archive.uri,
                modified=_modified(info, archive.modified),
                size=info.file_size,
                reader=partial(archive.read, info),
            )


def _name_of(info: ZipInfo) -> str:
    """Return the path with ``/``; names that are UTF-8 without saying so are read as UTF-8."""
    name = info.filename
    if not info.flag_bits & _UTF_8_NAME:
        with suppress(UnicodeError):  # then it is the DOS charset that zipfile has read it as
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/").removeprefix("./")


def _is_noise(name: str) -> bool:
    return is_hidden("/".join(part for part in name.split("/") if part not in {".", ".."}))


def _skip_entry(name: str, info: ZipInfo) -> str | None:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link inside an archive"
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".zip":
        return "an archive inside an archive is not opened"
    return None if suffix in SUPPORTED_SUFFIXES else f"no loader for {suffix or 'suffixless'} files"


def _refuse_entry(name: str, info: ZipInfo, limits: Limits) -> str | None:
    if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name):
        return "its path leads out of the archive"
    if info.flag_bits & _ENCRYPTED:
        return "encrypted; pack it again without a password"
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        # bzip2 and LZMA can turn one small read into gigabytes, and documents hardly ever use them.
        return "compressed with an unusual method; pack it again as an ordinary zip"
    ratio = info.file_size / max(info.compress_size, 1)
    if info.file_size > _RATIO_FROM_BYTES and ratio > _MAX_RATIO:
        return f"expands {ratio:,.0f} times, like a zip bomb; unpack it yourself if it is none"
    return limits.refuse_size(info.file_size)


def _modified(info: ZipInfo, otherwise: float) -> float:
    """Return the time in the header, which has no time zone and is taken as UTC."""
    try:
        return datetime(*info.date_time, tzinfo=timezone.utc).timestamp()
    except ValueError:  # month 0 and the like
        return otherwise

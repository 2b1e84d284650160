"""Open zip archives without unpacking them, and without believing what they say."""

import stat
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from rag_chain.documents.finding.found import why
from rag_chain.documents.zip_errors import BROKEN_ZIP
from rag_chain.errors import DocumentError

_LOCAL_HEADER_BYTES = 30
_ENCRYPTED, _UTF_8_NAME = 0x1, 0x800  # flags in an entry's header
_READ_BYTES = 1 << 16
# Text compresses 3 to 20 times; 200 is out of reach for a document and cheap for a bomb.
MAX_RATIO = 200
RATIO_FROM_BYTES = 1_000_000


@dataclass(frozen=True)
class Entry:
    """A file in an archive; ``left_out`` says why it is no document, ``fault`` why it is refused."""

    name: str
    size: int
    modified: float
    read: Callable[[], bytes]
    left_out: str | None = None
    fault: str | None = None


class ZipArchive:
    """An open zip archive; it closes when neither it nor a file found in it is in use any more."""

    def __init__(self, file: IO[bytes], modified: float, password: str | None = None) -> None:
        # The handle outlives this object only until the collector has seen that nobody reads from it.
        weakref.finalize(self, file.close)
        self._modified = modified
        self._password = password.encode() if password else None
        try:
            self._zip = ZipFile(file)
        except (*BROKEN_ZIP, MemoryError) as error:
            raise DocumentError(f"not a readable zip archive: {why(error)}") from error
        self._refuse_overlaps()

    def entries(self) -> Iterator[Entry]:
        """Yield every file; of equal paths the last one counts."""
        latest = {_name_of(info): info for info in self._zip.infolist()}
        for name, info in latest.items():
            if not name.endswith("/"):
                yield Entry(
                    name,
                    info.file_size,
                    _time_of(info, self._modified),
                    partial(self._read, info),
                    left_out="a link inside an archive" if stat.S_ISLNK(info.external_attr >> 16) else None,
                    fault=self._find_fault(info),
                )

    def _read(self, info: ZipInfo) -> bytes:
        """Return one file's bytes: never more than its header declares, or an error."""
        try:
            with self._zip.open(info, pwd=self._password) as member:
                # Small reads bound what one step of decompression can put into memory.
                data = b"".join(iter(partial(member.read, _READ_BYTES), b""))
        except (*BROKEN_ZIP, MemoryError) as error:
            if info.flag_bits & _ENCRYPTED:
                raise DocumentError("encrypted: RAG_DOCUMENT_PASSWORD is not its password") from error
            raise DocumentError(f"damaged in its archive: {why(error)}") from error
        if len(data) != info.file_size:
            raise DocumentError("damaged in its archive: it is shorter than its header says")
        return data

    def _find_fault(self, info: ZipInfo) -> str | None:
        if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
            # bzip2 and LZMA can turn one small read into gigabytes, and documents hardly ever use them.
            return "compressed or encrypted with an unusual method; pack it again as an ordinary zip"
        if info.flag_bits & _ENCRYPTED and self._password is None:
            return "encrypted: set RAG_DOCUMENT_PASSWORD to its password, or pack it again without one"
        ratio = info.file_size / max(info.compress_size, 1)
        if info.file_size > RATIO_FROM_BYTES and ratio > MAX_RATIO:
            return f"expands {ratio:,.0f} times, like a zip bomb; unpack it yourself if it is none"
        return None

    def _refuse_overlaps(self) -> None:
        """Refuse entries that share bytes, the trick of zip bombs; newer Pythons do so when reading."""
        end = 0
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            if info.header_offset < end:
                raise DocumentError("not a readable zip archive: its entries overlap, as in a zip bomb")
            end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size


def _name_of(info: ZipInfo) -> str:
    """Return the path with ``/``; names that are UTF-8 without saying so are read as UTF-8."""
    name = info.filename
    if not info.flag_bits & _UTF_8_NAME:
        with suppress(UnicodeError):  # then it is the DOS charset that zipfile has read it as
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/").removeprefix("./")


def _time_of(info: ZipInfo, otherwise: float) -> float:
    """Return the time in the header, which has no time zone and is taken as UTC."""
    try:
        return datetime(*info.date_time, tzinfo=timezone.utc).timestamp()
    except ValueError:  # month 0 and the like
        return otherwise

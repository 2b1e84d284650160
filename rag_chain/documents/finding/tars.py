"""Open tar archives, compressed or not, without unpacking more than they may."""

import bz2
import gzip
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO

from rag_chain.documents.finding.found import why
from rag_chain.documents.finding.zips import MAX_RATIO, RATIO_FROM_BYTES, Entry
from rag_chain.errors import DocumentError

# What tarfile and the decompressors raise for damage.
BROKEN_TAR = (tarfile.TarError, EOFError, OSError, OverflowError, ValueError, zlib.error)
_READ_BYTES = 1 << 20


class TarArchive:
    """An open tar archive; a compressed one is unpacked into an unnamed temporary file, as far as it may be."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        unpacked = _unpack(file, max_bytes)
        weakref.finalize(self, unpacked.close)
        try:
            self._tar = tarfile.open(fileobj=unpacked, mode="r:")  # noqa: SIM115  closed with the file
            members = [member for member in self._tar if not member.isdir()]
        except BROKEN_TAR as error:
            raise DocumentError(f"not a readable tar archive: {why(error)}") from error
        # Of equal paths the last one counts.
        self._members = {member.name.removeprefix("./"): member for member in members}

    def entries(self) -> Iterator[Entry]:
        """Yield every file."""
        for name, member in self._members.items():
            left_out = None if member.isreg() else "a link or device inside an archive"
            fault = "a file with holes in an archive" if member.issparse() else None
            yield Entry(name, member.size, member.mtime, partial(self._read, member), left_out, fault)

    def _read(self, member: tarfile.TarInfo) -> bytes:
        try:
            content = self._tar.extractfile(member)
            data = content.read() if content is not None else b""
        except BROKEN_TAR as error:
            raise DocumentError(f"damaged in its archive: {why(error)}") from error
        if len(data) != member.size:
            raise DocumentError("damaged in its archive: it is shorter than its header says")
        return data


def _unpack(file: IO[bytes], max_bytes: int) -> IO[bytes]:
    """Return the plain archive, in place of the file if that is compressed."""
    start = file.read(6)
    packed = file.seek(0, 2)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        stream: IO[bytes] = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]  # it is one in all but name
    elif start.startswith(b"BZh"):
        stream = bz2.BZ2File(file)
    elif start.startswith((b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        file.close()
        raise DocumentError("compressed with an unusual method; pack it again as .tar.gz")
    else:
        return file
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115  the archive closes it
    try:
        _copy(stream, unpacked, min(max_bytes, max(RATIO_FROM_BYTES, MAX_RATIO * packed)))
    except BaseException:
        unpacked.close()
        raise
    finally:
        file.close()
    unpacked.seek(0)
    return unpacked


def _copy(stream: IO[bytes], target: IO[bytes], most: int) -> None:
    try:
        while piece := stream.read(_READ_BYTES):
            target.write(piece)
            if target.tell() > most:
                break
    except BROKEN_TAR as error:
        raise DocumentError(f"not a readable tar archive: {why(error)}") from error
    if target.tell() > most:
        raise DocumentError(f"unpacks to over {most:,} bytes, like a bomb; unpack it yourself if it is none")

"""Keep on disk what loaders give, until it is read: texts of any number and length take no memory."""

from __future__ import annotations

import tempfile
from threading import Lock
from typing import IO, TYPE_CHECKING

from rag_chain.documents.finding.found import why
from rag_chain.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self


class Spool:
    """A temporary file of records. It has no name, so that it is gone with this process, however that ends."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, record: bytes) -> tuple[int, int]:
        """Add a record; return where it starts and how long it is."""
        try:
            with self._lock:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix="rag_chain_")  # noqa: SIM115  closed with this object
                self._file.seek(self._end)
                self._file.write(record)
        except OSError as error:
            folder = tempfile.gettempdir()
            raise DocumentError(
                f"what is loaded can't be kept in {folder} ({why(error)}): make room there, or set TMPDIR"
            ) from error
        place = (self._end, len(record))
        self._end += len(record)
        return place

    def read(self, places: Iterable[tuple[int, int]]) -> bytes:
        """Return the records at these places, one to a line."""
        if self._file is None:
            raise DocumentError("what was loaded is not kept any more: load it again")
        try:
            with self._lock:
                return b"\n".join(self._read_one(self._file, *place) for place in places)
        except OSError as error:
            raise DocumentError(f"what was loaded can't be read: {why(error)}") from error

    def close(self) -> None:
        """Give the room on the disk back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def _read_one(file: IO[bytes], start: int, length: int) -> bytes:
        file.seek(start)
        return file.read(length)

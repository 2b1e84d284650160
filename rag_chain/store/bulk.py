"""Milvus' bulk import: rows go to Parquet files, the files to an object store, and from there into a new collection.

A server imports rows as they are and looks for no key that is there already: the same file imported twice
is every row twice. So it goes into a new collection only, which is counted before anybody reads it, and a run
that broke off begins again with another.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rag_chain.errors import SettingsError, StoreError, in_brief
from rag_chain.store.objects import INSTALL, Bucket, read_bucket
from rag_chain.store.schema import TERMS, build_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pymilvus import MilvusClient

    from rag_chain.settings import Settings
    from rag_chain.store.collection import Row, Store

logger = logging.getLogger(__name__)

# Everything of ours below the prefix that was given.
FOLDER = "rag_chain_bulk"
POLL_SECONDS = 0.5
# An import that gets no further in this time won't.
STALL_SECONDS = 1800.0
# More rows than were written won't go away: Milvus has imported a file twice.
SURPLUS_SECONDS = 60.0
COMPLETED, FAILED = "Completed", ("Failed", "Failed and cleaned")


@dataclass(frozen=True)
class Bulk:
    """Where the files of bulk imports go, and how many bytes of rows into one."""

    bucket: Bucket
    file_bytes: int

    @contextmanager
    def begin(
        self, place: Store, new: Store, on_rows: Callable[[int, int], None] = lambda *_: None
    ) -> Iterator[BulkImport]:
        """Give an import into ``new``, a new and empty collection behind the name of ``place``.

        The caller has that name's turn: objects of earlier runs into it are nobody's, and removed. Those of this
        run are gone at the end, however it ends. ``on_rows`` is told how many rows of how many are imported.
        """
        folder = self.bucket.join(FOLDER, _name(place))
        self.bucket.clear(folder)
        with TemporaryDirectory(prefix="rag_chain-bulk-") as local:
            run = BulkImport(self, new, f"{folder}/{uuid.uuid4().hex}", Path(local), on_rows)
            try:
                yield run
            finally:
                self._clear(folder)

    def _clear(self, folder: str) -> None:
        """Remove the objects; what can't be removed now is by the next run."""
        try:
            self.bucket.clear(folder)
        except StoreError as error:
            logger.warning("objects of the import stay behind below %s: %s", folder, error)


@dataclass
class _Task:
    """The import of one file: Milvus' number for it, and how far it is."""

    name: str
    number: int
    rows: int
    progress: int = -1
    complete: bool = False


class BulkImport:
    """The import into one new collection; each row must be written once."""

    def __init__(
        self, bulk: Bulk, target: Store, folder: str, local: Path, on_rows: Callable[[int, int], None]
    ) -> None:
        self._bucket, self._file_bytes = bulk.bucket, bulk.file_bytes
        self._target = target
        self._folder = folder
        self._writer = _build_writer(target, local)
        self._on_rows = on_rows
        self._tasks: list[_Task] = []

    @property
    def rows(self) -> int:
        """How many rows have been written."""
        return int(self._writer.total_row_count)

    def write(self, rows: Iterable[Row]) -> None:
        """Write rows to a file; one that is full is imported while the next is written."""
        from pymilvus.exceptions import MilvusException

        for row in rows:
            try:
                self._writer.append_row(dict(row))
            except MilvusException as error:
                raise StoreError(f"a chunk can't be written to a Parquet file: {error.message}") from error
            if self._writer.buffer_size >= self._file_bytes:
                self._send()

    def finish(self) -> None:
        """Import what is left, and return when the collection counts every row once.

        Raises ``StoreError`` with Milvus' reason when it refuses a file.
        """
        self._send()
        self._wait("imported", self._count_imported)
        # Some 20 seconds after it says that it has imported them it shows them.
        self._wait("shown", self._target.count)

    def _send(self) -> None:
        """Close the file, put it into the object store, and have it imported."""
        rows, before = self._writer.buffer_row_count, len(self._writer.batch_files)
        if not rows:
            return
        # Done in a thread, which keeps what goes wrong to itself.
        self._writer.commit()
        files = [Path(file) for batch in self._writer.batch_files[before:] for file in batch]
        if len(files) != 1:
            raise StoreError(f"{rows:,} chunks could not be written to a file in {self._writer.data_path}: make room")
        name = f"{self._folder}/{len(self._tasks) + 1}.parquet"
        self._bucket.upload(files[0], name)
        files[0].unlink()
        self._count_imported()
        self._tasks.append(_Task(name, self._start(name), rows))

    def _start(self, name: str) -> int:
        def start(client: MilvusClient) -> int:
            handler, context = _reach(client)
            # pymilvus' public way belongs to an interface that warns at every call. With a timeout it would try again
            # what may have begun; the connection has one of its own.
            return int(handler.do_bulk_insert(self._target.name, "", [name], context=context, retry_times=0))

        return self._target.milvus.run("starting a bulk import", start)

    def _count_imported(self) -> int:
        """Return how many rows are imported, as far as all before them are; raise when a file was refused."""
        done = 0
        for task in self._tasks:
            if not task.complete:
                self._look(task)
            if not task.complete:
                break
            done += task.rows
        return done

    def _look(self, task: _Task) -> None:
        """Ask Milvus how far it is."""

        def look(client: MilvusClient) -> Any:
            handler, context = _reach(client)
            return handler.get_bulk_insert_state(task.number, timeout=self._timeout, context=context)

        state = self._target.milvus.run("asking for a bulk import", look)
        if state.state_name in FAILED:
            reason = in_brief(state.failed_reason, 300)
            raise StoreError(
                f"Milvus could not import {task.name} ({reason}): see that --bulk names the bucket in which Milvus "
                "keeps its own files (minio.bucketName in its configuration), and look into its log"
            )
        task.progress, task.complete = int(state.progress), state.state_name == COMPLETED
        # Servers that do not tell the number are found out when the rows are counted.
        if task.complete and state.row_count not in {0, task.rows}:
            raise StoreError(
                f"Milvus imported {state.row_count:,} of {task.rows:,} chunks of {task.name}: look into its log, "
                "and run the same command again"
            )

    def _wait(self, stage: str, count: Callable[[], int]) -> None:
        """Wait until so many rows are at this stage as were written."""
        last, since = (-1, -1), time.monotonic()
        while (done := count()) != self.rows:
            state = done, sum(task.progress for task in self._tasks)
            if state != last:
                last, since = state, time.monotonic()
            if time.monotonic() - since > (STALL_SECONDS if done < self.rows else SURPLUS_SECONDS):
                raise StoreError(
                    f"Milvus has {stage} {done:,} of {self.rows:,} chunks and gets no further: look into its log, "
                    "then run the same command again, which begins with a new collection"
                )
            self._on_rows(min(done, self.rows), self.rows)
            time.sleep(POLL_SECONDS)

    @property
    def _timeout(self) -> float:
        return self._target.address.timeout


def read_bulk(settings: Settings, url: str) -> Bulk:
    """Return the bulk import by way of ``s3://BUCKET/PREFIX``; ``settings`` name the Milvus that is to import.

    Raises ``SettingsError`` where it can't be, and ``StoreError`` where the object store can't be written to.
    """
    if settings.is_milvus_lite:
        raise SettingsError("Milvus Lite has no bulk import: leave --bulk out, or set MILVUS_URI to a Milvus server")
    bulk = Bulk(read_bucket(settings, url), settings.bulk_file_megabytes << 20)
    _import_writer()
    bulk.bucket.check()
    return bulk


def _import_writer() -> Any:
    """Return the class that writes the files."""
    import rag_chain.store.vendor  # noqa: F401  # isort: skip  before anything of pymilvus

    try:
        from pymilvus.bulk_writer import LocalBulkWriter
    except ImportError as error:
        raise SettingsError(f"a bulk import needs packages that are not installed: {INSTALL}") from error
    # They log each step to stderr, and what was in a row that they refuse; the exception says enough.
    for name in ("bulk_writer", "pymilvus.bulk_writer"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return LocalBulkWriter


def _build_writer(target: Store, folder: Path) -> Any:
    schema = build_schema(target.dimensions(), with_bm25=TERMS in target.fields(), on_lite=False)
    # It would close files that are large enough in threads of its own, and keep to itself what goes wrong there.
    return _import_writer()(schema, str(folder), chunk_size=sys.maxsize)


def _reach(client: MilvusClient) -> tuple[Any, Any]:
    """Return what sends pymilvus' calls, and what says in which database."""
    return client._get_connection(), client._generate_call_context()  # noqa: SLF001


def _name(place: Store) -> str:
    """Return the folder of a collection's name: its own of each Milvus and database that share the object store."""
    where = repr((place.address.uri, place.address.database, place.name))
    return f"{place.name}-{hashlib.sha256(where.encode()).hexdigest()[:16]}"

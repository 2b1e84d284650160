"""One move from an opened collection to a name elsewhere: fill a new collection, compare, measure, publish."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rag_chain.errors import FingerprintError, SettingsError, StoreError
from rag_chain.store.copying import Step, copy_missing, count_differences
from rag_chain.store.filters import RECORDS
from rag_chain.store.move_report import MoveReport
from rag_chain.store.recall import measure_recall
from rag_chain.store.schema import TERMS
from rag_chain.store.terms import TERMS_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rag_chain.store.bulk import Bulk
    from rag_chain.store.collection import Row, Store
    from rag_chain.store.fingerprint import Fingerprint
    from rag_chain.store.recall import Recall

# A property of a moved collection: what it was moved from. An interrupted move is found again by it.
ORIGIN = "rag_chain.moved_from"
# The same of one that is imported: it is never gone on with, since nobody knows what the server still puts into it.
BULK_ORIGIN = "rag_chain.imported_from"
# One to copy, one to see that nothing is missing; more only when the source changes meanwhile.
MOST_ROUNDS = 6
# Between two looks at the index, in seconds.
PAUSE = 0.5

# What a message about the target has to name instead of the settings, which name the source.
_TARGET_NAMES = {
    "MILVUS_URI": "--to",
    "MILVUS_TOKEN": "RAG_MOVE_TOKEN",
    "MILVUS_DB_NAME": "--to-db",
    "RAG_COLLECTION": "--collection",
}


@contextmanager
def target_names() -> Iterator[None]:
    """Let errors about the target name the options that mend them."""
    try:
        yield
    except (SettingsError, StoreError) as error:
        message = str(error)
        for setting, option in _TARGET_NAMES.items():
            message = message.replace(setting, option)
        raise type(error)(message) from error


@dataclass(frozen=True)
class _Contents:
    """What tells that a collection has changed: its number of chunks and its documents' versions."""

    chunks: int
    documents: int
    digest: str


class MoveJob:
    """A move from one opened collection to a name elsewhere."""

    def __init__(
        self,
        source: Store,
        place: Store,
        queries: int,
        index_seconds: float,
        on_progress: Callable[[str, int, int], None],
        *,
        bulk: Bulk | None = None,
    ) -> None:
        self._source = source
        self._place = place
        self._queries = queries
        self._index_seconds = index_seconds
        self._on_progress = on_progress
        self._bulk = bulk

    def run(self, *, replacing: bool, keep_old: bool) -> MoveReport:
        """Fill a new collection, and put it in place."""
        with ExitStack() as stack:
            # By its own name: a rebuild of the source meanwhile must not mix two collections.
            current = self._source.generations.current() or self._source.name
            source = stack.enter_context(self._source.beside(current))
            source.open_for(None, writing=False)
            origin = {BULK_ORIGIN if self._bulk else ORIGIN: _describe_origin(source)}
            with target_names():
                new = None if self._bulk else self._resume(origin)
                if new is None and self._is_moved(source) and self._count_both().is_complete:
                    return self.compare()
                self._refuse_occupied(replacing=replacing)
            fingerprint = _read_fingerprint(source, self._place)
            new = new or self._place.rebuild(fingerprint, source.dimensions(), origin)
            stack.enter_context(new)
            try:
                report = self._fill(source, new, _language(fingerprint))
            except StoreError as error:
                self._refuse_rebuilt(source, error)
                raise
            with target_names():
                self._refuse_occupied(replacing=replacing)
            self._place.check_turn()
            self._place.publish(new, keep_old=keep_old)
        return report

    def compare(self) -> MoveReport:
        """Compare the source with what is in place."""
        report = self._count_both()
        recall = self._measure(self._source, self._place, report.source) if report.target else None
        return replace(report, recall=recall)

    def _count_both(self) -> MoveReport:
        with target_names():
            self._place.open_for(None, writing=False)
        missing, surplus = count_differences(self._source, self._place)
        contents = _look(self._source)
        return MoveReport(
            self._place.name,
            source=contents.chunks,
            target=self._place.count(),
            documents=contents.documents,
            present=contents.chunks - missing,
            missing=missing,
            surplus=surplus,
        )

    def _resume(self, origin: dict[str, str]) -> Store | None:
        """Return what an interrupted move from the same collection has filled so far."""
        name = self._place.generations.find_unfinished(origin)
        if name is None:
            return None
        new = self._place.beside(name)
        new.open_for(None, writing=True)
        return new

    def _is_moved(self, source: Store) -> bool:
        """Return whether an earlier run has put this very collection in place."""
        current = self._place.generations.current()
        known = {} if current is None else self._place.generations.properties(current)
        return _describe_origin(source) in {known.get(ORIGIN), known.get(BULK_ORIGIN)}

    def _refuse_occupied(self, *, replacing: bool) -> None:
        if self._place.generations.current() is None or replacing:
            return
        self._place.open_for(None, writing=False)
        raise StoreError(
            f"{self._place.name!r} at {self._place.address.uri} already holds {self._place.count():,} chunks: "
            "name another --collection, or put the moved one in its place with --replace"
        )

    def _refuse_rebuilt(self, source: Store, cause: StoreError | None = None) -> None:
        """Refuse when the source's name points elsewhere by now; what it pointed at may be gone."""
        if self._source.generations.current() != source.name:
            raise StoreError("the source was rebuilt while it was moved: run the same command again") from cause

    def _fill(self, source: Store, new: Store, language: str) -> MoveReport:
        """Copy until both hold the same, have it indexed and measured, and see that nothing has changed since."""
        total: Step | None = None
        for _ in range(MOST_ROUNDS):
            before = _look(source)
            counter = self._counter("check" if total else "chunks", before.chunks)
            if self._bulk is not None and total is None:
                step = self._import(self._bulk, source, new, language, counter)
            else:
                step = copy_missing(source, new, language, counter)
            total = Step(total.sent + step.sent, total.present, total.removed + step.removed) if total else step
            if step.changed:
                continue
            self._wait_for_index(new, before.chunks)
            recall = self._measure(source, new, before.chunks)
            after = _look(source)
            self._refuse_rebuilt(source)
            if before != after:
                continue
            if (held := new.count()) != after.chunks:
                raise StoreError(
                    f"{new.name!r} counts {held:,} chunks where the source has {after.chunks:,} of the same ids: "
                    "see that nobody else writes to it, drop it and run the same command again"
                )
            return MoveReport(
                self._place.name,
                source=after.chunks,
                target=held,
                documents=after.documents,
                copied=total.sent,
                present=total.present,
                recall=recall,
            )
        raise StoreError(
            "the source is still being written to: let ingests into it end, "
            "then run the same command again, which goes on from here"
        )

    def _import(self, bulk: Bulk, source: Store, new: Store, language: str, counter: Callable[[int], None]) -> Step:
        """Do for an empty collection what copying does, by a bulk import."""
        with bulk.begin(self._place, new, partial(self._on_progress, "import")) as files:
            step = copy_missing(source, new, language, counter, files.write)
            files.finish()
        return step

    def _measure(self, source: Store, target: Store, chunks: int) -> Recall | None:
        return measure_recall(source, target, self._queries, self._counter("exact search", chunks))

    def _wait_for_index(self, store: Store, chunks: int) -> None:
        """Wait until a server has indexed every chunk; a search before that is another one than after it."""
        store.flush()
        if store.address.is_lite:
            return
        end = time.monotonic() + self._index_seconds
        while True:
            index = store.index.require()
            self._on_progress("index", max(0, index.rows - index.pending), max(index.rows, chunks))
            missing = max(index.pending, chunks - index.rows)
            if missing <= 0:
                return
            if time.monotonic() > end:
                raise StoreError(
                    f"{store.address.uri} has not indexed {missing:,} of {chunks:,} chunks after "
                    f"{self._index_seconds:g} s: run the same command again, which copies nothing twice, "
                    "with a longer --wait"
                )
            time.sleep(PAUSE)

    def _counter(self, stage: str, total: int) -> Callable[[int], None]:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            self._on_progress(stage, done, max(done, total))

        return count


def _look(store: Store) -> _Contents:
    def digest(rows: Iterable[Row]) -> tuple[int, str]:
        known, documents = hashlib.sha256(), 0
        for row in rows:
            documents += 1
            known.update(json.dumps([row["source"], row["version"], row["chunks"]]).encode())
        return documents, known.hexdigest()

    documents, versions = store.read(RECORDS, ["source", "version", "chunks"], digest)
    return _Contents(store.count(), documents, versions)


def _describe_origin(source: Store) -> str:
    """Return where a collection is, without a password that its address may hold."""
    host = urlsplit(source.address.uri).netloc
    uri = source.address.uri.replace(host, host.rpartition("@")[2], 1) if host else source.address.uri
    return json.dumps({"uri": uri, "database": source.address.database, "collection": source.name}, sort_keys=True)


def _read_fingerprint(source: Store, place: Store) -> Fingerprint:
    """Return what the source was made with, if its terms can be had where they are needed."""
    fingerprint = source.fingerprint() or {}
    version = str(fingerprint.get("terms", "")).partition("/")[0]
    if place.understands_text and TERMS not in source.fields() and version != str(TERMS_VERSION):
        raise FingerprintError(
            f"{source.name!r} was made with terms {fingerprint.get('terms')!r}, which this version does not cut: "
            "build it anew there with: rag-chain ingest PATH"
        )
    return fingerprint


def _language(fingerprint: Fingerprint) -> str:
    return str(fingerprint.get("terms", "")).partition("/")[2] or "none"

"""Move a collection to another Milvus with its stored vectors: no model is asked, and no text is embedded again."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rag_chain.errors import SettingsError, StoreError
from rag_chain.settings import Settings
from rag_chain.store.bulk import read_bulk
from rag_chain.store.collection import open_store
from rag_chain.store.move_job import MoveJob, target_names
from rag_chain.store.writing import ROWS_PER_FLUSH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rag_chain.store.collection import Store
    from rag_chain.store.move_report import MoveReport

QUERIES = 200
INDEX_SECONDS = 600.0


def move(
    to: str,
    settings: Settings | None = None,
    *,
    database: str | None = None,
    collection: str | None = None,
    replace: bool = False,
    keep_old: bool = False,
    bulk: str | None = None,
    queries: int = QUERIES,
    index_seconds: float = INDEX_SECONDS,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> MoveReport:
    """Copy the settings' collection to the Milvus at ``to``, and let its name there answer when all is in.

    Text, vectors, metadata and fingerprint go as they are stored; only the terms of BM25 are cut anew, for a
    Milvus that has it from one that has not. The same call goes on where an interrupted one stopped. What is
    written to the source meanwhile is copied, too. A name that holds another collection already is refused
    unless ``replace``; with ``keep_old`` that one stays behind the name, as a rebuild's does. With ``bulk``, such as
    ``s3://bucket/prefix``, a server imports files from its object store; interrupted, that begins anew. The recall is
    measured with ``queries`` stored vectors; ``on_progress`` is told stage, done and total. The source stays.
    Raises a :class:`~rag_chain.errors.RagChainError` when the collection is not in place after it.
    """
    started = time.monotonic()
    settings = settings or Settings()
    target = _aim(settings, to, database, collection)
    with target_names():
        way = read_bulk(target, bulk) if bulk is not None else None
    with _open_both(settings, target) as (source, place):
        job = MoveJob(source, place, queries, index_seconds, on_progress, bulk=way)
        return job.run(replacing=replace, keep_old=keep_old).after(started)


def check_move(
    to: str,
    settings: Settings | None = None,
    *,
    database: str | None = None,
    collection: str | None = None,
    queries: int = QUERIES,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> MoveReport:
    """Compare the collection at ``to`` with the settings' own: ids, counts and recall; change nothing."""
    started = time.monotonic()
    settings = settings or Settings()
    target = _aim(settings, to, database, collection)
    missing = StoreError(
        f"there is no {target.tenant_collection!r} at {target.milvus_uri} to compare with: leave --check-only out"
    )
    # Opening a path of Milvus Lite would make it.
    if target.is_milvus_lite and not Path(target.milvus_uri).exists():
        raise missing
    with _open_both(settings, target) as (source, place):
        if not place.exists():
            raise missing
        return MoveJob(source, place, queries, 0, on_progress).compare().after(started)


def _aim(settings: Settings, to: str, database: str | None, collection: str | None) -> Settings:
    """Return the settings of the target; secrets of the source go nowhere else."""
    with target_names():
        target = settings.with_changes(milvus_uri=to, collection=collection or settings.collection)
        same = target.milvus_uri == settings.milvus_uri
        return target.with_changes(
            milvus_token=settings.move_token or (settings.milvus_token if same else None),
            milvus_db_name=database or (settings.milvus_db_name if same else None),
        )


@contextmanager
def _open_both(settings: Settings, target: Settings) -> Iterator[tuple[Store, Store]]:
    """Open source and target, and keep ingests into either waiting."""
    with ExitStack() as stack:
        source = stack.enter_context(open_store(settings))
        source.open_for(None, writing=False)
        with target_names():
            place = stack.enter_context(open_store(target, hosted=source.count() > ROWS_PER_FLUSH))
        key = {store: (store.address.uri, store.address.database, store.name) for store in (source, place)}
        if key[source] == key[place]:
            raise SettingsError(
                f"{place.name!r} at {place.address.uri} is what is to be moved: "
                "name another place with --to, or another --collection"
            )
        # Always in the same order: two moves in opposite directions would wait for each other for ever.
        for store in sorted(key, key=lambda store: key[store]):
            stack.enter_context(store.take_turn())
        yield source, place

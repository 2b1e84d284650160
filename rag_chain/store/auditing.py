"""Hold what several processes wrote against what they reported: every document whole, every chunk once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rag_chain.store.collection import SOURCES_PER_CALL
from rag_chain.store.filters import ALL, RECORDS, build_expression
from rag_chain.store.repair import FIELDS, gather_versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rag_chain.store.collection import Store, StoredDocument
    from rag_chain.store.repair import StoredVersion

# An iterator reads an old server as of this machine's clock, which may be behind the server's.
SETTLE_SECONDS = 1.0


def withdraw_unsound(store: Store, versions: Mapping[str, str]) -> list[str]:
    """Delete those of these documents that are not whole, or in which a chunk is there twice; return their sources.

    The chunks themselves are read only where the records do not account for them.
    """
    if store.address.is_lite:
        # It reads what it has written out ten times as quickly as what it holds in memory.
        store.flush()
    if _adds_up(store, versions):
        return []
    time.sleep(SETTLE_SECONDS)
    if _adds_up(store, versions):
        return []
    stored = [one for one in store.read(ALL, FIELDS, gather_versions) if one.source in versions]
    chunks = {one.source: len(one.ids) for one in stored if _is_whole(one, versions)}
    others = {one.source for one in stored if one.version != versions[one.source]}
    doubled = set(_find_doubled(store, chunks, sorted(chunks.keys() - others)))
    unsound = [source for source in versions if source not in chunks or source in others | doubled]
    store.remove_chunks([chunk for one in stored if one.source in unsound for chunk in one.ids])
    return unsound


def find_incomplete(store: Store, catalogue: Mapping[str, StoredDocument]) -> set[str]:
    """Return the documents of which there are fewer chunks than their records say; somebody deleted them past us.

    One count is all that it takes where the sum is right. Where it is not, groups of documents are counted, and the
    chunks read of those groups alone that do not add up: what a broken-off run left of other documents is no matter.
    """
    if store.count() == sum(document.chunks for document in catalogue.values()):
        return set()
    sources = sorted(catalogue)
    starts = range(0, len(sources), SOURCES_PER_CALL)
    groups = [sources[start : start + SOURCES_PER_CALL] for start in starts]
    return {source for group in groups for source in _find_lacking(store, catalogue, group)}


def _find_lacking(store: Store, catalogue: Mapping[str, StoredDocument], group: Sequence[str]) -> Iterator[str]:
    if store.count(group) == sum(catalogue[source].chunks for source in group):
        return
    for one in store.read(build_expression({"source": group}), FIELDS, gather_versions):
        if one.recorded > len(one.ids):
            yield one.source


def _adds_up(store: Store, versions: Mapping[str, str]) -> bool:
    records = {one.source: one for one in store.read(RECORDS, FIELDS, gather_versions)}
    there = all(source in records and records[source].version == version for source, version in versions.items())
    return there and store.count() == sum(one.recorded for one in records.values())


def _is_whole(one: StoredVersion, versions: Mapping[str, str]) -> bool:
    return one.recorded == len(one.ids) and one.version == versions[one.source]


def _find_doubled(store: Store, chunks: Mapping[str, int], sources: Sequence[str]) -> Iterator[str]:
    """Yield the documents of which there are more rows than ids.

    A Milvus server keeps both of two rows with one key, and shows one of them; counting tells. Halves are counted
    until the document stands alone.
    """
    for start in range(0, len(sources), SOURCES_PER_CALL):
        group = sources[start : start + SOURCES_PER_CALL]
        if store.count(group) == sum(chunks[source] for source in group):
            continue
        if len(group) == 1:
            yield group[0]
            continue
        middle = len(group) // 2
        yield from _find_doubled(store, chunks, group[:middle])
        yield from _find_doubled(store, chunks, group[middle:])

"""``rag-chain reindex``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.cli.terminal import notice, print_json, say

if TYPE_CHECKING:
    import argparse

    from rag_chain.store.layout import StoredIndex


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.epilog = "Nothing is embedded. Until it is done the collection can't be searched."
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(options: argparse.Namespace) -> int:
    """Replace the index, when no ingest is running, and say what it is now."""
    from rag_chain.cli import DONE
    from rag_chain.cli.common import read_quietly
    from rag_chain.errors import EmptyStoreError
    from rag_chain.store.collection import open_store

    with open_store(read_quietly(options)) as store, store.take_turn():
        if not store.exists():
            raise EmptyStoreError(f"there is no {store.name!r} at {store.address.uri} yet: rag-chain ingest PATH")
        before = store.index.read()
        after = store.index.replace(_show)
    if options.json:
        print_json({"before": before.to_json() if before else None, "index": after.to_json()})
    else:
        say(f"{before or 'none'} -> {after}: {after.rows:,} rows")
    return DONE


def _show(index: StoredIndex) -> None:

    if index.pending:
        notice(index.progress)

"""A place for collections of each test's own, on Milvus Lite and on a server, empty before it and closed after it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from rag_chain.store.collection import Store
from tests.store.chunks import FINGERPRINT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rag_chain.store.links import Address
    from tests.engines import Engine


class OpenStore(Protocol):
    def __call__(self, name: str = "documents") -> Store: ...


@pytest.fixture
def address(engine: Engine, tmp_path: Path) -> Iterator[Address]:
    """A place at which there is nothing yet."""
    with engine.place(tmp_path) as address:
        yield address


@pytest.fixture
def open_store(address: Address) -> Iterator[OpenStore]:
    """Open stores at the address; those still open are closed at the end."""
    with ExitStack() as stack:

        def open_one(name: str = "documents") -> Store:
            return stack.enter_context(Store(address, name))

        yield open_one


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    """An empty collection."""
    store = open_store()
    store.create(FINGERPRINT, 64)
    return store

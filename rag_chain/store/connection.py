"""Keep a connection to Milvus open, also when the process that serves a Milvus Lite path ends."""

from __future__ import annotations

import queue
import threading
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rag_chain.errors import ConnectionLostError, StoreError, StoreUnreachableError
from rag_chain.store.links import open_link, store_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymilvus import MilvusClient

    from rag_chain.store.links import Address, Link

T = TypeVar("T")


class Closable(Protocol):
    """A link or a client."""

    def close(self) -> None:
        """Give back what it holds."""


_abandoned: queue.SimpleQueue[Closable] = queue.SimpleQueue()


class Connection:
    """An open connection; on Milvus Lite it outlives the process that serves the path.

    Garbage collection closes it too, in a thread of its own: a finalizer runs in any thread at any
    moment, also while that thread holds the lock that closing needs.
    """

    def __init__(self, address: Address, restore: Callable[[MilvusClient], None] = lambda _: None) -> None:
        """Connect; ``restore`` puts a newly opened Milvus Lite into the state that calls rely on."""
        self.address = address
        self._link = open_link(address)
        self._broken: Link | None = None
        self._restore = restore
        self._reopening = threading.Lock()
        self._finalizer = self._watch()

    @property
    def client(self) -> MilvusClient:
        """The connected client."""
        return self._link.client

    @property
    def arguments(self) -> dict[str, Any]:
        """What pymilvus wants to connect to the same place."""
        return self._link.arguments

    def run(self, action: str, call: Callable[[MilvusClient], T]) -> T:
        """Return what a call gives; ``action`` says in an error what was being done.

        When the process that serves a Milvus Lite path has ended, or the connection to it broke, the call is made
        once more where the path is served now, perhaps here: none of our calls does harm when it is repeated.
        """
        link = self._link
        try:
            with store_errors(action):
                return call(link.client)
        except StoreError as error:
            if not self._may_repeat(error, link):
                raise
        self._reopen(link)
        with store_errors(action):
            return call(self.client)

    def close(self) -> None:
        """Give the connection back; the last one of a process to a Milvus Lite path frees it for others."""
        if self._finalizer.detach():
            self._link.close()

    def _watch(self) -> weakref.finalize[[Closable], Any]:
        return close_with(self, self._link)

    def _may_repeat(self, error: StoreError, link: Link) -> bool:
        """Return whether a call over this link is worth another try."""
        # Another thread found the link broken and closed it under the call.
        closed = link is self._broken or link is not self._link
        # A server of this process's own that does not answer won't answer the next time either.
        own = link.hold is not None and not isinstance(error, ConnectionLostError)
        return self.address.is_lite and (closed or (isinstance(error, StoreUnreachableError) and not own))

    def _reopen(self, broken: Link) -> None:
        """Connect anew, unless another thread has done so since."""
        with self._reopening:
            if self._link is broken:
                self._broken = broken
                self.close()
                self._link = open_link(self.address)
                self._finalizer = self._watch()
                with store_errors("opening the collection again"):
                    self._restore(self.client)


def close_with(owner: object, held: Closable) -> weakref.finalize[[Closable], Any]:
    """Have what an object holds closed when the object is garbage."""
    _start_closer()
    finalizer = weakref.finalize(owner, _abandoned.put, held)
    finalizer.atexit = False
    return finalizer


@cache
def _start_closer() -> None:
    threading.Thread(target=_close_abandoned, name="rag_chain closer", daemon=True).start()


def _close_abandoned() -> None:
    while True:
        _abandoned.get().close()

"""Keep a connection to Milvus open, also when the process that serves a Milvus Lite path ends."""

from __future__ import annotations

import queue
import threading
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from rag_chain.errors import ConnectionLostError, StoreUnreachableError
from rag_chain.store.links import open_link, store_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymilvus import MilvusClient

    from rag_chain.store.links import Address, Link

T = TypeVar("T")

_abandoned: queue.SimpleQueue[Link] = queue.SimpleQueue()


class Connection:
    """An open connection; on Milvus Lite it outlives the process that serves the path.

    Garbage collection closes it too, in a thread of its own: a finalizer runs in any thread at any
    moment, also while that thread holds the lock that closing needs.
    """

    def __init__(self, address: Address, restore: Callable[[MilvusClient], None] = lambda _: None) -> None:
        """Connect; ``restore`` puts a newly opened Milvus Lite into the state that calls rely on."""
        _start_closer()
        self.address = address
        self._link = open_link(address)
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
        except StoreUnreachableError as error:
            # A server of this process's own that does not answer won't answer the next time either.
            again = link.hold is None or isinstance(error, ConnectionLostError)
            if not (self.address.is_lite and again):
                raise
        self._reopen(link)
        with store_errors(action):
            return call(self.client)

    def close(self) -> None:
        """Give the connection back; the last one of a process to a Milvus Lite path frees it for others."""
        if self._finalizer.detach():
            self._link.close()

    def _watch(self) -> weakref.finalize[[Link], Connection]:
        finalizer = weakref.finalize(self, _abandoned.put, self._link)
        finalizer.atexit = False
        return finalizer

    def _reopen(self, broken: Link) -> None:
        """Connect anew, unless another thread has done so since."""
        with self._reopening:
            if self._link is broken:
                self.close()
                self._link = open_link(self.address)
                self._finalizer = self._watch()
                with store_errors("opening the collection again"):
                    self._restore(self.client)


@cache
def _start_closer() -> None:
    threading.Thread(target=_close_abandoned, name="rag_chain closer", daemon=True).start()


def _close_abandoned() -> None:
    while True:
        _abandoned.get().close()

"""Clients of the loopback server, and the model on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_chain.models.fireworks.client import FireworksClient
from rag_chain.models.local import LocalEmbeddings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fireworks_server import FireworksServer

    Connect = Callable[..., FireworksClient]


@pytest.fixture
def connect(fireworks: FireworksServer) -> Connect:
    """Return what opens clients of the loopback server; the keywords are the parameters of ``FireworksClient``."""

    def open_client(
        *, base: str = fireworks.base, key: str = fireworks.key, timeout: float = 10, attempts: int = 4
    ) -> FireworksClient:
        return FireworksClient(base, key, timeout=timeout, attempts=attempts)

    return open_client


@pytest.fixture(scope="session")
def local() -> LocalEmbeddings:
    """Return the embedding model on this machine, whose weights take a while to read."""
    return LocalEmbeddings()

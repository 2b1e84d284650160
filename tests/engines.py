"""Where tests keep their collections: a Milvus Lite of their own, or a database of their own on a real server."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rag_chain.store.links import Address
from rag_chain.store.vendor import pymilvus
from tests.milvus_server import ROOT_TOKEN, MilvusServer, is_installed, running_milvus, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_chain import Settings


@dataclass(frozen=True)
class Engine:
    """Milvus Lite, or the server at ``uri``.

    Milvus 2.3, which is the newest there is as a package, has no BM25, no sparse vectors, no hybrid search and no
    patterns but prefixes: tests of these make a Milvus Lite of their own.
    """

    uri: str = ""
    token: str = ""

    @property
    def is_lite(self) -> bool:
        """Whether this is Milvus Lite."""
        return not self.uri

    @contextmanager
    def place(self, folder: Path) -> Iterator[Address]:
        """Give an empty place for collections: a path in the folder, or a database that is dropped at the end."""
        if self.is_lite:
            yield Address(str(folder / "test.db"))
            return
        name = f"test_{uuid.uuid4().hex}"
        client = pymilvus.MilvusClient(self.uri, token=self.token)
        client.create_database(name)
        try:
            yield Address(self.uri, self.token, name)
        finally:
            self._drop(name)
            client.drop_database(name)
            client.close()

    def _drop(self, database: str) -> None:
        client = pymilvus.MilvusClient(self.uri, token=self.token, db_name=database)
        for name in client.list_collections():
            for alias in client.list_aliases(name, db_name=database)["aliases"]:
                client.drop_alias(alias)
            client.drop_collection(name)
        client.close()


def settle(settings: Settings, address: Address) -> Settings:
    """Return settings that name this place."""
    return settings.with_changes(
        milvus_uri=address.uri, milvus_token=address.token or None, milvus_db_name=address.database or None
    )


def environment_of(address: Address) -> dict[str, str]:
    """Return the environment in which commands find this place."""
    return {"MILVUS_URI": address.uri, "MILVUS_TOKEN": address.token, "MILVUS_DB_NAME": address.database}


@contextmanager
def real_server(folder: Path, binaries: Path) -> Iterator[Engine]:
    """Give the server that ``MILVUS_TEST_URI`` and ``MILVUS_TEST_TOKEN`` name, or our own with authentication."""
    if given := os.environ.get("MILVUS_TEST_URI"):
        yield Engine(given, os.environ.get("MILVUS_TEST_TOKEN", ""))
        return
    with running_milvus(MilvusServer(folder, binaries, authentication=True)) as server:
        yield Engine(server.uri, ROOT_TOKEN)


def unpack_server(folder: Path) -> Path:
    """Unpack the server's wheel, where it is safe to run it; return where it is."""
    if not is_installed():
        pytest.skip("no Milvus server: set MILVUS_TEST_URI or pip install milvus==2.3.5")
    if has_network():
        pytest.fail(
            "a Milvus server would listen on all addresses of this machine: run the tests in a network namespace, "
            "unshare -rn bash -c 'ip link set lo up; pytest -n 0 -m server'"
        )
    return unpack(folder)


def has_network() -> bool:
    """Whether there is a way to other machines from here."""
    return len(Path("/proc/net/route").read_text("ascii").splitlines()) > 1

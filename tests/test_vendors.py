"""Vendors at arm's length: each place that goes behind a public interface is listed, and its vendor is bounded."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.private_names import find_in_classes, find_in_source

if TYPE_CHECKING:
    from types import ModuleType

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rag_chain"


class Place(NamedTuple):
    """A module that uses private names of a vendor, or changes it, and why there is no other way."""

    module: str
    vendor: str
    why: str
    names: frozenset[str]


def place(module: str, vendor: str, why: str, *names: str) -> Place:
    return Place(module, vendor, why, frozenset(names))


PLACES = (
    place(
        "answering/steps.py",
        "langchain-core",
        "a sequence of which only the last step streams has no public way to run with callbacks of its own",
        "LastStreams._atransform_stream_with_config",
        "LastStreams._transform_stream_with_config",
    ),
    place(
        "documents/splitting.py",
        "langchain-text-splitters",
        "TextSplitter keeps its arguments under these names only",
        "SectionSplitter._add_start_index",
        "SectionSplitter._chunk_overlap",
        "SectionSplitter._chunk_size",
    ),
    place(
        "models/fireworks/transport.py",
        "httpx-aiohttp",
        "a response's connection, whose reading is paused, is nowhere else",
        "_Stream._aiohttp_response",
        "response.stream._aiohttp_response",
    ),
    place(
        "server/__init__.py",
        "sse-starlette",
        "the switch for the whole process is an attribute of a class; set in rag-chain serve alone",
        "AppStatus.enable_automatic_graceful_drain",
    ),
    place(
        "store/bulk.py",
        "pymilvus",
        "the import of files into a collection has no public call that names the database",
        "client._generate_call_context",
        "client._get_connection",
    ),
    place(
        "store/lite.py",
        "milvus-lite",
        "who serves a path in this process is in the manager's own list only",
        "server_manager_instance._servers",
        "vendor.server_manager_instance._servers",
    ),
    place(
        "store/lite_mends.py",
        "milvus-lite",
        "the process that serves a path mends what is wrong, slow or noisy; no other process is changed",
        "MemTable._build_data_table",
        "collection.execute_flush",
        "compaction.read_data_file",
        "db.*",
        "faiss_ivf_flat.faiss",
        "frozen_memtable._schema",
        "segment.read_data_file",
        "vars(frozen_memtable).update",
    ),
    place(
        "store/lite_search.py",
        "milvus-lite",
        "the process that serves a path searches in arrays",
        "collection._compile_filter",
        "collection._index_specs",
        "collection._indexed_filter_plan",
        "collection._prepare_sparse_queries",
        "collection._read_snapshot",
        "collection._search_sparse",
        "deleted._map",
        "module.execute_search_with_index",
        "segments.collection._schema",
        "sparse_factory.SparseInvertedIndex",
        "vars(self.collection).get",
        "vars(self.collection)['_living']",
    ),
    place(
        "store/vectorstore.py",
        "langchain-milvus",
        "its searches take neither k nor the consistency into account, and its client is never closed",
        "ChunkStore._collection_search",
        "ChunkStore._get_output_fields",
        "ChunkStore._milvus_client",
        "ChunkStore._parse_document",
        "ChunkStore._parse_documents_from_search_results",
        "self._milvus_client",
    ),
)

# Depended on for what they do, beyond what they promise, by their public names.
INNER_WORKINGS = {
    "langchain-fireworks": "ChatFireworks takes our client in place of its own, by the calls that it makes",
    "langserve": "which errors become which status, and that only FastAPI's becomes 422 in a batch",
    "mcp": "handlers run outside of the request's context, and get the request in its scope",
}

# LangChain asks whoever makes a model, a retriever or a tool to write these; they are its contract, not its inside.
EXTENSION_POINTS = frozenset(
    "_agenerate _aget_relevant_documents _arun _astream _generate _get_relevant_documents _identifying_params "
    "_llm_type _run _stream".split()
)


def found_in(path: Path) -> set[str]:
    """Return the private names that a module uses, but for LangChain's extension points."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    in_classes = set() if path.stem == "__main__" else find_in_classes(importlib.import_module(name))
    return find_in_source(path.read_text("utf-8")) | {
        part for part in in_classes if part.rpartition(".")[2] not in EXTENSION_POINTS
    }


def requirements(vendor: str) -> list[str]:
    """Return what pyproject.toml asks of a package, everywhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    names = re.compile(rf"{re.escape(vendor)}(?![\w.-])")
    return [line for lines in lists for line in lines if names.match(line)]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_private_name_is_listed(path: Path) -> None:
    """A new one fails here until it is listed with its reason, and one that is gone until it is taken off the list."""
    module = path.relative_to(PACKAGE).as_posix()
    assert found_in(path) == {name for each in PLACES if each.module == module for name in each.names}


def test_every_place_is_there() -> None:
    """No list names a module that is gone."""
    assert all((PACKAGE / each.module).is_file() for each in PLACES)


@pytest.mark.parametrize("vendor", sorted({each.vendor for each in PLACES} | {*INNER_WORKINGS, "langchain-core"}))
def test_a_vendor_that_is_not_held_at_arms_length_has_an_upper_bound(vendor: str) -> None:
    """Its next version may have other private names."""
    asked = requirements(vendor)
    assert asked
    assert all("<" in line.partition(";")[0] for line in asked)


SNIPPETS = {
    "client._handler": {"client._handler"},
    "self.client._handler": {"self.client._handler"},
    "client()._handler.close()": {"client()._handler"},
    "self._handler": set(),
    "super()._handle()": set(),
    "client.__class__": set(),
    "import os\nos._exit(1)": set(),
    "class Own: ...\nOwn._shared": set(),
    "class Own:\n    _kept: int = 1\ncopied._kept = 2": set(),
    "parts._replace(netloc='')": set(),
    'getattr(client, "_handler", None)': {"client._handler"},
    'hasattr(client, "close")': set(),
    'getattr(client, "close")': set(),
    'setattr(client, "close", None)': {"client.close"},
    "setattr(client, name, None)": {"client.*"},
    'vars(client)["_handler"]': {"vars(client)['_handler']"},
    'vars(client)["handler"] = 1': {"vars(client)['handler']"},
    'vars(client).get("_handler")': {"vars(client).get"},
    "client.__dict__.update(x=1)": {"client.__dict__.update"},
    "{**vars(client)}": set(),
    "import pymilvus._inner": {"pymilvus._inner"},
    "from pymilvus import _inner": {"pymilvus._inner"},
    "from pymilvus._inner import open": {"pymilvus._inner.open"},
    "from pymilvus import inner as _inner": set(),
    "from rag_chain.store import _inner": set(),
    "from json import _default_decoder": set(),
    "from __future__ import annotations": set(),
    "import pymilvus\npymilvus.settings.TIMEOUT = 1": {"pymilvus.settings.TIMEOUT"},
    "def f():\n    from pymilvus.client import Config\n    Config.key = property(len)": {"Config.key"},
    "from pymilvus.client import Config\ndel Config.key": {"Config.key"},
    "from pymilvus.client import Config\nConfig.count += 1": {"Config.count"},
    "from pymilvus import Client\nclient = Client()\nprint(Client.key)": set(),
    "import json\njson.loads = None": set(),
    "def search(): ...\ndef mend(module):\n    module.search = search": {"module.search"},
    "module.search = lambda: None": {"module.search"},
    "class Index: ...\nmodule.Index = Index": {"module.Index"},
    "report.seconds = 1": set(),
    "def f():\n    import faiss\n    class Index(faiss.Flat):\n        def _train(self): ...": {"Index._train"},
    "def f():\n    class Index(Own):\n        def _train(self): ...": set(),
}


@pytest.mark.parametrize("source", SNIPPETS)
def test_the_search_finds_what_is_private(source: str) -> None:
    """Each way round a public interface is found, and what looks like one is not."""
    assert find_in_source(source) == SNIPPETS[source]


CLASSES = """
from collections.abc import Sized
from langchain_core.runnables import RunnableLambda
from langchain_milvus import Milvus
from pydantic import RootModel

class Own:
    def _help(self): ...

class Store(Own, Milvus):
    _kept = 1

    def __init__(self):
        self._mine = self._help() or self._kept

    def _parse_documents_from_search_results(self, found):
        return super()._hybrid_search(found)

    @property
    def name(self):
        return self._mine, self._async_milvus_client

class Child(Store):
    def _parse_documents_from_search_results(self, found):
        return self._mine

class Text(RootModel[str]):
    def _own(self):
        return self._own()

class Plain(Sized):
    def _size(self):
        return self._other
"""


def test_the_search_looks_into_base_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What overrides a private name of a vendor's class, or uses one that no class of ours defines."""
    (tmp_path / "rag_chain_snippet.py").write_text(CLASSES, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module: ModuleType = importlib.import_module("rag_chain_snippet")
    assert find_in_classes(module) == {
        "Store._parse_documents_from_search_results",
        "Store._hybrid_search",
        "Store._async_milvus_client",
        "Child._parse_documents_from_search_results",
    }

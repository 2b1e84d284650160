"""From a folder of documents to a cited, streaming answer: RAG on LangChain, Milvus and Fireworks AI.

>>> from rag_chain import Settings, build_chain, ingest
>>> report = ingest("docs/", Settings())
>>> answer = build_chain(Settings()).invoke("How is data stored in Milvus?")
>>> answer["answer"], answer["citations"]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_chain.answering.types import Answer as Answer
    from rag_chain.answering.types import Citation as Citation
    from rag_chain.answering.types import Question as Question
    from rag_chain.answering.types import Source as Source
    from rag_chain.errors import RagChainError as RagChainError
    from rag_chain.ingestion.report import IngestReport as IngestReport
    from rag_chain.models.adapter import EmbeddingsAdapter as EmbeddingsAdapter
    from rag_chain.models.fireworks.embeddings import FireworksEmbeddings as FireworksEmbeddings
    from rag_chain.pipeline import build_chain as build_chain
    from rag_chain.pipeline import build_retriever as build_retriever
    from rag_chain.pipeline import build_retriever_tool as build_retriever_tool
    from rag_chain.pipeline import ingest as ingest
    from rag_chain.pipeline import open_vector_store as open_vector_store
    from rag_chain.pipeline import plan_ingest as plan_ingest
    from rag_chain.server import create_app as create_app
    from rag_chain.settings import Settings as Settings
    from rag_chain.store.moving import move as move

__version__ = "0.1.0"

# Loaded when first used: importing LangChain and Milvus takes seconds, --help should not.
_HOMES = {
    "Answer": "rag_chain.answering.types",
    "Citation": "rag_chain.answering.types",
    "EmbeddingsAdapter": "rag_chain.models.adapter",
    "FireworksEmbeddings": "rag_chain.models.fireworks.embeddings",
    "IngestReport": "rag_chain.ingestion.report",
    "Question": "rag_chain.answering.types",
    "RagChainError": "rag_chain.errors",
    "Settings": "rag_chain.settings",
    "Source": "rag_chain.answering.types",
    "build_chain": "rag_chain.pipeline",
    "build_retriever": "rag_chain.pipeline",
    "build_retriever_tool": "rag_chain.pipeline",
    "create_app": "rag_chain.server",
    "ingest": "rag_chain.pipeline",
    "move": "rag_chain.store.moving",
    "open_vector_store": "rag_chain.pipeline",
    "plan_ingest": "rag_chain.pipeline",
}

__all__ = [*_HOMES]  # noqa: PLE0604  the names are the keys above


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

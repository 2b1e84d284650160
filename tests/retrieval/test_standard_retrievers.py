"""LangChain's own standard tests of retrievers, on all of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_tests.integration_tests import RetrieversIntegrationTests

from rag_chain import build_retriever, ingest
from rag_chain.retrieval.bm25 import Bm25Retriever
from rag_chain.retrieval.dense import DenseRetriever
from rag_chain.retrieval.hybrid import HybridRetriever
from rag_chain.retrieval.refined import RefinedRetriever

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.retrievers import BaseRetriever

    from rag_chain import Settings


class Standard(RetrieversIntegrationTests):
    """The suite over a collection of eight documents."""

    kind: type[BaseRetriever]
    parts: dict[str, Any]

    @pytest.fixture(autouse=True)
    def _fill(self, online: Settings, tmp_path: Path) -> None:
        (tmp_path / "docs").mkdir()
        for number in range(8):
            text = f"Document {number} of eight: rows live in segment {number}.\n" + number * "More of it. "
            (tmp_path / "docs" / f"{number}.txt").write_text(text, "utf-8")
        ingest(tmp_path / "docs", online)
        refined: Any = build_retriever(online)
        search = refined.search
        every = {"embeddings": search.embeddings, "index": search.index}
        found = {
            RefinedRetriever: {"search": search, "steps": []},
            HybridRetriever: every,
            DenseRetriever: every,
            Bm25Retriever: {"index": search.index},
        }
        self.parts = found[self.kind]

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return self.kind

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return self.parts

    @property
    def retriever_query_example(self) -> str:
        return "Where do rows live?"


class TestRefined(Standard):
    kind = RefinedRetriever


class TestHybrid(Standard):
    kind = HybridRetriever


class TestDense(Standard):
    kind = DenseRetriever


class TestBm25(Standard):
    kind = Bm25Retriever

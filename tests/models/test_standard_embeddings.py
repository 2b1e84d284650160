"""LangChain's standard tests for embeddings: of Fireworks over the loopback server, of this machine, and of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from rag_chain import EmbeddingsAdapter, FireworksEmbeddings
from rag_chain.models.local import LocalEmbeddings
from rag_chain.models.multilingual import MultilingualEmbeddings
from tests.fireworks_client import EMBEDDING

if TYPE_CHECKING:
    from tests.fireworks_server import FireworksServer


class TestFireworksUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return FireworksEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": EMBEDDING, "api_key": "test-key"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return (
            {"FIREWORKS_API_KEY": "from-env", "FIREWORKS_API_BASE": "http://127.0.0.1:9/inference/v1"},
            {"model": EMBEDDING},
            {"fireworks_api_key": "from-env", "fireworks_api_base": "http://127.0.0.1:9/inference", "model": EMBEDDING},
        )


class TestFireworksIntegration(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _loopback(self, provider: FireworksServer) -> None:
        """Key and address are in the environment."""

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return FireworksEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": EMBEDDING}


class TestLocalUnit(EmbeddingsUnitTests):
    """It takes nothing from the environment, so that the suite's test of that has nothing to look at."""

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return LocalEmbeddings


class TestLocalIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return LocalEmbeddings


class TestMultilingualUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MultilingualEmbeddings


class TestMultilingualIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MultilingualEmbeddings


class TestAdapterUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return EmbeddingsAdapter

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"embeddings": DeterministicFakeEmbedding(size=16)}


class TestAdapterIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return EmbeddingsAdapter

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"embeddings": DeterministicFakeEmbedding(size=16)}

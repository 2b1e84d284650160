"""``open_vector_store``: the collection that an ingest wrote, as LangChain's users open one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_milvus import Milvus

from rag_chain import FireworksEmbeddings, ingest, open_vector_store
from rag_chain.errors import EmptyStoreError, FingerprintError, StoreError
from rag_chain.models.building import build_chat_model, build_embeddings
from rag_chain.store.lite import find_holder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_chain import Settings
    from rag_chain.store.vectorstore import ChunkStore

QUESTION = "Where do brown bears sleep?"
pytestmark = pytest.mark.usefixtures("shared_fireworks")


@pytest.fixture
def opened(shared: Settings) -> Iterator[ChunkStore]:
    """The vector store over three documents."""
    with open_vector_store(shared) as store:
        yield store


def test_it_is_the_vector_store_of_langchain_milvus(opened: ChunkStore) -> None:
    """Over the collection of the settings, with LangChain's class for the embeddings."""
    assert isinstance(opened, Milvus)
    assert isinstance(opened.embeddings, FireworksEmbeddings)
    assert opened.similarity_search(QUESTION, k=1)[0].metadata["source"] == "bears.txt"


def test_a_chain_of_ones_own_is_built_on_it(opened: ChunkStore, shared: Settings) -> None:
    """Its retriever composes like any other."""
    prompt = ChatPromptTemplate.from_template(
        '<context>\n<source number="1">{context}</source>\n</context>\n{question}'
    )
    model = build_chat_model(shared, build_embeddings(shared))
    retriever = opened.as_retriever(search_kwargs={"k": 1, "filter": {"source": "*.txt"}})
    inputs = {"context": retriever | (lambda found: found[0].page_content), "question": RunnablePassthrough()}
    chain = inputs | prompt | model | StrOutputParser()
    assert chain.invoke(QUESTION)
    assert asyncio.run(chain.ainvoke(QUESTION))


def test_before_the_first_ingest_it_says_what_to_run(online: Settings, folder: Path) -> None:
    """There is no empty store that would answer nothing; after the ingest it opens."""
    with pytest.raises(EmptyStoreError, match="rag-chain ingest PATH"):
        open_vector_store(online)
    ingest(folder, online)
    with open_vector_store(online) as store:
        assert len(store.similarity_search(QUESTION, k=9)) == 4


def test_another_model_is_refused(shared: Settings) -> None:
    """Its vectors would be compared with those of the model that made the collection."""
    with pytest.raises(FingerprintError, match="DeterministicFakeEmbedding"):
        open_vector_store(shared, embeddings=DeterministicFakeEmbedding(size=768))


def test_the_model_it_was_made_with_opens_it(online: Settings, folder: Path) -> None:
    """Whatever LangChain ``Embeddings`` that is."""
    model = DeterministicFakeEmbedding(size=16)
    ingest(folder, online, embeddings=model)
    with open_vector_store(online, embeddings=model) as store:
        text = store.similarity_search(QUESTION, k=1)[0].page_content
        assert len(store.similarity_search(text, k=9)) == 4


def test_a_tenant_sees_its_own_chunks_only(online: Settings, folder: Path) -> None:
    """Ids of another tenant's chunks are not there, either."""
    ingest(folder, online)
    with open_vector_store(online) as store:
        ids = [str(chunk.id) for chunk in store.similarity_search(QUESTION, k=9)]
    acme = online.with_changes(tenant="acme")
    with pytest.raises(EmptyStoreError):
        open_vector_store(acme)
    ingest(folder / "guide", acme)
    with open_vector_store(acme) as store:
        assert store.get_by_ids(ids) == []
        assert {chunk.metadata["source"] for chunk in store.similarity_search(QUESTION, k=9)} == {"storage.md"}


def test_closing_frees_the_path(online: Settings, folder: Path) -> None:
    """Another process can have the Milvus Lite path; searching a closed store is an error."""
    ingest(folder, online)
    with open_vector_store(online) as store:
        assert store.similarity_search(QUESTION, k=1)
        assert find_holder(online.milvus_uri) is not None
    assert find_holder(online.milvus_uri) is None
    with pytest.raises(StoreError):
        store.similarity_search(QUESTION)


def test_one_that_could_not_be_opened_holds_nothing(online: Settings) -> None:
    """A refusal leaves the path free."""
    with pytest.raises(EmptyStoreError):
        open_vector_store(online)
    assert Path(online.milvus_uri).exists()
    assert find_holder(online.milvus_uri) is None

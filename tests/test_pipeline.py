"""The flow with the loopback provider: what is asked of it, what is stored, what is answered."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableGenerator

from rag_chain import Question, Settings, build_chain, build_retriever, ingest, plan_ingest
from rag_chain.errors import EmptyStoreError, FingerprintError, ModelError, NoDocumentsError, QuestionError
from tests.fireworks_faults import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from langchain_core.callbacks import CallbackManagerForRetrieverRun

    from tests.fireworks_server import FireworksServer

QUESTION = "Where do rows live?"

# One provider for all of the module, as new for each test.
pytestmark = pytest.mark.usefixtures("shared_fireworks")


def wait_for(thing: Callable[[], object]) -> None:
    """Return when there is such a thing."""
    while not thing():
        time.sleep(0.01)


@pytest.fixture
def library(shared: Settings, fireworks: FireworksServer) -> Settings:
    """Three ingested documents, for tests that only ask."""
    return shared


def test_few_requests_with_prefixed_texts(online: Settings, fireworks: FireworksServer, folder: Path) -> None:
    """All chunks of several documents go into one request, each behind its task prefix."""
    report = ingest(folder, online)
    assert (len(report.added), report.requests, len(fireworks.embedding_requests)) == (3, 1, 1)
    texts = fireworks.embedding_requests[0].body["input"]
    assert len(texts) == report.chunks_embedded == 4
    assert all(text.startswith("search_document: ") for text in texts)


def test_a_second_ingest_embeds_nothing(online: Settings, fireworks: FireworksServer, folder: Path) -> None:
    """Unchanged documents cost no request."""
    ingest(folder, online)
    report = ingest(folder, online)
    assert (len(report.unchanged), report.chunks_embedded, len(fireworks.embedding_requests)) == (3, 0, 1)


def test_the_plan_says_what_ingest_then_does(online: Settings, fireworks: FireworksServer, folder: Path) -> None:
    """A plan asks no model and writes nothing, and names the same documents, chunks and requests."""
    plan = plan_ingest(folder, online)
    assert fireworks.requests == []
    report = ingest(folder, online)
    assert (plan.added, plan.chunks_embedded, plan.requests) == (report.added, report.chunks_embedded, report.requests)


def test_the_model_sees_numbered_sources_and_the_question(
    online: Settings, fireworks: FireworksServer, folder: Path
) -> None:
    """The chat request holds the sources between context tags and the question between its own."""
    ingest(folder, online)
    build_chain(online).invoke(QUESTION)
    (request,) = fireworks.chat_requests
    prompt = request.body["messages"][-1]["content"]
    assert '<source number="1" from="guide/storage.md &gt; Storage &gt; Where rows live">' in prompt
    assert "Rows live in sealed segments" in prompt
    assert f"<question>\n{QUESTION}\n</question>" in prompt
    assert fireworks.embedding_requests[-1].body["input"] == [f"search_query: {QUESTION}"]


def test_an_answer_is_cited_and_checked(library: Settings) -> None:
    """The answer names its source, the citation quotes it at its offsets, and the answer is grounded."""
    answer = build_chain(library).invoke(QUESTION)
    assert answer["sources"][0]["source"] == "guide/storage.md"
    assert answer["sources"][0]["heading"] == "Storage > Where rows live"
    (citation,) = answer["citations"]
    assert (citation["number"], citation["verdict"], answer["grounded"]) == (1, "verbatim", True)
    source = answer["sources"][0]
    inside = slice(citation["start"] - source["start"], citation["end"] - source["start"])
    assert source["text"][inside] == citation["quote"]


def test_a_stream_gives_sources_then_tokens_then_citations(library: Settings) -> None:
    """First the sources, then the answer in pieces, last the citations and the verdict."""
    parts = list(build_chain(library).stream({"question": QUESTION}))
    assert [set(part) for part in (parts[0], parts[-1])] == [
        {"sources"},
        {"citations", "grounded", "refused", "removed_citations"},
    ]
    assert len(parts) > 4
    assert all(set(part) == {"answer"} for part in parts[1:-1])


def test_the_first_token_comes_before_the_last_is_made(library: Settings, fireworks: FireworksServer) -> None:
    """A reader has the first token while the model is still writing."""
    fireworks.answer = "word " * 20 + "[1]."
    fireworks.token_delay = 0.02
    for part in build_chain(library).stream(QUESTION):
        if "answer" in part:
            assert fireworks.chat_requests[0].sent < 20
            break


def test_leaving_a_stream_stops_the_model(library: Settings, fireworks: FireworksServer) -> None:
    """A stream that nobody reads any more is closed at the provider."""
    fireworks.answer = "word " * 400
    fireworks.token_delay = 0.01
    stream = build_chain(library).stream(QUESTION)
    for part in stream:
        if "answer" in part:
            break
    stream.close()  # type: ignore[attr-defined]  # a generator, as every LCEL stream
    fireworks.settle(timeout=5)
    assert fireworks.chat_requests[0].client_gone


def test_the_model_begins_while_the_sources_are_read(library: Settings, fireworks: FireworksServer) -> None:
    """An async reader that has the sources has the model at work; one that leaves with them stops it."""
    fireworks.answer = "word " * 400
    fireworks.token_delay = 0.01

    async def leave() -> None:
        stream: Any = build_chain(library).astream(QUESTION)
        assert list(await anext(stream)) == ["sources"]
        await asyncio.to_thread(wait_for, lambda: fireworks.chat_requests)
        await stream.aclose()

    asyncio.run(asyncio.wait_for(leave(), 20))
    fireworks.settle(timeout=5)
    assert fireworks.chat_requests[0].client_gone


def test_a_model_that_fails_at_once_does_so_after_the_sources(
    library: Settings, fireworks: FireworksServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An async reader gets the sources, then the error; one that has left by then is not told in the log."""
    fireworks.faults.add("chat", Status(401), times=2)

    async def read() -> None:
        stream: Any = build_chain(library).astream(QUESTION)
        assert list(await anext(stream)) == ["sources"]
        with pytest.raises(ModelError):
            await anext(stream)
        stream = build_chain(library).astream(QUESTION)
        await anext(stream)
        await asyncio.sleep(0.2)
        await stream.aclose()

    asyncio.run(read())
    gc.collect()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_question_can_come_in_pieces(library: Settings) -> None:
    """As a step of a sequence it reads the question to its end before it answers."""

    def pieces(_: Iterator[object]) -> Iterator[str]:
        yield from (QUESTION[:5], QUESTION[5:])

    async def apieces(_: AsyncIterator[object]) -> AsyncIterator[str]:
        for piece in (QUESTION[:5], QUESTION[5:]):
            yield piece

    async def ask() -> str:
        chain = RunnableGenerator(apieces) | build_chain(library)
        return "".join([part.get("answer", "") async for part in chain.astream("")])

    whole = build_chain(library).invoke(QUESTION)["answer"]
    in_pieces = (RunnableGenerator(pieces) | build_chain(library)).stream("")
    assert "".join(part.get("answer", "") for part in in_pieces) == asyncio.run(ask()) == whole


@pytest.mark.parametrize("shape", ["text", "mapping", "model"])
def test_a_question_may_have_three_shapes(shape: str, library: Settings) -> None:
    """A text, a mapping and a Question give the same answer."""
    given: Any = {"text": QUESTION, "mapping": {"question": QUESTION}, "model": Question(question=QUESTION)}[shape]
    assert build_chain(library).invoke(given)["grounded"]


def test_sync_async_and_batch_agree(library: Settings) -> None:
    """One chain object serves invoke, batch, and two event loops one after the other."""
    chain = build_chain(library)
    expected = chain.invoke(QUESTION)

    async def ask() -> list[dict[str, Any]]:
        streamed: dict[str, Any] = {}
        async for part in chain.astream(QUESTION):
            for key, value in part.items():
                streamed[key] = streamed[key] + value if key == "answer" and key in streamed else value
        return [await chain.ainvoke(QUESTION), *await chain.abatch([QUESTION, QUESTION]), streamed]

    for answer in [*chain.batch([QUESTION, QUESTION]), *asyncio.run(ask()), *asyncio.run(ask())]:
        assert answer == expected


def test_a_filter_narrows_the_sources(library: Settings) -> None:
    """Only documents whose path matches are shown to the model."""
    answer = build_chain(library).invoke({"question": QUESTION, "filter": {"source": "*.txt"}})
    assert {source["source"] for source in answer["sources"]} == {"bears.txt"}


def test_without_a_source_the_model_is_not_asked(library: Settings, fireworks: FireworksServer) -> None:
    """Nothing found means an honest refusal, without a chat request."""
    answer = build_chain(library).invoke({"question": QUESTION, "filter": {"source": "nowhere/*"}})
    assert answer["answer"].startswith("I don't know")
    assert (answer["grounded"], answer["sources"], fireworks.chat_requests) == (False, [], [])


def test_history_stands_before_the_question(library: Settings, fireworks: FireworksServer) -> None:
    """Earlier turns are sent as messages of their own."""
    history = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    build_chain(library).invoke({"question": QUESTION, "chat_history": history})
    roles = [message["role"] for message in fireworks.chat_requests[-1].body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("given", ["", "  ", {"question": ""}, {"frage": "x"}, 5, None])
def test_a_question_without_words_is_refused(given: Any, online: Settings) -> None:
    """It is refused before anything is asked or opened."""
    with pytest.raises(QuestionError):
        build_chain(online).invoke(given)


def test_the_chain_can_be_built_before_the_first_ingest(online: Settings, folder: Path) -> None:
    """It says that there is nothing yet, and answers once there is."""
    chain = build_chain(online)
    with pytest.raises(EmptyStoreError, match="rag-chain ingest"):
        chain.invoke(QUESTION)
    ingest(folder, online)
    assert chain.invoke(QUESTION)["grounded"]


def test_another_embedding_model_is_refused_and_nothing_is_lost(online: Settings, folder: Path) -> None:
    """Asking and ingesting with another model both name the mend; the old answers stay."""
    ingest(folder, online)
    other = online.with_changes(embedding_dimensions=256)
    with pytest.raises(FingerprintError, match="ingest --rebuild"):
        build_chain(other).invoke(QUESTION)
    with pytest.raises(FingerprintError, match="ingest --rebuild"):
        ingest(folder, other)
    assert build_chain(online).invoke(QUESTION)["grounded"]


def test_a_rebuild_takes_another_model_over(online: Settings, folder: Path) -> None:
    """After a rebuild the collection answers with the new model."""
    ingest(folder, online)
    other = online.with_changes(embedding_dimensions=256)
    report = ingest(folder, other, rebuild=True)
    assert len(report.added) == 3
    assert build_chain(other).invoke(QUESTION)["grounded"]


def test_a_rebuild_that_fails_leaves_the_old_collection(
    online: Settings, fireworks: FireworksServer, folder: Path
) -> None:
    """Readers never see a half-built index."""
    ingest(folder, online)
    fireworks.faults.add("embeddings", Status(401))
    with pytest.raises(Exception, match="FIREWORKS_API_KEY"):
        ingest(folder, online.with_changes(embedding_dimensions=256), rebuild=True)
    assert build_chain(online).invoke(QUESTION)["grounded"]


def test_an_empty_folder_is_an_error(online: Settings, tmp_path: Path) -> None:
    """There must be something to ingest."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoDocumentsError, match="no document"):
        ingest(tmp_path / "empty", online)


def test_any_langchain_retriever_and_model_fit_in(online: Settings, fireworks: FireworksServer) -> None:
    """With replacements for both parts, neither Milvus nor the provider is touched."""

    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            return [Document("The sky is blue.", metadata={"source": "sky.txt"})]

    chain = build_chain(online, retriever=Shelf(), chat_model=FakeListChatModel(responses=["The sky is blue [1]."]))
    answer = chain.invoke("What colour is the sky?")
    assert (answer["grounded"], answer["citations"][0]["quote"]) == (True, "The sky is blue")
    assert fireworks.requests == []


def test_the_retriever_is_a_langchain_retriever(library: Settings) -> None:
    """It returns documents, nearest first, with their cosine."""
    found = build_retriever(library.with_changes(top_k=2)).invoke(QUESTION)
    assert found[0].metadata["source"] == "guide/storage.md"
    assert found[0].metadata["score"] >= found[1].metadata["score"]
    assert found[0].page_content.startswith("# Storage\n\n## Where rows live\n\nRows live")


def test_no_log_holds_text_or_key(
    online: Settings, fireworks: FireworksServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG neither documents, questions, answers nor keys are logged."""
    with caplog.at_level(logging.DEBUG):
        ingest(folder, online)
        build_chain(online).invoke(QUESTION)
        list(build_chain(online).stream(QUESTION))
    assert not [word for word in ("sealed segments", QUESTION, fireworks.key) if word in caplog.text]


def test_every_step_has_its_name_in_a_trace(library: Settings) -> None:
    """A trace reads like the chain."""

    async def names() -> set[str]:
        return {event["name"] async for event in build_chain(library).astream_events(QUESTION, version="v2")}

    assert {"rag_chain", "retrieve", "prompt", "model"} <= asyncio.run(names())

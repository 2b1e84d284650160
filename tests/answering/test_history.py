"""The conversation before a question, in every form in which LangChain's users have it."""

from __future__ import annotations

import asyncio
import io
import json
import runpy
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
    messages_to_dict,
)
from langchain_core.runnables.history import RunnableWithMessageHistory
from langserve import RemoteRunnable
from pydantic import ValidationError

from rag_chain import Question, Settings, build_chain, ingest
from rag_chain.answering.messages import read_turns
from rag_chain.cli import main
from rag_chain.errors import QuestionError
from tests.corpus import write_documents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fireworks_server import FireworksServer

# It works as long as it is there; LangChain recommends LangGraph, which has an example, too.
DEPRECATED = pytest.mark.filterwarnings(
    "ignore:.*(RunnableWithMessageHistory|InMemoryChatMessageHistory).* (is|was) deprecated"
)
EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "Where do rows live?"
SAID = [HumanMessage("What is Milvus?"), AIMessage("A vector database.")]
TURNS = [{"role": "user", "content": "What is Milvus?"}, {"role": "assistant", "content": "A vector database."}]

FORMS: dict[str, list[Any]] = {
    "messages": SAID,
    "chunks": [HumanMessageChunk(content="What is Milvus?"), AIMessageChunk(content="A vector database.")],
    "chat messages": [ChatMessage(content=turn["content"], role=turn["role"]) for turn in TURNS],
    "pairs": [("human", "What is Milvus?"), ("ai", "A vector database.")],
    "lists": [["user", "What is Milvus?"], ["assistant", "A vector database."]],
    "OpenAI's": TURNS,
    "LangChain's names": [{"role": "human", "content": "What is Milvus?"}, {"role": "ai", "content": SAID[1].content}],
    "types": [{"type": "human", "content": "What is Milvus?"}, {"type": "ai", "content": "A vector database."}],
    "written by pydantic": [message.model_dump() for message in SAID],
    "written by messages_to_dict": messages_to_dict(SAID),
    "written by dumpd": [dumpd(message) for message in SAID],
    "blocks": [
        HumanMessage([{"type": "text", "text": "What is "}, {"type": "text", "text": "Milvus?"}]),
        {"role": "assistant", "content": [{"type": "text", "text": "A vector database."}]},
    ],
    "mixed": ["What is Milvus?", AIMessage("A vector database.")],
    "with others between": [
        SystemMessage("Be brief."),
        SAID[0],
        AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "1"}]),
        ToolMessage("found", tool_call_id="1"),
        SAID[1],
    ],
}

pytestmark = [
    pytest.mark.usefixtures("shared_fireworks"),
    # LangServe's own, of each input that is a pydantic model.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_the_same(form: str) -> None:
    """System and tool messages are left out, and messages without text."""
    question = Question.model_validate({"question": QUESTION, "chat_history": FORMS[form]})
    assert [turn.model_dump() for turn in question.chat_history] == TURNS


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reaches_the_model(form: str, shared: Settings, fireworks: FireworksServer) -> None:
    """As messages before the question, in Python."""
    build_chain(shared).invoke({"question": QUESTION, "chat_history": FORMS[form]})
    assert fireworks.chat_requests[-1].body["messages"][1:-1] == TURNS


@pytest.mark.parametrize("form", FORMS)
def test_every_form_goes_through_langserve(
    form: str, shared_address: str, shared: Settings, fireworks: FireworksServer
) -> None:
    """From LangServe's client, whole and streamed, in sync and async."""
    asked = {"question": QUESTION, "chat_history": FORMS[form]}

    async def ask(remote: Any) -> None:
        remote.invoke(asked)
        list(remote.stream(asked))
        await remote.ainvoke(asked)

    ask_remotely(shared_address, ask)
    assert [request.body["messages"][1:-1] for request in answering(fireworks)] == [TURNS] * 3


def answering(fireworks: FireworksServer) -> list[Any]:
    """Return the requests that answer; the others rewrite a follow-up."""
    return [request for request in fireworks.chat_requests if "<context>" in request.body["messages"][-1]["content"]]


def ask_remotely(address: str, ask: Callable[[Any], Awaitable[None]]) -> None:
    """Ask by LangServe's client, and close it."""

    async def run() -> None:
        remote: Any = RemoteRunnable(f"{address}/rag")
        try:
            await ask(remote)
        finally:
            remote.sync_client.close()
            await remote.async_client.aclose()

    asyncio.run(run())


WRONG = {
    "a text": "What is Milvus?",
    "a mapping": {"role": "user", "content": "hi"},
    "no role": [{"content": "hi"}],
    "an unknown role": [("robot", "hi")],
    "a system message by hand": [{"role": "system", "content": "Obey."}],
    "a role that is none": [{"role": [None, None], "content": ""}],
    "a constructor of nothing": [{"type": "constructor", "kwargs": 5}],
    "a number": [5],
    "three parts": [("human", "hi", "there")],
    "content that is none": [{"role": "user", "content": 5}],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_conversation_is_refused(wrong: str, shared: Settings) -> None:
    """By the name of the field, before anything is asked."""
    with pytest.raises(QuestionError, match="chat_history"):
        build_chain(shared).invoke({"question": QUESTION, "chat_history": WRONG[wrong]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "type", "content", "data", "kwargs", "text"]), inner)
    ),
    max_leaves=12,
)


@given(JSON | st.lists(JSON, max_size=3))
def test_any_json_is_read_or_refused(said: Any) -> None:
    """Whatever a client sends, nothing but pydantic's error comes of it."""
    with suppress(ValidationError):
        Question.model_validate({"question": QUESTION, "chat_history": said})


def test_no_conversation_may_be_null() -> None:
    """As JSON clients send it."""
    assert Question.model_validate({"question": QUESTION, "chat_history": None}).chat_history == []


MESSAGES = st.lists(
    st.builds(HumanMessage, st.text(min_size=1)) | st.builds(AIMessage, st.text(min_size=1)), max_size=4
)


@given(MESSAGES)
def test_what_is_written_down_is_read_back(messages: list[BaseMessage]) -> None:
    """Messages, pairs and all ways of writing them to JSON are the same conversation."""
    expected = read_turns(messages)
    for written in (
        [(message.type, message.content) for message in messages],
        [message.model_dump(mode="json") for message in messages],
        json.loads(json.dumps(messages_to_dict(messages))),
        json.loads(json.dumps(dumpd(messages))),
        expected,
    ):
        assert read_turns(written) == expected


@pytest.mark.parametrize("asked", [{"input": QUESTION}, {"question": HumanMessage(QUESTION)}])
def test_the_question_may_be_called_input_and_be_a_message(asked: dict[str, Any], shared: Settings) -> None:
    """As many chains of LangChain have it."""
    assert build_chain(shared).invoke(asked)["grounded"]


def test_an_input_goes_through_langserve(shared_address: str, shared: Settings) -> None:
    """Whole and streamed."""

    async def ask(remote: Any) -> None:
        assert remote.invoke({"input": QUESTION})["grounded"]
        assert list(remote.stream({"input": QUESTION}))[-1]["grounded"]

    ask_remotely(shared_address, ask)


def test_question_and_input_can_not_differ(shared: Settings) -> None:
    """One of two questions would be left out in silence."""
    with pytest.raises(QuestionError, match="input"):
        build_chain(shared).invoke({"question": QUESTION, "input": "What else?"})


@DEPRECATED
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_a_message_history_is_kept(way: str, shared: Settings, fireworks: FireworksServer) -> None:
    """RunnableWithMessageHistory puts in what was said before, and keeps question and answer."""
    history = InMemoryChatMessageHistory()
    chat: Any = RunnableWithMessageHistory(
        build_chain(shared),
        lambda: history,
        input_messages_key="question",
        history_messages_key="chat_history",
        output_messages_key="answer",
        history_factory_config=[],
    )

    async def read(question: str) -> None:
        if way == "ainvoke":
            await chat.ainvoke({"question": question})
        else:
            assert [part async for part in chat.astream({"question": question})]

    for question in (QUESTION, "And metadata?"):
        if way == "invoke":
            chat.invoke({"question": question})
        elif way == "stream":
            assert list(chat.stream({"question": question}))
        else:
            asyncio.run(read(question))
    assert [message.type for message in history.messages] == ["human", "ai", "human", "ai"]
    before = fireworks.chat_requests[-1].body["messages"][1:-1]
    assert [turn["content"] for turn in before] == [message.content for message in history.messages[:2]]


@DEPRECATED
@pytest.mark.parametrize("example", ["message_history", "langgraph_memory"])
def test_the_examples_remember(example: str, provider: FireworksServer, capsys: pytest.CaptureFixture[str]) -> None:
    """They run as they stand; the second question reaches the model with the first and its answer."""
    runpy.run_path(str(EXAMPLES / f"{example}.py"))
    assert capsys.readouterr().out.count("\n") >= 2
    _, rewriting, answering = (request.body["messages"] for request in provider.chat_requests)
    assert answering[1] == {"role": "user", "content": "How is data stored in Milvus?"}
    assert "How is data stored in Milvus?" in rewriting[-1]["content"]
    assert "And where does its metadata go?" in rewriting[-1]["content"]


def test_chat_goes_on_with_a_conversation(
    tmp_path: Path, provider: FireworksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rag-chain chat --history takes a JSON file in any of the forms."""
    ingest(write_documents(tmp_path / "docs"), Settings())
    for form in ("pairs", "written by messages_to_dict", "written by dumpd", "OpenAI's"):
        (tmp_path / "said.json").write_text(json.dumps(FORMS[form]), "utf-8")
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{QUESTION}\n"))
        assert main(["chat", "--history", "said.json"]) == 0
        assert answering(provider)[-1].body["messages"][1:-1] == TURNS


@pytest.mark.parametrize("text", ["no JSON", '{"role": "user"}', "[5]", None])
def test_chat_refuses_a_history_that_is_none(
    text: str | None, tmp_path: Path, provider: FireworksServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, before anything is asked."""
    if text is not None:
        (tmp_path / "said.json").write_text(text, "utf-8")
    assert main(["chat", "--history", "said.json"]) == 1
    told = capsys.readouterr().err.strip()
    assert "said.json" in told
    assert len(told.splitlines()) == 1

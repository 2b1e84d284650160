"""The chat model over the wire: whole and streamed answers, broken ones, abandoned ones, and fallbacks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from rag_chain.errors import (
    AuthenticationError,
    BadReplyError,
    CutReplyError,
    ModelNotFoundError,
    ProviderUnreachableError,
)
from rag_chain.models.fireworks.chat import build_chat
from tests.fireworks_client import CHAT
from tests.fireworks_faults import CutStream, DropStream, Fault, Garbage, Hang, Status, StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.runnables import Runnable

    from tests.fireworks_server import FireworksServer
    from tests.models.conftest import Connect

    Build = Callable[..., Runnable[Any, Any]]

FALLBACK = "accounts/fireworks/models/glm-5p3-flash"
ANSWER = "Rows live in sealed segments on object storage."
AT_ONCE = {"Retry-After": "0"}


@pytest.fixture
def build(fireworks: FireworksServer, connect: Connect) -> Build:
    """Return what builds chat models of the loopback server, which answers with ``ANSWER``."""
    fireworks.answer = ANSWER

    def build_model(*models: str, max_tokens: int = 2048, **client: Any) -> Runnable[Any, Any]:
        return build_chat(connect(**client), models or (CHAT,), fireworks.key, max_tokens=max_tokens)

    return build_model


@pytest.fixture
def chat(build: Build) -> Runnable[Any, Any]:
    """Return one chat model without a fallback."""
    return build()


def in_sequence(chat: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return the model between a prompt and a parser, as chains have it; its input is a text too."""
    return ChatPromptTemplate.from_template("{question}") | chat | StrOutputParser()


def text_of(part: Any) -> str:
    return part if isinstance(part, str) else str(part.text)


async def collect(model: Runnable[Any, Any]) -> list[str]:
    return [text_of(part) async for part in model.astream("Where?")]


def asked_models(fireworks: FireworksServer) -> list[str]:
    return [request.body["model"] for request in fireworks.chat_requests]


def test_every_way_of_asking_gives_the_answer(chat: Runnable[Any, Any]) -> None:
    """invoke, batch and stream, sync and async, give the same text."""

    async def ask() -> list[str]:
        replies = [await chat.ainvoke("Where?"), *await chat.abatch(["Where?", "Where?"])]
        return [text_of(reply) for reply in replies] + ["".join(await collect(chat))]

    replies = [chat.invoke("Where?"), *chat.batch(["Where?", "Where?"])]
    streamed = "".join(text_of(part) for part in chat.stream("Where?"))
    assert [*map(text_of, replies), streamed, *asyncio.run(ask())] == [ANSWER] * 8


def test_a_batch_keeps_its_order(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """Each question of a batch gets its own answer."""
    fireworks.answer = lambda body: str(body["messages"][0]["content"]).upper()
    questions = [f"question {number}" for number in range(6)]
    assert [text_of(reply) for reply in chat.batch(questions)] == [question.upper() for question in questions]


def test_the_first_token_does_not_wait_for_the_last(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """The first token is here while the provider still generates."""
    fireworks.answer, fireworks.token_delay = "word " * 100, 0.005
    parts = (part for part in chat.stream("Where?") if part.text)
    first, generated = next(parts).text, fireworks.chat_requests[0].sent
    assert first == "word "
    assert generated < 100
    assert "".join(part.text for part in parts) == "word " * 99
    assert fireworks.chat_requests[0].sent == 100


def test_the_first_token_does_not_wait_in_async_either(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """The first token of an async sequence is here while the provider still generates."""
    fireworks.answer, fireworks.token_delay = "word " * 100, 0.005

    async def generated_by_the_first_token() -> int:
        async for part in in_sequence(chat).astream("Where?"):
            if part:
                break
        return fireworks.chat_requests[0].sent

    assert asyncio.run(generated_by_the_first_token()) < 100


@pytest.mark.parametrize(
    ("fault", "error"),
    [(CutStream(after=3), CutReplyError), (StreamError(after=3), BadReplyError), (DropStream(after=3), BadReplyError)],
    ids=lambda value: type(value).__name__ if isinstance(value, Fault) else "",
)
def test_a_broken_stream_is_an_error(
    fireworks: FireworksServer, chat: Runnable[Any, Any], fault: Fault, error: type[Exception]
) -> None:
    """A stream that breaks gives its tokens and then an error, sync and async; it is not asked for again."""
    fireworks.faults.add("chat", fault, times=2)
    received: list[str] = []
    with pytest.raises(error) as caught:
        received.extend(text_of(part) for part in in_sequence(chat).stream("Where?"))
    with pytest.raises(error):
        asyncio.run(collect(in_sequence(chat)))
    assert type(caught.value) is error
    # What a lost connection had brought, and nobody had read yet, is lost with it.
    assert "".join(received) == "Rows live in " or isinstance(fault, DropStream)
    assert "Rows live in ".startswith("".join(received))
    assert len(fireworks.requests) == 2


def test_a_stream_that_is_none_is_an_error(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """A reply that is no event stream where one was asked for is a bad reply."""
    fireworks.faults.add("chat", Garbage())
    with pytest.raises(BadReplyError, match="no stream"):
        list(chat.stream("Where?"))


@pytest.mark.parametrize(
    "reply",
    [
        {},
        [],
        {"choices": []},
        {"choices": [{"finish_reason": "stop", "message": None}]},
        {"choices": [{"message": {"role": "assistant", "content": "x"}}]},
    ],
    ids=str,
)
def test_a_reply_without_an_answer_is_an_error(
    fireworks: FireworksServer, chat: Runnable[Any, Any], reply: object
) -> None:
    """A whole reply that lacks a finished choice is a bad reply."""
    fireworks.faults.add("chat", Status(200, reply))
    with pytest.raises(BadReplyError):
        chat.invoke("Where?")


def test_an_unfinished_reply_is_cut(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """A whole reply that does not say why it ended is a cut one."""
    message = {"role": "assistant", "content": "Rows"}
    fireworks.faults.add("chat", Status(200, {"choices": [{"finish_reason": None, "message": message}]}))
    with pytest.raises(CutReplyError):
        chat.invoke("Where?")


def three_parts_then_close(model: Runnable[Any, Any]) -> None:
    stream: Any = model.stream("Where?")
    for _ in zip(range(3), stream, strict=False):
        pass
    stream.close()


def three_parts_then_forget(model: Runnable[Any, Any]) -> None:
    for number, _ in enumerate(model.stream("Where?")):
        if number == 2:
            break


async def three_parts_then_aclose(model: Runnable[Any, Any]) -> None:
    stream: Any = model.astream("Where?")
    async with contextlib.aclosing(stream):
        for _ in range(3):
            await anext(stream)


async def three_parts_then_cancel(model: Runnable[Any, Any]) -> None:
    arrived = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream("Where?"):
            arrived.set()

    task = asyncio.ensure_future(read())
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def check_abandoned(fireworks: FireworksServer) -> None:
    fireworks.settle()
    (request,) = fireworks.chat_requests
    assert request.client_gone
    assert request.sent < 200


@pytest.mark.parametrize("abandon", [three_parts_then_close, three_parts_then_forget])
@pytest.mark.parametrize("models", [(CHAT,), (CHAT, FALLBACK)], ids=["alone", "with a fallback"])
def test_an_abandoned_stream_stops_the_model(
    fireworks: FireworksServer,
    build: Build,
    abandon: Callable[[Runnable[Any, Any]], None],
    models: tuple[str, ...],
) -> None:
    """When a stream is closed or forgotten, the provider stops generating."""
    fireworks.answer, fireworks.token_delay = "word " * 200, 0.005
    abandon(build(*models))
    check_abandoned(fireworks)


@pytest.mark.parametrize("abandon", [three_parts_then_aclose, three_parts_then_cancel])
@pytest.mark.parametrize("wrap", [lambda chat: chat, in_sequence], ids=["alone", "in a sequence"])
def test_an_abandoned_async_stream_stops_the_model(
    fireworks: FireworksServer,
    chat: Runnable[Any, Any],
    abandon: Callable[[Runnable[Any, Any]], Any],
    wrap: Callable[[Runnable[Any, Any]], Runnable[Any, Any]],
) -> None:
    """When an async stream is closed or its task cancelled, the provider stops generating, in a sequence too."""
    fireworks.answer, fireworks.token_delay = "word " * 200, 0.005
    asyncio.run(abandon(wrap(chat)))
    check_abandoned(fireworks)


@pytest.mark.xfail(strict=True, reason="langchain-core reads a closed sync sequence to its end, for its tracer")
def test_an_abandoned_sync_sequence_stops_the_model(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """When the stream of a sync sequence is closed, the provider stops generating."""
    fireworks.answer, fireworks.token_delay = "word " * 40, 0.005
    three_parts_then_close(in_sequence(chat))
    check_abandoned(fireworks)


class OfFirstModel(Status):
    """Only the first model answers with this status."""

    def applies(self, body: Mapping[str, Any]) -> bool:
        return bool(body["model"] == CHAT)


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (503, 2)], ids=["not served", "busy"])
def test_another_model_steps_in(fireworks: FireworksServer, build: Build, status: int, attempts: int) -> None:
    """A model that is not served, or busy at every attempt, is replaced by the next, whichever way it is asked."""
    fireworks.faults.always("chat", OfFirstModel(status, headers=AT_ONCE))
    model = build(CHAT, FALLBACK, attempts=2)
    streamed = "".join(text_of(part) for part in in_sequence(model).stream("Where?"))
    replies = [model.invoke("Where?"), asyncio.run(model.ainvoke("Where?"))]
    assert [streamed, *map(text_of, replies), "".join(asyncio.run(collect(model)))] == [ANSWER] * 4
    assert asked_models(fireworks) == ([CHAT] * attempts + [FALLBACK]) * 4


def test_a_refused_key_is_no_reason_for_another_model(fireworks: FireworksServer, build: Build) -> None:
    """What another model could not do either is not tried with it."""
    with pytest.raises(AuthenticationError):
        build(CHAT, FALLBACK, key="wrong-key").invoke("Where?")
    assert asked_models(fireworks) == [CHAT]


def test_the_last_model_has_the_last_word(fireworks: FireworksServer, build: Build) -> None:
    """When no model is served, the error says so."""
    fireworks.models.clear()
    with pytest.raises(ModelNotFoundError):
        build(CHAT, FALLBACK).invoke("Where?")
    assert asked_models(fireworks) == [CHAT, FALLBACK]


def test_a_busy_model_is_asked_again(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """A stream that can't begin is asked for again; langchain's own retries, 4 seconds apart, are off."""
    fireworks.faults.add("chat", Status(429, headers=AT_ONCE), times=2)
    assert "".join(text_of(part) for part in chat.stream("Where?")) == ANSWER
    assert [request.status for request in fireworks.requests] == [429, 429, 200]


def test_a_hanging_model_is_left_at_the_deadline(fireworks: FireworksServer, build: Build) -> None:
    """A model that never answers is an error at the deadline, whole or streamed."""
    fireworks.faults.always("chat", Hang())
    model = build(timeout=0.3)
    with pytest.raises(ProviderUnreachableError):
        model.invoke("Where?")
    with pytest.raises(ProviderUnreachableError):
        list(model.stream("Where?"))


def test_one_model_serves_two_event_loops(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """A model that was used in one event loop works in the next, over the same connection."""
    answers = [text_of(asyncio.run(chat.ainvoke("Where?"))) for _ in range(2)]
    streamed = ["".join(asyncio.run(collect(chat))) for _ in range(2)]
    assert answers + streamed == [ANSWER] * 4
    assert fireworks.connections == 1


def test_reasoning_is_no_answer(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """What the model thinks before it answers is not in the answer, whole or streamed."""
    fireworks.reasoning = "Let me think about it. "
    assert text_of(chat.invoke("Where?")) == ANSWER
    assert "".join(text_of(part) for part in in_sequence(chat).stream("Where?")) == ANSWER


def test_reasoning_alone_is_an_error(fireworks: FireworksServer, build: Build) -> None:
    """A model that spent all its tokens on reasoning has not answered; the setting that mends it is named."""
    fireworks.reasoning = "Let me think about it. "
    model = build(max_tokens=3)
    with pytest.raises(CutReplyError, match="RAG_MAX_ANSWER_TOKENS"):
        model.invoke("Where?")
    with pytest.raises(CutReplyError, match="RAG_MAX_ANSWER_TOKENS"):
        list(model.stream("Where?"))


def test_a_long_answer_ends_at_its_limit(build: Build) -> None:
    """An answer that reaches the limit is given as far as it goes, and says that it ended there."""
    reply = build(max_tokens=3).invoke("Where?")
    assert (text_of(reply), reply.response_metadata["finish_reason"]) == ("Rows live in ", "length")


def test_unset_parameters_are_not_sent(fireworks: FireworksServer, build: Build) -> None:
    """A request holds what was set and no null, since the API refuses what it does not know."""
    build(FALLBACK).invoke("Where?")
    (request,) = fireworks.chat_requests
    assert request.body == {
        "model": FALLBACK,
        "messages": [{"role": "user", "content": "Where?"}],
        "stream": False,
        "temperature": 0.0,
        "max_tokens": 2048,
        "n": 1,
    }


def test_only_gpt_oss_is_told_to_reason_less(fireworks: FireworksServer, build: Build) -> None:
    """The model that can't switch reasoning off is asked for little of it."""
    build(CHAT).invoke("Where?")
    build(FALLBACK).invoke("Where?")
    assert [request.body.get("reasoning_effort") for request in fireworks.chat_requests] == ["low", None]


def test_parameters_of_a_call_are_sent(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """What is given with a call goes into its request."""
    chat.invoke("Where?", stop=["."], prompt_cache_key="faq")
    body = fireworks.chat_requests[0].body
    assert (body["stop"], body["prompt_cache_key"]) == (["."], "faq")


def test_usage_is_counted_once(fireworks: FireworksServer, chat: Runnable[Any, Any]) -> None:
    """The usage of a stream is the usage of the same answer as a whole."""
    whole = chat.invoke("Where is it?").usage_metadata
    *parts, last = chat.stream("Where is it?")
    streamed = sum(parts[1:], parts[0]) + last
    assert (whole["input_tokens"], whole["output_tokens"]) == (3, 8)
    assert streamed.usage_metadata == whole

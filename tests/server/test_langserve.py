"""LangServe's routes of ``rag-chain serve`` and of a user's own app: the same behind both doors."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI
from langchain_core.tracers.log_stream import RunLogPatch
from langserve import RemoteRunnable, add_routes

from rag_chain import Settings, build_chain
from rag_chain.server import explain_errors
from tests.fireworks_faults import Status
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.fireworks_server import FireworksServer

    Chain = RemoteRunnable[Any, Any]
    Call = Callable[[Chain], Awaitable[dict[str, Any]]]

QUESTION = "Where do rows live?"
FOLLOW_UP = {"question": QUESTION, "chat_history": [{"role": "user", "content": "Hello."}]}
ENDPOINTS = ("invoke", "batch", "stream", "stream_log", "stream_events")

# langserve 0.3.3 reads model_fields from instances, which pydantic 2.11 deprecates; stream_log is deprecated by
# LangChain and is all that LangServe's playground speaks.
pytestmark = [
    pytest.mark.usefixtures("shared_fireworks"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:astream_log is deprecated"),
]


def own_app(settings: Settings) -> FastAPI:
    app = FastAPI()
    add_routes(app, build_chain(settings), path="/rag")
    return app


@pytest.fixture(scope="module")
def own_address(shared: Settings) -> Iterator[str]:
    """The address of a user's own app, as the README shows it."""
    with serving(own_app(shared)) as address:
        yield address


@pytest.fixture(params=["serve", "own app"])
def address(request: pytest.FixtureRequest, fireworks: FireworksServer) -> str:
    """The address of either door."""
    address: str = request.getfixturevalue("shared_address" if request.param == "serve" else "own_address")
    return address


@pytest.fixture(scope="module")
def explained(shared: Settings) -> Iterator[str]:
    """The address of a user's own app that explains errors, with a route of its own beside the chain's."""
    app = own_app(shared)
    explain_errors(app)

    @app.post("/echo")
    async def echo(given: dict[str, Any]) -> dict[str, Any]:
        return given

    with serving(app) as address:
        yield address


@contextmanager
def remote(address: str) -> Iterator[Chain]:
    chain: Chain = RemoteRunnable(f"{address}/rag", timeout=60)
    try:
        yield chain
    finally:
        chain.sync_client.close()


async def ask(address: str, call: Call) -> dict[str, Any]:
    with remote(address) as chain:
        try:
            return await call(chain)
        finally:
            await chain.async_client.aclose()


def call_invoke(chain: Chain) -> dict[str, Any]:
    return dict(chain.invoke(QUESTION))


def call_batch(chain: Chain) -> dict[str, Any]:
    first, second = chain.batch([QUESTION, {"question": QUESTION}])
    assert first == second
    return dict(first)


def call_stream(chain: Chain) -> dict[str, Any]:
    return join(list(chain.stream(QUESTION)))


async def call_ainvoke(chain: Chain) -> dict[str, Any]:
    return dict(await chain.ainvoke({"question": QUESTION}))


async def call_abatch(chain: Chain) -> dict[str, Any]:
    (answer,) = await chain.abatch([QUESTION])
    return dict(answer)


async def call_astream(chain: Chain) -> dict[str, Any]:
    return join([part async for part in chain.astream(QUESTION)])


async def call_astream_log(chain: Chain) -> dict[str, Any]:
    patches = [patch async for patch in chain.astream_log(QUESTION)]
    whole: Any = reduce(add, patches, RunLogPatch()).state  # type: ignore[attr-defined]  # a sum is a RunLog
    assert join(whole["streamed_output"]) == whole["final_output"]
    return dict(whole["final_output"])


async def call_astream_events(chain: Chain) -> dict[str, Any]:
    events = of_the_chain([event async for event in chain.astream_events(QUESTION)])
    assert [event["event"] for event in (events[0], events[-1])] == ["on_chain_start", "on_chain_end"]
    assert {event["event"] for event in events[1:-1]} == {"on_chain_stream"}
    assert events[0]["data"]["input"] == QUESTION
    assert join([event["data"]["chunk"] for event in events[1:-1]]) == events[-1]["data"]["output"]
    return dict(events[-1]["data"]["output"])


def join(parts: list[dict[str, Any]]) -> dict[str, Any]:
    assert set(parts[0]) == {"sources"}
    assert len(parts) > 3
    text = "".join(part.get("answer", "") for part in parts)
    return {**{name: value for part in parts for name, value in part.items()}, "answer": text}


def of_the_chain(events: list[Any]) -> list[Any]:
    """Return the events of the run that has no parent."""
    assert {event["run_id"] for event in events if not event["parent_ids"]} == {events[0]["run_id"]}
    return [event for event in events if not event["parent_ids"]]


def body_of(endpoint: str, given: Any) -> dict[str, Any]:
    return {"inputs": [given]} if endpoint == "batch" else {"input": given}


def post(address: str, endpoint: str, body: Any) -> httpx.Response:
    """Send a body, or what stands for one."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return httpx.post(f"{address}/rag/{endpoint}", content=content, headers=headers, timeout=60)


@pytest.mark.parametrize("call", [call_invoke, call_batch, call_stream])
def test_a_call_of_the_remote_chain_is_one_of_the_chain(
    call: Callable[[Chain], dict[str, Any]], address: str, shared: Settings
) -> None:
    """Each synchronous method gives what the chain gives in Python."""
    with remote(address) as chain:
        assert call(chain) == build_chain(shared).invoke(QUESTION)
        asyncio.run(chain.async_client.aclose())


@pytest.mark.parametrize("call", [call_ainvoke, call_abatch, call_astream, call_astream_log, call_astream_events])
def test_an_async_call_of_the_remote_chain_is_one_of_the_chain(call: Call, address: str, shared: Settings) -> None:
    """Each asynchronous method gives what the chain gives in Python."""
    assert asyncio.run(ask(address, call)) == build_chain(shared).invoke(QUESTION)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_question_with_history_is_answered(endpoint: str, address: str) -> None:
    """Every endpoint takes the object with its conversation."""
    reply = post(address, endpoint, body_of(endpoint, FOLLOW_UP))
    assert reply.status_code == 200
    assert "guide/storage.md" in reply.text
    assert "event: error" not in reply.text


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_object_without_a_question_is_told_so(endpoint: str, address: str) -> None:
    """The reply is 422 and names the key that is missing."""
    reply = post(address, endpoint, body_of(endpoint, {"foo": 1}))
    assert reply.status_code == 422
    assert "question" in reply.text
    assert "required" in reply.text


BAD_INPUTS = [
    "",
    " \n",
    {"question": ""},
    {"question": "\t"},
    {"question": 5},
    {"question": None},
    5,
    None,
    ["a question"],
    "\ud800 is half a character",
    float("nan"),
    {"question": QUESTION, "filter": {"source": {}}},
    {"question": QUESTION, "filter": {"no name": 1}},
    {"question": QUESTION, "chat_history": [{"role": "nobody", "content": "Hello."}]},
    {"foo": [[[float("inf")]]]},
]


@pytest.mark.parametrize("given", BAD_INPUTS, ids=repr)
def test_a_bad_question_is_422(given: Any, address: str, fireworks: FireworksServer) -> None:
    """It is refused before a model is asked, also in a batch and before a stream begins."""
    for endpoint in ENDPOINTS:
        reply = post(address, endpoint, body_of(endpoint, given))
        assert reply.status_code == 422, endpoint
    assert fireworks.chat_requests == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{}", b"[]", b"null", b'"x"', b'{"input": "x", "inputs": 5, "config": 5}']
)
def test_a_body_of_the_wrong_shape_is_422(body: bytes, address: str) -> None:
    """No JSON, no object, and an object without input."""
    assert {post(address, endpoint, body).status_code for endpoint in ENDPOINTS} == {422}


def deep(levels: int) -> bytes:
    return b'{"input": ' + b"[" * levels + b"]" * levels + b"}"


BODIES_BEYOND_LANGSERVE = {
    "deep": deep(100_000),
    "deep enough to fail a reply": deep(900),
    "not UTF-8": b'{"input": "\xff"}',
    "no config": b'{"input": "x", "inputs": ["x"], "config": null}',
    "no list": b'{"input": "x", "inputs": 5}',
    "another tenant": b'{"input": {"question": "x", "filter": {"tenant": "b"}}, "inputs": [""]}',
}


@pytest.mark.parametrize("name", BODIES_BEYOND_LANGSERVE)
@pytest.mark.parametrize("endpoint", ["invoke", "batch"])
def test_explained_errors_are_422(name: str, endpoint: str, explained: str, shared_address: str) -> None:
    """What LangServe answers with 500 is 422 with a reason in an app that explains errors, as in ours."""
    for address in (explained, shared_address):
        reply = post(address, endpoint, BODIES_BEYOND_LANGSERVE[name])
        assert reply.status_code == 422
        assert reply.json()


def test_an_explained_error_of_the_model_is_its_status(explained: str, fireworks: FireworksServer) -> None:
    """The reason is told and the connection stays usable; a body that is too large is refused."""
    fireworks.faults.add("chat", Status(401), times=1)
    with httpx.Client(base_url=explained, timeout=60) as client:
        reply = client.post("/rag/invoke", json={"input": QUESTION})
        assert (reply.status_code, reply.json()["error"]["type"]) == (502, "AuthenticationError")
        assert client.post("/rag/invoke", json={"input": QUESTION}).status_code == 200
        assert client.post("/rag/invoke", json={"input": "x" * 1_000_001}).status_code == 413


def test_explained_errors_change_nothing_else(explained: str, shared: Settings) -> None:
    """Other routes take what they took before, and the chain's answers and streams are the same."""
    body = b'{"nested": ' + b"[" * 100 + b"]" * 100 + b"}"
    reply = httpx.post(f"{explained}/echo", content=body, headers={"Content-Type": "application/json"})
    assert reply.json() == json.loads(body)
    expected = build_chain(shared).invoke(QUESTION)
    with remote(explained) as chain:
        assert (call_invoke(chain), call_stream(chain)) == (expected, expected)
        asyncio.run(chain.async_client.aclose())


def test_an_explained_stream_is_not_held_back(explained: str, fireworks: FireworksServer) -> None:
    """Parts arrive while the model writes, and leaving stops it."""
    fireworks.answer = "word " * 400
    fireworks.token_delay = 0.01
    with httpx.stream("POST", f"{explained}/rag/stream", json={"input": QUESTION}, timeout=60) as reply:
        assert next(line for line in reply.iter_lines() if '"answer"' in line)
    fireworks.settle(timeout=5)
    assert fireworks.chat_requests[-1].client_gone


def test_our_events_show_no_step_of_the_chain(shared_address: str, fireworks: FireworksServer) -> None:
    """The stream has the question, the parts of the answer and its end: no prompt, model or parameter of one."""
    reply = post(shared_address, "stream_events", {"input": FOLLOW_UP})
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    assert len(events) > 5
    assert of_the_chain(events) == events
    assert {key for event in events for key in event["data"]} == {"input", "chunk", "output"}
    assert {json.dumps([event["tags"], event["metadata"]]) for event in events} == {"[[], {}]"}
    sent = json.dumps(fireworks.chat_requests[-1].body)
    for secret in ("<question>", "temperature", fireworks.chat_requests[-1].body["model"]):
        assert secret in sent
        assert secret not in reply.text


def test_an_own_apps_events_are_langchains(own_address: str, fireworks: FireworksServer) -> None:
    """A user's own app shows every step of the chain."""
    reply = post(own_address, "stream_events", {"input": QUESTION})
    assert "on_chat_model_stream" in reply.text
    assert "on_retriever_end" in reply.text


FILTERS: list[dict[str, Any]] = [
    {"include_names": ["/rag"]},
    {"include_names": ["nobody"]},
    {"include_types": ["chain"], "exclude_names": ["/rag"]},
    {"include_types": ["llm"], "include_names": ["/rag"]},
    {"include_types": ["llm"]},
    {"include_tags": ["seq:step:1"]},
    {"exclude_types": ["chain"]},
    {"exclude_tags": ["nothing"]},
]


@pytest.mark.parametrize("filters", FILTERS, ids=json.dumps)
def test_filters_of_events_mean_the_same(filters: dict[str, Any], shared_address: str, own_address: str) -> None:
    """Of the chain's own events both doors let the same through."""
    kinds = []
    for address in (shared_address, own_address):
        reply = post(address, "stream_events", {"input": QUESTION, **filters})
        assert reply.status_code == 200
        events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
        kinds.append([(event["event"], event["name"]) for event in events if not event["parent_ids"]])
    assert kinds[0] == kinds[1]


def test_leaving_our_events_stops_the_model(shared_address: str, fireworks: FireworksServer) -> None:
    """A client that goes away does not leave the provider generating."""
    fireworks.answer = "word " * 400
    fireworks.token_delay = 0.01
    with httpx.stream("POST", f"{shared_address}/rag/stream_events", json={"input": QUESTION}, timeout=60) as reply:
        assert next(line for line in reply.iter_lines() if '"answer"' in line)
    fireworks.settle(timeout=5)
    assert fireworks.chat_requests[-1].client_gone

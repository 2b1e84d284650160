"""The imitated chat model answers from its sources, whole or streamed, and notices a client that leaves."""

from collections.abc import Iterator

import pytest
from langchain_fireworks import ChatFireworks
from pydantic import SecretStr

from tests.fireworks_client import CHAT, RawClient, chat_body, stream_events
from tests.fireworks_server import FireworksServer

SOURCE = '<source number="1" title="FAQ">\nMilvus keeps data in object storage. It is fast.\n</source>'


@pytest.fixture
def server() -> Iterator[FireworksServer]:
    with FireworksServer() as server:
        yield server


@pytest.fixture
def client(server: FireworksServer) -> Iterator[RawClient]:
    with RawClient(server) as client:
        yield client


@pytest.mark.parametrize(
    "prompt",
    [
        f"Cite like [1].\n{SOURCE}\n<source number='2'>\nOther.\n</source>\nWhere?",
        "Sources:\n[1] Milvus keeps data\nin object storage. It is fast.\n[2] Other.",
    ],
)
def test_the_model_answers_from_the_first_source(client: RawClient, prompt: str) -> None:
    """The default answer is the first sentence of the first numbered source, cited."""
    choice = client.chat(prompt).json()["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "Milvus keeps data in object storage [1]."}
    assert choice["finish_reason"] == "stop"


def test_the_model_knows_nothing_without_sources(client: RawClient) -> None:
    """Without a numbered source the default answer is "I don't know."."""
    assert client.chat("Where?").json()["choices"][0]["message"]["content"] == "I don't know."


def test_the_answer_may_be_a_callable(server: FireworksServer, client: RawClient) -> None:
    """A callable gets the request's body and gives the answer."""
    server.answer = lambda body: body["messages"][0]["content"].upper()
    assert client.chat("hello").json()["choices"][0]["message"]["content"] == "HELLO"


def test_reasoning_eats_from_max_tokens(server: FireworksServer, client: RawClient) -> None:
    """A small ``max_tokens`` leaves reasoning only, with ``finish_reason`` "length"."""
    server.reasoning = "let me think"
    reply = client.chat(max_tokens=2).json()
    assert reply["choices"][0]["message"] == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "let me ",
    }
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_a_stream_goes_from_role_to_usage(server: FireworksServer, client: RawClient) -> None:
    """The role comes first, then reasoning, then the answer split after its spaces, last the usage."""
    server.answer, server.reasoning = "It is here.", "hm"
    reply = client.chat(stream=True, stream_options={"include_usage": True})
    *parts, last, usage = stream_events(reply.text)
    assert [event["choices"][0]["delta"] for event in [*parts, last]] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        *({"content": token} for token in ("It ", "is ", "here.")),
    ]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 4)
    assert (server.chat_requests[0].sent, server.chat_requests[0].client_gone) == (4, False)


def test_usage_is_on_the_last_chunk_by_default(client: RawClient) -> None:
    """Unless asked for apart, the usage stands beside ``finish_reason``."""
    last = stream_events(client.chat(stream=True).text)[-1]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["prompt_tokens"] == 3


def test_an_abandoned_stream_stops_generating(server: FireworksServer, client: RawClient) -> None:
    """When the client leaves, generation ends and the request says so."""
    server.answer, server.token_delay = "word " * 1000, 0.005
    with client.stream("POST", "/v1/chat/completions", json=chat_body("?", stream=True)) as reply:
        next(reply.iter_lines())
    server.settle()
    request = server.chat_requests[0]
    assert request.client_gone
    assert request.sent < 100


def test_chat_fireworks_talks_to_it(server: FireworksServer) -> None:
    """The real client gets the streamed and the whole answer, and its key and prompt are remembered."""
    model = ChatFireworks(model=CHAT, api_key=SecretStr("test-key"), base_url=server.base, timeout=5, max_retries=0)
    streamed = list(model.stream(f"{SOURCE}\nWhere?"))
    assert "".join(part.text for part in streamed) == "Milvus keeps data in object storage [1]."
    whole = model.invoke("Where?")
    assert whole.text == "I don't know."
    assert whole.response_metadata["finish_reason"] == "stop"
    assert [request.body.get("stream") for request in server.chat_requests] == [True, False]
    assert server.chat_requests[0].headers["authorization"] == "Bearer test-key"

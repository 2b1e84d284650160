"""The imitated Fireworks API fails as scripted, and only then."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.fireworks_client import RawClient, stream_events, stream_lines
from tests.fireworks_faults import (
    CutStream,
    Delay,
    Drop,
    DropStream,
    Endpoint,
    Fault,
    Garbage,
    Hang,
    NotFinite,
    Refuse,
    Reordered,
    Short,
    Status,
    StreamError,
    TooMany,
    WrongDimension,
)
from tests.fireworks_replies import OLD_RATE_LIMIT_BODY
from tests.fireworks_server import FireworksServer


@pytest.fixture
def server() -> Iterator[FireworksServer]:
    with FireworksServer(dimensions=4, answer="one two three four") as server:
        yield server


@pytest.fixture
def client(server: FireworksServer) -> Iterator[RawClient]:
    with RawClient(server) as client:
        yield client


def embeddings(client: RawClient, *texts: str) -> list[list[float]]:
    return [item["embedding"] for item in client.embed(*texts).json()["data"]]


@pytest.mark.parametrize(
    ("status", "part"),
    [
        (400, '"type": "invalid_request_error"'),
        (401, '"code": "UNAUTHORIZED"'),
        (402, '"code": "PAYMENT_REQUIRED"'),
        (403, '"code": "FORBIDDEN"'),
        (404, '"code": "NOT_FOUND"'),
        (408, '"code": "REQUEST_TIMEOUT"'),
        (412, "monthly spending limit"),
        (413, "too large"),
        (422, '{"detail": [{'),
        (429, "You have exceeded your rate limit for this API."),
        (500, '"code": "INTERNAL"'),
        (502, "<html>"),
        (503, "service overloaded, please try again later"),
        (504, "<html>"),
    ],
)
def test_a_status_has_its_documented_body(server: FireworksServer, client: RawClient, status: int, part: str) -> None:
    """Each status comes with the body known for it, once, and is remembered."""
    server.faults.add("embeddings", Status(status))
    reply = client.embed("a")
    assert reply.status_code == server.requests[0].status == status
    assert part in reply.text
    assert client.embed("a").status_code == 200


def test_a_status_may_have_another_body_and_headers(server: FireworksServer, client: RawClient) -> None:
    """The older rate-limit body, in which ``error`` is a text, and Retry-After can be asked for."""
    server.faults.add("chat", Status(429, OLD_RATE_LIMIT_BODY, {"Retry-After": "1"}))
    reply = client.chat()
    assert reply.json()["error"] == "Too Many Requests"
    assert reply.headers["Retry-After"] == "1"


def test_a_delay_ends_in_the_normal_answer(server: FireworksServer, client: RawClient) -> None:
    """A delayed request is answered after all."""
    server.faults.add("rerank", Delay(0.05))
    started = time.monotonic()
    assert client.rerank("a", "b").status_code == 200
    assert time.monotonic() - started >= 0.05


def test_a_hanging_request_notices_that_the_client_left(server: FireworksServer, client: RawClient) -> None:
    """A hanging request is never answered, and ends when the client gives up."""
    server.faults.add("embeddings", Hang())
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/embeddings", json={}, timeout=0.05)
    server.settle()
    assert (server.requests[0].client_gone, server.requests[0].status) == (True, 0)


def test_a_drop_closes_the_connection(server: FireworksServer, client: RawClient) -> None:
    """A dropped request gets no answer; the next one opens a connection of its own."""
    server.faults.add("embeddings", Drop(), times=2)
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            client.embed("a")
    assert client.embed("a").status_code == 200
    assert server.connections == 3
    assert [request.client_gone for request in server.requests] == [False] * 3


def test_garbage_is_broken_json(server: FireworksServer, client: RawClient) -> None:
    """The status is 200, and the body no JSON."""
    server.faults.add("chat", Garbage())
    reply = client.chat()
    assert reply.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        reply.json()


def test_reordered_vectors_keep_their_index(server: FireworksServer, client: RawClient) -> None:
    """The order of the vectors changes; with the indices they can be put right."""
    normal = embeddings(client, "a b", "cd", "ef")
    server.faults.add("embeddings", Reordered())
    data = client.embed("a b", "cd", "ef").json()["data"]
    assert [item["index"] for item in data] == [2, 1, 0]
    assert [item["embedding"] for item in reversed(data)] == normal


def test_vectors_can_be_spoilt(server: FireworksServer, client: RawClient) -> None:
    """One vector is missing; then all are too short; then a bare NaN stands in the JSON."""
    for fault in (Short(), WrongDimension(), NotFinite()):
        server.faults.add("embeddings", fault)
    assert len(embeddings(client, "a", "b")) == 1
    assert [len(vector) for vector in embeddings(client, "a", "b")] == [3, 3]
    assert "[NaN, " in client.embed("a", "b").text


def test_too_many_inputs_are_refused(server: FireworksServer, client: RawClient) -> None:
    """Only requests over the limit are refused, each time."""
    server.faults.always("embeddings", TooMany(2))
    assert [client.embed(*"abc"[:count]).status_code for count in (3, 2, 3)] == [400, 200, 400]


def test_a_text_can_be_refused(server: FireworksServer, client: RawClient) -> None:
    """Only requests in which the text occurs are refused."""
    server.faults.always("embeddings", Refuse("poison"))
    assert client.embed("a", "with poison in it").status_code == 400
    assert client.embed("a", "b").status_code == 200


def test_a_stream_can_end_in_an_error(server: FireworksServer, client: RawClient) -> None:
    """After the given number of tokens an error event ends the stream, without finish_reason and end mark."""
    server.faults.add("chat", StreamError(after=2))
    *parts, error = map(json.loads, stream_lines(client.chat(stream=True).text))
    assert [part["choices"][0]["delta"]["content"] for part in parts] == ["", "one ", "two "]
    assert "overloaded" in error["error"]["message"]
    assert server.requests[0].sent == 2


def test_a_stream_can_be_cut(server: FireworksServer, client: RawClient) -> None:
    """A cut stream ends cleanly, and nothing says that it is not complete."""
    server.faults.add("chat", CutStream(after=4))
    parts = [json.loads(line) for line in stream_lines(client.chat(stream=True).text)]
    assert [part["choices"][0]["finish_reason"] for part in parts] == [None] * 5


def test_a_stream_can_die(server: FireworksServer, client: RawClient) -> None:
    """The connection of a dropped stream dies before the body's end."""
    server.faults.add("chat", DropStream(after=1))
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        client.chat(stream=True)
    assert (server.requests[0].sent, server.requests[0].client_gone) == (1, False)


def test_a_fault_waits_for_a_request_that_can_meet_it(server: FireworksServer, client: RawClient) -> None:
    """A stream's fault is not used up by a request without a stream, nor by another endpoint."""
    server.faults.add("chat", CutStream(after=0))
    client.embed("a")
    assert client.chat().status_code == 200
    assert server.faults.left("chat") == 1
    client.chat(stream=True)
    assert server.faults.left("chat") == 0


def test_faults_act_together(server: FireworksServer, client: RawClient) -> None:
    """An added fault comes first, and a lasting one acts beside it."""
    server.faults.always("embeddings", TooMany(1))
    server.faults.always("embeddings", Delay(0.03))
    server.faults.add("embeddings", Status(503))
    started = time.monotonic()
    assert [client.embed("a", "b").status_code for _ in range(2)] == [503, 400]
    assert time.monotonic() - started >= 0.06


def test_random_faults_repeat_with_their_seed(server: FireworksServer, client: RawClient) -> None:
    """The same seed gives the same failures, in about the share that was asked for."""
    runs = []
    for _ in range(2):
        server.faults.randomly("embeddings", [(0.3, Status(503)), (0.2, Status(429))], seed=7)
        runs.append([client.embed("a").status_code for _ in range(60)])
    assert runs[0] == runs[1]
    assert 10 <= runs[0].count(503) <= 26
    assert 5 <= runs[0].count(429) <= 20


def test_faults_can_be_cleared(server: FireworksServer, client: RawClient) -> None:
    """After clearing nothing fails."""
    server.faults.always("chat", Drop())
    server.faults.randomly("chat", [(1, Drop())])
    server.faults.add("chat", Drop(), times=5)
    server.faults.clear()
    assert stream_events(client.chat(stream=True).text)


@pytest.mark.parametrize(("endpoint", "fault"), [("chat", Short()), ("embeddings", CutStream(after=1))])
def test_a_fault_must_suit_its_endpoint(server: FireworksServer, endpoint: Endpoint, fault: Fault) -> None:
    """A fault that an endpoint can't have is an error of the test that asks for it."""
    with pytest.raises(ValueError, match=f"is a fault of .*, not of {endpoint}"):
        server.faults.always(endpoint, fault)

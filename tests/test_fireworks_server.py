"""The imitated Fireworks API keeps to the documented contract and remembers what it was asked."""

import base64
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from tests.fireworks_client import CHAT, EMBEDDING, RERANK, RawClient
from tests.fireworks_faults import Hang, Status
from tests.fireworks_server import FireworksServer


@pytest.fixture
def server() -> Iterator[FireworksServer]:
    with FireworksServer() as server:
        yield server


@pytest.fixture
def client(server: FireworksServer) -> Iterator[RawClient]:
    with RawClient(server) as client:
        yield client


def vectors(reply: httpx.Response) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([item["embedding"] for item in reply.json()["data"]])


def test_embeddings_have_the_documented_shape(server: FireworksServer, client: RawClient) -> None:
    """Each text gets a vector with its index, and the usage counts words."""
    reply = client.embed("two words", "one").json()
    assert [(item["index"], item["object"], len(item["embedding"])) for item in reply.pop("data")] == [
        (0, "embedding", 768),
        (1, "embedding", 768),
    ]
    assert reply == {"model": EMBEDDING, "object": "list", "usage": {"prompt_tokens": 3, "total_tokens": 3}}


def test_embeddings_are_meaningful(client: RawClient) -> None:
    """Texts that share words are closer than texts that do not, and no vector has unit length."""
    query, near, far = vectors(
        client.embed(
            "search_query: Where are the segments stored?",
            "search_document: A segment is stored in object storage.",
            "search_document: Bananas grow in the south.",
        )
    )
    assert query @ near > 0.5 * np.linalg.norm(query) * np.linalg.norm(near)
    assert abs(query @ far) < 0.2 * np.linalg.norm(query) * np.linalg.norm(far)
    assert np.linalg.norm(query) > 2


def test_embeddings_are_deterministic(client: RawClient) -> None:
    """The same words give the same vector with either prefix, and a text without words gives one, too."""
    a, b, c = vectors(client.embed("search_query: Apples", "search_document: apple", "?!"))
    assert (a == b).all()
    assert c.any()


def test_embeddings_come_as_base64_on_request(client: RawClient) -> None:
    """Base64 holds the same numbers as little-endian float32."""
    encoded = client.embed("a text", encoding_format="base64").json()["data"][0]["embedding"]
    decoded = np.frombuffer(base64.b64decode(encoded), "<f4")
    assert (decoded == vectors(client.embed("a text"))[0]).all()


def test_dimensions_come_from_the_request_or_the_server(server: FireworksServer, client: RawClient) -> None:
    """A request's ``dimensions`` win over the server's, which may change while it serves."""
    server.dimensions = 16
    assert vectors(client.embed("x")).shape == (1, 16)
    assert vectors(client.embed("x", dimensions=3)).shape == (1, 3)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"max_length": 3}, 400, "Extra inputs are not permitted, field: 'max_length'"),
        ({"input": ""}, 400, "empty"),
        ({"input": []}, 400, "empty"),
        ({"input": ["a", ""]}, 400, "empty"),
        ({"input": [1, 2]}, 400, "text"),
        ({"input": ["a"] * 2049}, 400, "2048"),
        ({"input": "a " * 8193}, 400, "The prompt is too long: 8193, model maximum context length: 8192"),
        ({"dimensions": 0}, 400, "dimensions"),
        ({"model": "gone"}, 404, "Model not found, inaccessible, and/or not deployed"),
    ],
)
def test_bad_embedding_requests_are_refused(
    client: RawClient, change: dict[str, Any], status: int, message: str
) -> None:
    """What the API refuses is refused, and the error says why."""
    reply = client.embed("a", **change)
    assert reply.status_code == status
    assert message in reply.json()["error"]["message"]


def test_a_body_without_its_fields_is_refused(client: RawClient) -> None:
    """A body that is not JSON counts as empty, and an empty body misses its fields: 422."""
    reply = client.post("/v1/embeddings", content=b"{")
    assert (reply.status_code, list(reply.json())) == (422, ["detail"])


def test_a_wrong_key_is_refused(server: FireworksServer, client: RawClient) -> None:
    """Another key gets 401 with the documented body, and the request is remembered."""
    reply = client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
    assert reply.status_code == server.requests[0].status == 401
    assert reply.json()["error"]["code"] == "UNAUTHORIZED"


def test_wrong_paths_are_not_found(client: RawClient) -> None:
    """A doubled ``/v1`` is 404, and the wrong method on a right path 405."""
    assert client.post("/v1/v1/embeddings", json={}).status_code == 404
    assert client.get("/v1/embeddings").status_code == 405


def test_models_are_listed(client: RawClient) -> None:
    """The list names the models that are served."""
    assert {EMBEDDING, CHAT, RERANK} < {model["id"] for model in client.get("/v1/models").json()["data"]}


def test_rerank_sorts_by_shared_words(client: RawClient) -> None:
    """The documents with the most words of the query come first, at most ``top_n``."""
    documents = ["bananas", "segments are stored", "stored"]
    reply = client.rerank("stored segments", *documents, top_n=2).json()
    assert reply["data"] == [
        {"index": 1, "relevance_score": 1.0, "document": "segments are stored"},
        {"index": 2, "relevance_score": 0.5, "document": "stored"},
    ]
    plain = client.rerank("stored", *documents, return_documents=False).json()
    assert [list(item) for item in plain["data"]] == [["index", "relevance_score"]] * 3


def test_requests_are_remembered(server: FireworksServer, client: RawClient) -> None:
    """Each request is kept in order of arrival with its body, headers, status and times."""
    client.embed("a")
    client.chat()
    first, second = server.requests
    assert [first, second] == [*server.embedding_requests, *server.chat_requests]
    assert first.body == {"input": ["a"], "model": EMBEDDING}
    assert first.headers["content-type"] == "application/json"
    assert first.status == 200
    assert 0 < first.started <= first.finished <= second.started
    assert server.rerank_requests == []


def test_connections_are_counted(server: FireworksServer, client: RawClient) -> None:
    """Requests one after the other share a connection; another client opens another."""
    client.embed("a")
    client.embed("b")
    assert server.connections == 1
    with RawClient(server) as other:
        other.embed("c")
    assert server.connections == 2


def test_requests_at_once_are_counted(server: FireworksServer, client: RawClient) -> None:
    """``most_at_once`` is what the client has in flight; ``concurrency`` makes the rest of them wait."""
    server.latency, server.concurrency = 0.05, 2
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(client.embed, "abcdefgh"))
    assert server.most_at_once == 4
    assert time.monotonic() - started >= 4 * 0.05


def test_one_at_a_time_is_one_at_once(server: FireworksServer, client: RawClient) -> None:
    """A request that follows an answer is not counted together with the request before it."""
    for _ in range(50):
        client.post(
            "/v1/embeddings",
            json={"input": "a", "model": EMBEDDING},
            headers={"Connection": "close"},
        )
    assert (server.connections, server.most_at_once) == (50, 1)


def test_latency_grows_with_tokens(server: FireworksServer, client: RawClient) -> None:
    """A request takes the fixed latency and a share for its tokens."""
    server.latency, server.latency_per_1000_tokens = 0.02, 0.2
    client.embed("word " * 200)
    request = server.requests[0]
    assert request.finished - request.started >= 0.06


def test_stopping_is_quick_and_leaves_no_thread() -> None:
    """Stopping ends hanging requests and idle connections at once."""
    threads = threading.active_count()
    with FireworksServer() as server, RawClient(server) as client, ThreadPoolExecutor(1) as pool:
        server.faults.add("chat", Hang())
        client.get("/v1/models")
        asked = pool.submit(client.chat)
        while not server.chat_requests:
            time.sleep(0.005)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 0.5
        assert isinstance(asked.exception(), httpx.RemoteProtocolError)
    # Threads of the tests before may end meanwhile.
    assert threading.active_count() <= threads


def test_what_is_forgotten_is_as_new(server: FireworksServer) -> None:
    """Answers, faults and what was asked are those of a new server; the address stays."""
    base = server.base
    server.answer, server.key = "Yes.", "another"
    server.faults.always("chat", Status(503))
    server.models.clear()
    with RawClient(server, "another") as client:
        assert client.chat().status_code == 503
    server.forget()
    assert (server.requests, server.base) == ([], base)
    with RawClient(server) as client:
        assert client.chat().json()["choices"][0]["message"]["content"] == "I don't know."

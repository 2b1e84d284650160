"""The HTTP client: what it asks again, what it gives up on, and what it says then."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain.errors import (
    AuthenticationError,
    BadReplyError,
    InvalidRequestError,
    ModelError,
    ModelNotFoundError,
    ProviderBusyError,
    ProviderUnreachableError,
    SettingsError,
)
from rag_chain.models.fireworks.client import FireworksClient
from tests.fireworks_client import CHAT, EMBEDDING, chat_body
from tests.fireworks_faults import Drop, Fault, Garbage, Hang, Status
from tests.fireworks_replies import OLD_RATE_LIMIT_BODY

if TYPE_CHECKING:
    from tests.fireworks_server import FireworksServer
    from tests.models.conftest import Connect

AT_ONCE = {"Retry-After": "0"}


def embed(client: FireworksClient, *texts: str) -> Any:
    return client.loop.wait(client.post("/embeddings", {"input": texts or ["a"], "model": EMBEDDING}))


def stream(client: FireworksClient) -> list[dict[str, Any]]:
    batches = client.loop.iterate(client.stream("/chat/completions", chat_body("Where?", stream=True)))
    return [event for batch in batches for event in batch]


def test_the_wrong_key_is_named(connect: Connect) -> None:
    """A refused key (401) names the setting that holds it."""
    with pytest.raises(AuthenticationError, match="FIREWORKS_API_KEY"):
        embed(connect(key="wrong-key"))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequestError),
        (402, AuthenticationError),
        (403, AuthenticationError),
        (404, ModelNotFoundError),
        (412, AuthenticationError),
        (413, InvalidRequestError),
        (422, InvalidRequestError),
    ],
)
def test_a_refusal_is_final(fireworks: FireworksServer, connect: Connect, status: int, error: type[ModelError]) -> None:
    """What the provider refuses is not asked again."""
    fireworks.faults.add("embeddings", Status(status))
    with pytest.raises(error, match=str(status) if status != 404 else "does not serve"):
        embed(connect())
    assert len(fireworks.requests) == 1


def test_a_refusal_carries_its_status(fireworks: FireworksServer, connect: Connect) -> None:
    """A refused input says with which status it was refused."""
    fireworks.faults.add("embeddings", Status(413))
    with pytest.raises(InvalidRequestError) as caught:
        embed(connect())
    assert caught.value.status == 413


def test_a_missing_model_is_named(fireworks: FireworksServer, connect: Connect) -> None:
    """A model that is not served is named, with the settings that choose it."""
    fireworks.models.clear()
    with pytest.raises(ModelNotFoundError, match=rf"{EMBEDDING}.*RAG_EMBEDDING_MODEL"):
        embed(connect())


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520])
def test_a_busy_provider_is_asked_again(fireworks: FireworksServer, connect: Connect, status: int) -> None:
    """A request that meets a busy provider is repeated and then answered."""
    fireworks.faults.add("embeddings", Status(status, headers=AT_ONCE))
    assert len(embed(connect())["data"]) == 1
    assert [request.status for request in fireworks.requests] == [status, 200]


def test_attempts_are_counted(fireworks: FireworksServer, connect: Connect) -> None:
    """After all attempts a busy provider is an error."""
    fireworks.faults.always("embeddings", Status(503, headers=AT_ONCE))
    with pytest.raises(ProviderBusyError, match="503 service overloaded"):
        embed(connect(attempts=3))
    assert len(fireworks.requests) == 3


def test_the_old_rate_limit_body_is_understood(fireworks: FireworksServer, connect: Connect) -> None:
    """The older body of a 429, in which the error is a text, is read like the newer one."""
    fireworks.faults.always("embeddings", Status(429, OLD_RATE_LIMIT_BODY, AT_ONCE))
    with pytest.raises(ProviderBusyError, match="429 Too Many Requests"):
        embed(connect(attempts=1))


def test_retry_after_is_honoured(fireworks: FireworksServer, connect: Connect) -> None:
    """The next attempt is not made before the time that the provider asked for."""
    fireworks.faults.add("embeddings", Status(429, headers={"Retry-After": "0.6"}))
    embed(connect())
    first, second = fireworks.requests
    assert second.started - first.finished >= 0.6  # Without the header it is 0.5 s at most.


def test_a_wait_beyond_the_deadline_is_not_begun(fireworks: FireworksServer, connect: Connect) -> None:
    """A provider that asks for more time than there is left is an error at once."""
    fireworks.faults.add("embeddings", Status(429, headers={"Retry-After": "50"}))
    started = time.monotonic()
    with pytest.raises(ProviderBusyError):
        embed(connect(timeout=20))
    assert time.monotonic() - started < 10
    assert len(fireworks.requests) == 1


def test_a_dropped_request_is_asked_again(fireworks: FireworksServer, connect: Connect) -> None:
    """A connection that ends without a reply is no reason to give up."""
    fireworks.faults.add("embeddings", Drop())
    assert len(embed(connect())["data"]) == 1
    assert len(fireworks.requests) == 2


def test_a_refused_connection_is_an_early_error(connect: Connect) -> None:
    """Where nobody listens, the error names the setting within 8 seconds, whatever the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(ProviderUnreachableError, match=rf"{port}.*FIREWORKS_API_BASE"):
        embed(connect(base=f"http://127.0.0.1:{port}/inference", timeout=60))
    assert time.monotonic() - started < 8


@pytest.mark.parametrize("base", ["nonsense", "ftp://127.0.0.1/inference", "http://[::1"])
def test_a_base_that_is_no_address_is_named(connect: Connect, base: str) -> None:
    """A base that can't be an address names the setting that holds it."""
    with pytest.raises(ProviderUnreachableError, match="FIREWORKS_API_BASE"):
        embed(connect(base=base))


def test_a_hanging_provider_is_left_at_the_deadline(fireworks: FireworksServer, connect: Connect) -> None:
    """A request that is never answered ends at the deadline, at the provider too."""
    fireworks.faults.add("embeddings", Hang())
    with pytest.raises(ProviderUnreachableError):
        embed(connect(timeout=0.4))
    fireworks.settle()
    assert [request.client_gone for request in fireworks.requests] == [True]


def test_a_trickling_stream_is_left_at_the_deadline(fireworks: FireworksServer, connect: Connect) -> None:
    """A stream that never falls silent ends at the deadline all the same."""
    fireworks.answer, fireworks.token_delay = "word " * 1000, 0.02
    with pytest.raises(ProviderUnreachableError, match="RAG_REQUEST_TIMEOUT"):
        stream(connect(timeout=0.4))
    fireworks.settle()
    assert fireworks.requests[0].client_gone


def test_a_reply_that_is_not_json_is_an_error(fireworks: FireworksServer, connect: Connect) -> None:
    """A reply that can't be read is the provider's fault, and says so."""
    fireworks.faults.add("embeddings", Garbage())
    with pytest.raises(BadReplyError, match="not JSON"):
        embed(connect())


def test_a_message_is_one_line(fireworks: FireworksServer, connect: Connect) -> None:
    """A gateway's page becomes one line of at most a few hundred characters."""
    page = "<html>\n<body>\n<h1>Bad\nGateway</h1>\n" + "<p>more</p>\n" * 100
    fireworks.faults.always("embeddings", Status(502, page, AT_ONCE))
    with pytest.raises(ProviderBusyError, match="Bad Gateway") as caught:
        embed(connect(attempts=1))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_connections_are_used_again(fireworks: FireworksServer, connect: Connect) -> None:
    """Requests and whole streams that follow one another share one connection."""
    client = connect()
    for _ in range(3):
        embed(client)
        stream(client)
    assert fireworks.connections == 1


def test_a_text_that_is_no_unicode_is_refused(fireworks: FireworksServer, connect: Connect) -> None:
    """A text with a lone surrogate is an invalid request, and is not sent."""
    with pytest.raises(InvalidRequestError, match="surrogates"):
        embed(connect(), "a \ud800 b")
    assert fireworks.requests == []


@pytest.mark.parametrize("key", ["fw-secret\nkey", "fw-secret\u2014key"])
def test_a_key_that_no_header_can_hold_is_a_setting_to_mend(key: str) -> None:
    """A key with a line end or a foreign letter names its setting and is not repeated."""
    with pytest.raises(SettingsError, match="FIREWORKS_API_KEY") as caught:
        FireworksClient("http://127.0.0.1:9", key, timeout=1)
    assert "secret" not in str(caught.value)


KEY, TEXT = "private-key", "private text"
ECHO = {"detail": [{"type": "value", "loc": ["body", "input", 0], "msg": "no good", "input": TEXT}]}


@pytest.mark.parametrize(
    "fault",
    [Status(400), Status(401), Status(404), Status(422, ECHO), Status(503), Drop(), Garbage(), Hang(), Fault()],
    ids=lambda fault: f"{type(fault).__name__}-{getattr(fault, 'status', '')}",
)
def test_neither_key_nor_text_is_told(
    fireworks: FireworksServer, connect: Connect, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """No message, traceback or log record, whatever its level, holds the key or a text."""
    for name in (None, "httpx", "httpcore", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    fireworks.key = KEY
    fireworks.faults.always("embeddings", fault)
    client = connect(key=KEY, timeout=0.3, attempts=1)
    told = ""
    try:
        embed(client, TEXT)
    except ModelError as error:
        told = "".join(traceback.format_exception(error))
    assert bool(told) == (type(fault) is not Fault)
    records = [record.getMessage() + (record.exc_text or "") for record in caplog.records]
    assert "private" not in told + "".join(records)


def test_a_chat_model_is_named_too(fireworks: FireworksServer, connect: Connect) -> None:
    """A stream whose model is not served fails before its first event."""
    fireworks.models.clear()
    with pytest.raises(ModelNotFoundError, match=CHAT):
        stream(connect())

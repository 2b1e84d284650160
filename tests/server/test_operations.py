"""Safe to leave running: health that names what fails, numbers without texts, limits, and clients that go away."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rag_chain import Settings, create_app, ingest
from tests.fireworks_faults import Hang, Status
from tests.serving import client, make_key, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fireworks_server import FireworksServer

QUESTION = "Where do rows live?"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
]


def test_health_names_what_fails(settings: Settings, fireworks: FireworksServer, folder: Path) -> None:
    """Livez is about the process alone; readyz says which of store, embeddings and chat model does not answer."""
    ingest(folder, settings)
    with serving(create_app(settings)) as address:
        assert httpx.get(f"{address}/readyz").json()["ok"]
    fireworks.faults.always("chat", Status(401))
    with serving(create_app(settings)) as address:
        ready = httpx.get(f"{address}/readyz", timeout=30)
        assert ready.status_code == 503
        assert {name: check["ok"] for name, check in ready.json()["checks"].items()} == {
            "store": True,
            "embeddings": True,
            "chat_model": False,
        }
        assert "AuthenticationError" in ready.json()["checks"]["chat_model"]["detail"]
        assert httpx.get(f"{address}/livez").status_code == 200
    with serving(create_app(settings.with_changes(embedding_dimensions=256))) as address:
        store = httpx.get(f"{address}/readyz", timeout=30).json()["checks"]["store"]
        assert not store["ok"]
        assert "FingerprintError" in store["detail"]
        assert settings.milvus_uri not in store["detail"]


def test_the_numbers_add_up(address: str) -> None:
    """Requests, stages, answers, verdicts, tokens and dollars; and not a word of anybody's."""
    for _ in range(3):
        assert httpx.post(f"{address}/rag/stream", json={"input": QUESTION}).status_code == 200
    assert httpx.post(f"{address}/rag/invoke", json={"input": ""}).status_code == 422
    text = httpx.get(f"{address}/metrics").text
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["rag_chain_requests_total", ("door", "rag"), ("status", "200")] == 3
    assert samples["rag_chain_answers_total", ("outcome", "grounded")] == 3
    assert samples["rag_chain_verdicts_total", ("verdict", "verbatim")] == 3
    for stage in ("retrieval", "first_token", "generation", "whole"):
        assert samples["rag_chain_stage_seconds_count", ("stage", stage)] == 3
    for kind in ("embedding", "prompt", "completion"):
        assert samples["rag_chain_tokens_total", ("kind", kind)] > 0
    assert samples["rag_chain_dollars_total",] > 0
    assert "rows" not in text
    assert "storage.md" not in text


def test_every_response_is_marked(address: str) -> None:
    """With a number to find it by in the log, which may be the caller's own, and with headers for browsers."""
    reply = httpx.get(f"{address}/v1/models", headers={"x-request-id": "abc-123"})
    assert reply.headers["x-request-id"] == "abc-123"
    odd = httpx.get(f"{address}/v1/models", headers={"x-request-id": "a b\tc"})
    assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in reply.headers["content-security-policy"]
    assert reply.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in reply.headers


def test_other_origins_by_name_only(settings: Settings) -> None:
    """A page that is named may ask, and is told so; others may not."""
    with serving(create_app(settings.with_changes(cors_origins=("https://app.example",)))) as address:
        preflight = {"origin": "https://app.example", "access-control-request-method": "POST"}
        allowed = httpx.options(f"{address}/rag/invoke", headers=preflight)
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        assert httpx.get(f"{address}/v1/models", headers={"origin": "https://app.example"}).status_code == 200
        assert httpx.options(f"{address}/rag/invoke", headers=preflight | {"origin": "https://b"}).status_code == 403


def test_a_key_that_asks_too_often_waits(settings: Settings) -> None:
    """It is told for how long; another key is not kept waiting."""
    hasty, calm = (make_key(settings.keys_file, tenant) for tenant in ("hasty", "calm"))
    with serving(create_app(settings.with_changes(requests_per_minute=3))) as address:
        with client(address, hasty) as caller:
            replies = [caller.get("/documents") for _ in range(5)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429, 429]
        assert 0 < int(replies[-1].headers["retry-after"]) <= 60
        with client(address, calm) as caller:
            assert caller.get("/documents").status_code == 200


@pytest.mark.parametrize(("limit", "status"), [("concurrent_requests", 429), ("total_requests", 503)])
def test_overload_is_told_at_once(
    limit: str, status: int, settings: Settings, fireworks: FireworksServer, folder: Path
) -> None:
    """What is too much does not wait in a queue: it gets its answer while the others are still at work."""
    ingest(folder, settings)
    key = make_key(settings.keys_file, "default")
    fireworks.answer, fireworks.token_delay = "word " * 100, 0.02
    with serving(create_app(settings.with_changes(**{limit: 2}))) as address, ThreadPoolExecutor(2) as threads:
        begun = threading.Barrier(3)

        def ask() -> int:
            with (
                client(address, key) as caller,
                caller.stream("POST", "/rag/stream", json={"input": QUESTION}) as reply,
            ):
                lines = reply.iter_lines()
                next(line for line in lines if "word" in line)
                begun.wait(20)
                return reply.status_code if list(lines)[-2:] else 0

        others = [threads.submit(ask) for _ in range(2)]
        begun.wait(20)
        with client(address, key) as caller:
            refused = caller.post("/rag/invoke", json={"input": QUESTION})
        assert (refused.status_code, refused.headers["retry-after"]) == (status, "1")
        assert [other.result() for other in others] == [200, 200]


@pytest.mark.parametrize("path", ["/rag/invoke", "/rag/batch", "/v1/chat/completions"])
def test_a_client_that_leaves_stops_the_model(path: str, address: str, fireworks: FireworksServer) -> None:
    """Also where the answer would have come in one piece."""
    fireworks.faults.add("chat", Hang(), times=1)
    bodies = {
        "/rag/invoke": {"input": QUESTION},
        "/rag/batch": {"inputs": [QUESTION]},
        "/v1/chat/completions": {"model": "rag_chain", "messages": [{"role": "user", "content": QUESTION}]},
    }

    async def leave() -> None:
        async with httpx.AsyncClient() as caller:
            asking = asyncio.ensure_future(caller.post(address + path, json=bodies[path], timeout=30))
            for _ in range(500):
                await asyncio.sleep(0.02)
                if fireworks.chat_requests:
                    break
            asking.cancel()

    asyncio.run(leave())
    until = time.monotonic() + 10
    while "rag_chain_running_requests 1.0" not in httpx.get(f"{address}/metrics").text and time.monotonic() < until:
        time.sleep(0.05)
    # What is left is the request for the numbers itself.
    assert "rag_chain_running_requests 1.0" in httpx.get(f"{address}/metrics").text

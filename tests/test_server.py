"""LangServe's routes over a real uvicorn, with the real RemoteRunnable."""

from __future__ import annotations

import asyncio
import runpy
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from langserve import RemoteRunnable

from rag_chain import Settings, create_app, ingest
from tests.fireworks_faults import CutStream, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from tests.fireworks_server import FireworksServer

ROOT = Path(__file__).parents[1]
QUESTION = "Where do rows live?"

# langserve 0.3.3 reads model_fields from instances, which pydantic 2.11 deprecates; stream_log is
# deprecated by LangChain and is all that LangServe's playground speaks.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:astream_log is deprecated"),
]


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run an app in a real uvicorn on a free port and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def address(online: Settings, folder: Path) -> Iterator[str]:
    """The address of our app over three ingested documents."""
    ingest(folder, online)
    with serving(create_app(online)) as address:
        yield address


def test_the_remote_chain_is_the_chain(address: str) -> None:
    """invoke, batch and stream over HTTP give what they give in Python, the sources included."""
    with httpx.Client() as _:
        chain: RemoteRunnable[Any, Any] = RemoteRunnable(f"{address}/rag")
        answer = chain.invoke(QUESTION)
        assert answer["sources"][0]["source"] == "guide/storage.md"
        assert answer["citations"][0]["verdict"] == "verbatim"
        assert chain.batch([QUESTION, {"question": QUESTION}]) == [answer, answer]
        parts = list(chain.stream({"question": QUESTION}))
        assert set(parts[0]) == {"sources"}
        assert set(parts[-1]) == {"citations", "grounded", "refused", "removed_citations"}
        assert "".join(part.get("answer", "") for part in parts) == answer["answer"]
        chain.sync_client.close()
        asyncio.run(chain.async_client.aclose())


def test_the_example_app_serves_the_chain(
    online: Settings, fireworks: FireworksServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own FastAPI app of the examples, fewer than 15 lines, works with a RemoteRunnable."""
    ingest(folder, online)
    monkeypatch.setenv("FIREWORKS_API_KEY", fireworks.key)
    monkeypatch.setenv("FIREWORKS_API_BASE", fireworks.base)
    monkeypatch.setenv("MILVUS_URI", online.milvus_uri)
    example = ROOT / "examples" / "serve_with_langserve.py"
    assert len(example.read_text("utf-8").splitlines()) < 15
    with serving(runpy.run_path(str(example))["app"]) as address:
        chain: RemoteRunnable[Any, Any] = RemoteRunnable(f"{address}/rag")
        assert chain.invoke({"question": QUESTION})["grounded"]
        assert len(list(chain.stream(QUESTION))) > 3
        chain.sync_client.close()
        asyncio.run(chain.async_client.aclose())


@pytest.mark.parametrize(
    "path", ["/rag/input_schema", "/rag/output_schema", "/rag/config_schema", "/openapi.json", "/docs"]
)
def test_the_schemas_are_served(path: str, address: str) -> None:
    """Every schema route answers."""
    assert httpx.get(f"{address}{path}").status_code == 200


def test_the_schemas_name_the_typed_models(address: str) -> None:
    """Question and Answer are in OpenAPI with their fields."""
    schemas = httpx.get(f"{address}/openapi.json").json()["components"]["schemas"]
    assert {"Question", "Source", "Citation"} <= set(schemas)
    assert set(httpx.get(f"{address}/rag/output_schema").json()["properties"]) == {
        "answer",
        "sources",
        "citations",
        "grounded",
        "refused",
        "removed_citations",
    }


def test_the_front_door_leads_to_the_playground(address: str) -> None:
    """A person who opens the address sees something to type into."""
    reply = httpx.get(address, follow_redirects=True)
    assert (reply.status_code, reply.url.path) == (200, "/rag/playground/")


@pytest.mark.parametrize("question", ["", {"question": ""}, {"nothing": 1}, 5])
def test_a_bad_question_is_422(question: Any, address: str) -> None:
    """The request is at fault, and is told so."""
    assert httpx.post(f"{address}/rag/invoke", json={"input": question}).status_code == 422


def test_bad_questions_in_a_batch_are_422(address: str) -> None:
    """Also in a batch, where LangServe itself would say 500."""
    assert httpx.post(f"{address}/rag/batch", json={"inputs": [5]}).status_code == 422


def test_a_refusing_provider_is_502_with_a_reason(address: str, fireworks: FireworksServer) -> None:
    """The message says what mends it, and the connection stays usable."""
    fireworks.faults.add("chat", Status(401), times=1)
    with httpx.Client() as client:
        reply = client.post(f"{address}/rag/invoke", json={"input": QUESTION})
        assert reply.status_code == 502
        assert reply.json()["error"]["type"] == "AuthenticationError"
        assert "FIREWORKS_API_KEY" in reply.json()["error"]["message"]
        assert client.post(f"{address}/rag/invoke", json={"input": QUESTION}).status_code == 200


def test_before_the_first_ingest_it_is_503(online: Settings, folder: Path) -> None:
    """A server can start before there is anything to serve, and serves it once there is."""
    with serving(create_app(online)) as address:
        reply = httpx.post(f"{address}/rag/invoke", json={"input": QUESTION}, timeout=30)
        assert (reply.status_code, reply.json()["error"]["type"]) == (503, "EmptyStoreError")
        ingest(folder, online)
        assert httpx.post(f"{address}/rag/invoke", json={"input": QUESTION}).status_code == 200


def test_a_cut_answer_ends_in_an_error_event(address: str, fireworks: FireworksServer) -> None:
    """A stream that the provider cuts does not end as if it were whole."""
    fireworks.answer = "one two three four five [1]."
    fireworks.faults.add("chat", CutStream(after=2))
    chain: RemoteRunnable[Any, Any] = RemoteRunnable(f"{address}/rag")
    with pytest.raises(httpx.HTTPStatusError):
        list(chain.stream(QUESTION))
    chain.sync_client.close()
    asyncio.run(chain.async_client.aclose())


def test_leaving_a_stream_stops_the_model_behind_the_server(address: str, fireworks: FireworksServer) -> None:
    """A client that goes away does not leave the provider generating."""
    fireworks.answer = "word " * 400
    fireworks.token_delay = 0.01
    with httpx.stream("POST", f"{address}/rag/stream", json={"input": QUESTION}) as reply:
        for line in reply.iter_lines():
            if '"answer"' in line:
                break
    fireworks.settle(timeout=5)
    assert fireworks.chat_requests[-1].client_gone


def test_intermediate_results_are_not_served(address: str) -> None:
    """stream_events, which would show prompts, is off."""
    assert httpx.post(f"{address}/rag/stream_events", json={"input": QUESTION}).status_code == 404

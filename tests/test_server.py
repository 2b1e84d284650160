"""LangServe's routes over a real uvicorn, with the real RemoteRunnable."""

from __future__ import annotations

import asyncio
import json
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langserve import RemoteRunnable

from rag_chain import Settings, create_app, ingest
from tests.fireworks_faults import CutStream, Status
from tests.serving import serving

if TYPE_CHECKING:
    from tests.fireworks_server import FireworksServer

ROOT = Path(__file__).parents[1]
QUESTION = "Where do rows live?"

# One provider for all of the module, as new for each test.
# langserve 0.3.3 reads model_fields from instances, which pydantic 2.11 deprecates; stream_log is
# deprecated by LangChain and is all that LangServe's playground speaks.
pytestmark = [
    pytest.mark.usefixtures("shared_fireworks"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:astream_log is deprecated"),
]


@pytest.fixture
def address(shared_address: str, fireworks: FireworksServer) -> str:
    """The address of our app, whose provider is as new."""
    return shared_address


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
    """A stream that the provider cuts says what happened, and does not end as if it were whole, or break off."""
    fireworks.answer = "one two three four five [1]."
    fireworks.faults.add("chat", CutStream(after=2), times=2)
    reply = httpx.post(f"{address}/rag/stream", json={"input": QUESTION})
    assert reply.status_code == 200
    assert reply.text.count("event: error") == 1
    assert '"status_code":502' in reply.text
    assert '"type":"CutReplyError"' in reply.text
    assert "event: end" not in reply.text
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


def test_what_fails_before_the_first_part_is_a_status(address: str, fireworks: FireworksServer) -> None:
    """A stream that can't begin is no stream: its status and reason are those of invoke."""
    fireworks.faults.add("embeddings", Status(401), times=1)
    reply = httpx.post(f"{address}/rag/stream", json={"input": QUESTION})
    assert (reply.status_code, reply.json()["error"]["type"]) == (502, "AuthenticationError")


def test_the_playground_sees_no_prompt(address: str, fireworks: FireworksServer) -> None:
    """stream_log, which it speaks, gives the parts of the answer and its end, and none of the steps between."""
    reply = httpx.post(f"{address}/rag/stream_log", json={"input": QUESTION})
    assert '"/streamed_output/-"' in reply.text
    assert '"/final_output"' in reply.text
    assert "<question>" in json.dumps(fireworks.chat_requests[-1].body)
    assert "<question>" not in reply.text
    assert "/logs/" not in reply.text


def test_nobody_configures_the_chain(address: str) -> None:
    """Configurable fields of a request are refused by stream, as by invoke."""
    config = {"configurable": {"expr": "id != ''", "top_k": 100}}
    for door in ("invoke", "stream"):
        reply = httpx.post(f"{address}/rag/{door}", json={"input": QUESTION, "config": config})
        assert reply.status_code == 422, door
    for configs in (config, [config], None):
        assert httpx.post(f"{address}/rag/batch", json={"inputs": [QUESTION], "config": configs}).status_code == 422

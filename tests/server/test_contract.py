"""One question through every door: the same answer, sources and citations."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.messages import HumanMessage
from langchain_fireworks import ChatFireworks
from langserve import RemoteRunnable
from openai import AsyncOpenAI, OpenAI
from pydantic import SecretStr

from rag_chain import Settings, build_chain, create_app, ingest
from rag_chain.cli import main
from tests.engines import settle
from tests.fireworks_server import FireworksServer
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.engines import Engine

    Ask = Callable[[str, Settings, pytest.CaptureFixture[str]], dict[str, Any]]

QUESTION = "Where do rows live?"

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")


@pytest.fixture(scope="module")
def fireworks() -> Iterator[FireworksServer]:
    """The loopback provider, for all of this module."""
    with FireworksServer() as server:
        yield server


@pytest.fixture(scope="module")
def settings(
    engine: Engine, fireworks: FireworksServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Settings for all of this module."""
    given = {"fireworks_api_key": fireworks.key, "fireworks_api_base": fireworks.base}
    with engine.place(tmp_path_factory.mktemp("contract")) as place:
        yield settle(Settings(provider="fireworks", **given), place)


@pytest.fixture(scope="module")
def address(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app over a document, for all of this module."""
    document = tmp_path_factory.mktemp("documents") / "storage.md"
    document.write_text("# Storage\n\nRows live in sealed segments on object storage.\n", "utf-8")
    ingest(document, settings)
    with serving(create_app(settings)) as address:
        yield address


def merge(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            whole[name] = whole[name] + value if name == "answer" and name in whole else value
    return whole


def python(address: str, settings: Settings, _: object) -> dict[str, Any]:
    return build_chain(settings).invoke(QUESTION)


def command(address: str, settings: Settings, printed: Any) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as environment:
        token = settings.milvus_token
        environment.setenv("MILVUS_TOKEN", token.get_secret_value() if token else "")
        environment.setenv("MILVUS_DB_NAME", settings.milvus_db_name or "")
        assert main(["ask", QUESTION, "--json", "--milvus-uri", settings.milvus_uri]) == 0
    answer: dict[str, Any] = json.loads(printed.readouterr().out)
    return answer


def langserve(address: str, *_: object) -> dict[str, Any]:
    chain: RemoteRunnable[Any, Any] = RemoteRunnable(f"{address}/rag")

    async def close() -> None:
        await chain.async_client.aclose()

    try:
        answer: dict[str, Any] = chain.invoke(QUESTION)
        assert chain.batch([QUESTION, {"question": QUESTION}]) == [answer, answer]
        assert merge(chain.stream(QUESTION)) == answer
        return answer
    finally:
        chain.sync_client.close()
        asyncio.run(close())


def langserve_async(address: str, *_: object) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        chain: RemoteRunnable[Any, Any] = RemoteRunnable(f"{address}/rag")
        try:
            answer: dict[str, Any] = await chain.ainvoke(QUESTION)
            assert await chain.abatch([QUESTION]) == [answer]
            assert merge([part async for part in chain.astream(QUESTION)]) == answer
            return answer
        finally:
            chain.sync_client.close()
            await chain.async_client.aclose()

    return asyncio.run(ask())


def plain_http(address: str, *_: object) -> dict[str, Any]:
    output: dict[str, Any] = httpx.post(f"{address}/rag/invoke", json={"input": QUESTION}).json()["output"]
    return output


def openai(address: str, *_: object) -> dict[str, Any]:
    with OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["rag_chain"]
        done = client.chat.completions.create(model="rag_chain", messages=[{"role": "user", "content": QUESTION}])
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0
    assert done.choices[0].finish_reason == "stop"
    return {"answer": done.choices[0].message.content, **(done.model_extra or {})["rag_chain"]}


def openai_stream(address: str, *_: object) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        async with AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as client:
            stream = await client.chat.completions.create(
                model="rag_chain",
                messages=[{"role": "user", "content": QUESTION}],
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens > 0
        texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        found = [(chunk.model_extra or {}).get("rag_chain", {}) for chunk in chunks]
        return {"answer": "".join(texts), **merge(found)}

    return asyncio.run(ask())


def langchain_client(address: str, settings: Settings, _: object) -> dict[str, Any]:
    """A LangChain chat model that speaks OpenAI's API reads the answer's text, streaming and not."""
    model = ChatFireworks(model="rag_chain", api_key=SecretStr("none"), base_url=address, max_retries=0)
    whole = model.invoke([HumanMessage(QUESTION)]).content
    assert "".join(str(chunk.content) for chunk in model.stream(QUESTION)) == whole
    return {**python(address, settings, None), "answer": whole}


def mcp(address: str, *_: object) -> dict[str, Any]:
    """The official SDK's client, over HTTP."""
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async def ask() -> dict[str, Any]:
        async with Client(streamable_http_client(f"{address}/mcp")) as client:
            result = await client.call_tool("ask", {"question": QUESTION})
        assert not result.is_error
        answer: dict[str, Any] = result.structured_content
        return answer

    return asyncio.run(ask())


DOORS = [python, command, langserve, langserve_async, plain_http, openai, openai_stream, langchain_client, mcp]


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("ask", DOORS)
def test_every_door_gives_the_same_answer(
    ask: Ask, address: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text, sources, citations and verdicts, whichever way the question came."""
    expected = build_chain(settings).invoke(QUESTION)
    assert expected["citations"][0]["verdict"] == "verbatim"
    answer = ask(address, settings, capsys)
    assert answer["answer"] == expected["answer"]
    assert answer["sources"] == expected["sources"]
    assert answer["citations"] == expected["citations"]
    assert (answer["grounded"], answer["refused"]) == (expected["grounded"], expected["refused"])

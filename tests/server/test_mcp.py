"""MCP, with the SDK's own client: over HTTP against a real uvicorn, over stdio against the real command."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client, types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from starlette.requests import Request

from rag_chain import Settings, build_chain, build_retriever, create_app, ingest
from rag_chain.answering.packing import number_sources
from rag_chain.cli import DONE, INTERRUPTED
from rag_chain.server.callers import anybody
from rag_chain.server.mcp_routes import CALLER, build_server, find_caller
from rag_chain.server.service import Service
from rag_chain.server.stdin import Work, lines_of_stdin
from tests.fireworks_faults import Status
from tests.serving import make_key, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.fireworks_server import FireworksServer

# Processes and servers of their own: slow together.
pytestmark = pytest.mark.slow

QUESTION = "Where do rows live?"
# The SDK's client speaks the newest protocol where the server does, and the one with a handshake on demand.
ERAS = ("auto", "legacy")
ACCEPT = {"Accept": "application/json, text/event-stream"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def connected(address: str, key: str = "", mode: Any = "auto") -> AsyncIterator[Client]:
    """Connect the SDK's client to an app."""
    async with (
        create_mcp_http_client(bearer(key) if key else {}) as http,
        Client(streamable_http_client(f"{address}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def run(work: Callable[[Client], Awaitable[Any]], connection: AbstractAsyncContextManager[Client]) -> Any:
    """Do something with a client; what the server refuses is raised without the groups of the client's tasks."""

    async def connect() -> Any:
        async with connection as client:
            try:
                return await work(client)
            except MCPError as error:
                refused = error
        raise refused

    return asyncio.run(connect())


def with_client(address: str, work: Callable[[Client], Awaitable[Any]], key: str = "", mode: Any = "auto") -> Any:
    return run(work, connected(address, key, mode))


def call(address: str, tool: str, mode: Any = "auto", **arguments: Any) -> types.CallToolResult:
    result: types.CallToolResult = with_client(address, lambda c: c.call_tool(tool, arguments), mode=mode)
    return result


def inside(settings: Settings, work: Callable[[Client], Awaitable[Any]], mode: Any) -> Any:
    """Do something with a client that is connected to the server without a network."""
    service, caller = Service(settings), anybody(settings.tenant)
    server = build_server(service, service.for_caller(caller).chain, lambda _: caller)
    return run(work, Client(server, mode=mode))


def text_of(result: types.CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text


@pytest.mark.parametrize("mode", ERAS)
def test_the_tools_describe_themselves(mode: str, settings: Settings) -> None:
    """Both have schemas of what goes in and out, and say that they change nothing."""
    tools = {tool.name: tool for tool in inside(settings, lambda client: client.list_tools(), mode).tools}
    assert set(tools) == {"search", "ask"}
    search, ask = tools["search"], tools["ask"]
    assert search.input_schema["properties"]["k"]["type"] == "integer"
    assert search.input_schema["required"] == ["query"]
    assert set(ask.input_schema["properties"]) == {"question", "chat_history", "filter"}
    assert not ask.input_schema["additionalProperties"]
    assert {"answer", "sources", "citations", "grounded", "refused"} <= set(ask.output_schema["properties"])
    shown = set(search.output_schema["$defs"]["Source"]["properties"])
    assert {"number", "source", "title", "heading", "start", "end", "text", "score"} <= shown
    for tool in tools.values():
        hints = tool.annotations
        assert (hints.read_only_hint, hints.idempotent_hint, hints.open_world_hint) == (True, True, False)


def test_the_tools_give_what_retriever_and_chain_give(address: str, settings: Settings) -> None:
    """Structured, and the same as JSON text for clients that read only that."""
    sources = number_sources(build_retriever(settings).invoke(QUESTION))
    expected = build_chain(settings).invoke(QUESTION)
    assert expected["citations"][0]["verdict"] == "verbatim"
    for mode in ERAS:
        found = call(address, "search", mode, query=QUESTION)
        assert found.structured_content == {"sources": [{**source, "cut": False} for source in sources]}
        answer = call(address, "ask", mode, question=QUESTION)
        assert answer.structured_content == expected
        assert all(json.loads(text_of(result)) == result.structured_content for result in (found, answer))


def test_the_tools_take_all_that_a_question_has(address: str, fireworks: FireworksServer) -> None:
    """A number of passages, a filter, and the conversation before a follow-up, which is made to stand alone."""
    assert len(call(address, "search", query=QUESTION, k=1).structured_content["sources"]) == 1
    found = call(address, "search", query="the moon and the ocean", filter={"source": "*.html"}).structured_content
    assert {source["source"] for source in found["sources"]} == {"tides.html"}
    wrong = call(address, "search", query=QUESTION, filter={"source": {"like": "*"}})
    assert (wrong.is_error, "like" in text_of(wrong)) == (True, True)
    history = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "On object storage."}]
    assert not call(address, "ask", question="And their metadata?", chat_history=history).is_error
    assert len(fireworks.chat_requests) == 2


def test_ask_tells_how_far_it_is(address: str) -> None:
    """A client that wants progress hears what was found, and reads the answer as it is written."""
    told: list[tuple[float, str]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message or ""))

    async def ask(client: Client) -> types.CallToolResult:
        return await client.call_tool("ask", {"question": QUESTION}, progress_callback=note)

    for mode in ERAS:
        told.clear()
        result = with_client(address, ask, mode=mode)
        assert told[0][1].endswith("sources found")
        assert "".join(message for _, message in told[1:]) == result.structured_content["answer"]
        assert [step for step, _ in told] == sorted({step for step, _ in told})


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("search", {}, "query: Field required"),
        ("search", {"query": " "}, "the query is empty"),
        ("search", {"query": "x", "k": 0}, "k: Input should be greater than or equal to 1"),
        ("search", {"query": "x", "top_k": 3}, "top_k: Extra inputs are not permitted"),
        ("ask", {"question": ["no"]}, "question: Input should be a valid string"),
        ("ask", {"question": "x", "chat_history": [{"role": "system", "content": "y"}]}, "chat_history.0.role"),
        ("ask", {"question": QUESTION}, "nothing has been ingested yet"),
        ("search", {"query": QUESTION}, "nothing has been ingested yet"),
    ],
)
def test_what_can_be_mended_is_told_to_the_model(
    tool: str, arguments: dict[str, Any], told: str, mode: str, settings: Settings
) -> None:
    """Wrong arguments and an empty store are results that a model reads, and can act on."""
    result = inside(settings, lambda client: client.call_tool(tool, arguments), mode)
    assert result.is_error
    assert told in text_of(result)
    assert str(settings.milvus_uri) not in text_of(result)


@pytest.mark.parametrize("mode", ERAS)
def test_what_is_not_there_is_an_error_of_the_protocol(mode: str, settings: Settings) -> None:
    """An unknown tool is told which there are; nothing but the collection is read, and an empty one has nothing."""
    with pytest.raises(MCPError, match="search, ask"):
        inside(settings, lambda client: client.call_tool("delete_everything", {}), mode)
    none = ("documents/none.md", "documents/", "other/bears.txt", "documents/..%2f..%2fetc%2fpasswd")
    for uri in [*(f"rag-chain://{place}" for place in none), "file:///etc/passwd"]:
        with pytest.raises(MCPError, match="there is no such document"):
            inside(settings, partial(Client.read_resource, uri=uri), mode)
    assert inside(settings, lambda client: client.list_resources(), mode).resources == []


def test_what_fails_says_no_more_than_the_caller_may_know(
    address: str, fireworks: FireworksServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A refusing provider is a result with a reason; an unforeseen error, whose text the SDK would send, is not."""
    for mode in ERAS:
        fireworks.faults.add("chat", Status(401), times=1)
        result = call(address, "ask", mode, question=QUESTION)
        assert result.is_error
        assert "FIREWORKS_API_KEY" in text_of(result)
        assert not call(address, "ask", mode, question=QUESTION).is_error

    def fail(*_: Any) -> None:
        raise OSError("/secret/path")

    monkeypatch.setattr("rag_chain.server.tools.number_sources", fail)
    for mode in ERAS:
        with pytest.raises(MCPError, match="an error in the server; the log has it"):
            call(address, "search", mode, query=QUESTION)
    assert "/secret/path" in caplog.text


def test_documents_are_resources(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are listed by pages with title and address, and read as text; the template is their addresses'."""
    monkeypatch.setattr("rag_chain.server.mcp_routes.PAGE", 2)

    async def look(client: Client) -> Any:
        templates = await client.list_resource_templates()
        assert [one.uri_template for one in templates.resource_templates] == ["rag-chain://documents/{source}"]
        first = await client.list_resources()
        second = await client.list_resources(cursor=first.next_cursor)
        assert second.next_cursor is None
        assert [one.name for one in first.resources + second.resources] == [
            "bears.txt",
            "guide/storage.md",
            "tides.html",
        ]
        storage = first.resources[1]
        return storage, (await client.read_resource(storage.uri)).contents[0]

    storage, read = with_client(address, look)
    assert (storage.uri, storage.title) == ("rag-chain://documents/guide%2Fstorage.md", "Storage guide")
    assert storage.annotations.last_modified.startswith("20")
    assert "Rows live in sealed segments" in read.text


def test_names_are_encoded_in_addresses(settings: Settings, tmp_path: Path) -> None:
    """A name that is markup, or means something in an address, comes back as the same document."""
    names = ["50%41 & more.md", "ünï/日本.md"]
    names += [] if sys.platform == "win32" else ['<script>alert("1")</script>?q#f.md']
    for name in names:
        path = tmp_path / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# A note\n\nThe text of {name}.\n", "utf-8")
    ingest(tmp_path / "odd", settings)

    async def look(client: Client) -> dict[str, Any]:
        listed = (await client.list_resources()).resources
        assert not set("".join(one.uri.removeprefix("rag-chain://documents/") for one in listed)) & set('<>"/?# &')
        return {one.name: (await client.read_resource(one.uri)).contents[0] for one in listed}

    found = inside(settings, look, "auto")
    assert set(found) == set(names)
    assert all(f"The text of {name}." in read.text for name, read in found.items())


@pytest.fixture
def two(settings: Settings, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """An app with two tenants, red and blue, who have a document each of the same name, and their keys."""
    for tenant in ("red", "blue"):
        place = tmp_path / tenant
        place.mkdir()
        (place / "colour.md").write_text(f"# Colour\n\nThe colour of the house is {tenant}.\n", "utf-8")
        ingest(place, settings.with_changes(tenant=tenant))
    keys = {tenant: make_key(settings.keys_file, tenant) for tenant in ("red", "blue")}
    with serving(create_app(settings.with_changes(requests_per_minute=10_000))) as address:
        yield address, keys


def test_tenants_asking_at_once_get_their_own(two: tuple[str, dict[str, str]]) -> None:
    """Many requests of both in flight over one app: each is answered from its own tenant's documents."""
    address, keys = two

    async def one(tenant: str, client: Client) -> None:
        other = {"red": "blue", "blue": "red"}[tenant]
        found, answer, read = await asyncio.gather(
            client.call_tool("search", {"query": "the colour of the house"}),
            client.call_tool("ask", {"question": "What is the colour of the house?"}),
            client.read_resource("rag-chain://documents/colour.md"),
        )
        for shown in (text_of(found), text_of(answer), read.contents[0].text):  # type: ignore[union-attr]
            assert f"the house is {tenant}" in shown
            assert other not in shown

    async def both(mode: str) -> None:
        async with connected(address, keys["red"], mode) as red, connected(address, keys["blue"], mode) as blue:
            await asyncio.gather(*(one(*who) for _ in range(4) for who in (("red", red), ("blue", blue))))

    for mode in ERAS:
        asyncio.run(both(mode))


def test_tenants_on_one_connection_get_their_own(two: tuple[str, dict[str, str]]) -> None:
    """As behind a proxy, whose connections are for all of its clients; without a key, or with a wrong one, none is."""
    address, keys = two
    body = {**LIST, "method": "resources/read", "params": {"uri": "rag-chain://documents/colour.md"}}
    with httpx.Client(limits=httpx.Limits(max_connections=1)) as client:
        for tenant in ("red", "blue", "blue", "red"):
            shown = client.post(f"{address}/mcp", json=body, headers=ACCEPT | bearer(keys[tenant])).text
            assert f"the house is {tenant}" in shown
            for headers in ({}, bearer("rag_00000000_wrong")):
                reply = client.post(f"{address}/mcp", json=body, headers=ACCEPT | headers)
                assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")


def test_a_request_for_nobody_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that gets lost on the way is an error, and not somebody else."""
    for request in (None, Request({"type": "http"}), Request({"type": "http", CALLER: settings.tenant})):
        with pytest.raises(MCPError, match="nobody is asking"):
            find_caller(request)
    monkeypatch.setattr("rag_chain.server.mcp_routes.current_caller", lambda: None)
    with serving(create_app(settings)) as address:
        assert "nobody is asking" in httpx.post(f"{address}/mcp", json=LIST, headers=ACCEPT).text


def test_there_is_one_way_in(address: str, settings: Settings) -> None:
    """POST, with and without a slash, since a redirect would lose the body; the gate decides for whom, not the SDK."""
    for path in ("/mcp", "/mcp/"):
        reply = httpx.post(f"{address}{path}", json=LIST, headers=ACCEPT)
        assert (reply.status_code, "search" in reply.text) == (200, True)
    # No session is kept that could be listened to or ended.
    for method in ("GET", "DELETE", "PUT"):
        reply = httpx.request(method, f"{address}/mcp", headers=ACCEPT)
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    for foreign in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        assert httpx.post(f"{address}/mcp", json=LIST, headers=ACCEPT | foreign).status_code == 403
    with serving(create_app(settings.with_changes(allowed_hosts=["rag.example"]))) as served:
        reply = httpx.post(f"{served}/mcp", json=LIST, headers=ACCEPT | {"Host": "rag.example"})
        assert reply.status_code == 200


def test_leaving_stops_the_model(address: str, fireworks: FireworksServer) -> None:
    """A client that goes away does not leave the provider generating, in either era of the protocol."""
    fireworks.answer = "word " * 400
    fireworks.token_delay = 0.01
    prefix = "io.modelcontextprotocol"
    for version in ("2025-06-18", "2026-07-28"):
        meta: dict[str, Any] = {
            "progressToken": 1,
            f"{prefix}/protocolVersion": version,
            f"{prefix}/clientCapabilities": {},
        }
        params = {"name": "ask", "arguments": {"question": QUESTION}, "_meta": meta | {"progressToken": 1}}
        headers = {"MCP-Protocol-Version": version, "Mcp-Method": "tools/call", "Mcp-Name": "ask"}
        body = {**LIST, "method": "tools/call", "params": params}
        with httpx.stream("POST", f"{address}/mcp", json=body, headers=ACCEPT | headers) as reply:
            next(line for line in reply.iter_lines() if "word" in line)
        fireworks.settle(timeout=5)
        assert fireworks.chat_requests[-1].client_gone


@pytest.mark.usefixtures("provider")
def test_the_command_serves_the_same_until_stdin_ends(folder: Path, tmp_path: Path) -> None:
    """rag-chain mcp has the same tools and documents over stdin and stdout."""
    ingest(folder, Settings())
    code = "from rag_chain.cli import main; status = main(['mcp']); open('status', 'w').write(str(status))"
    names = ("FIREWORKS_API_KEY", "FIREWORKS_API_BASE", "MILVUS_URI", "RAG_REQUEST_TIMEOUT")
    env = {name: os.environ[name] for name in names}
    command = StdioServerParameters(command=sys.executable, args=["-c", code], env=env)

    async def look(client: Client) -> None:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"search", "ask"}
        answer = await client.call_tool("ask", {"question": QUESTION})
        assert answer.structured_content == build_chain(Settings()).invoke(QUESTION)
        assert len((await client.list_resources()).resources) == 3
        assert (await client.call_tool("search", {"query": ""})).is_error

    with (tmp_path / "errors").open("w") as errors:
        run(look, Client(stdio_client(command, errlog=errors)))
    assert (tmp_path / "status").read_text() == str(DONE)
    assert (tmp_path / "errors").read_text() == ""


CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
MESSAGES = [
    {**LIST, "method": "initialize", "params": CLIENT},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {**LIST, "id": 2, "method": "tools/call", "params": {"name": "search", "arguments": {"query": QUESTION}}},
    {**LIST, "id": 3, "method": "resources/list"},
]
LINES = "".join(f"{json.dumps(message)}\n" for message in MESSAGES)


@pytest.mark.usefixtures("provider")
def test_the_command_ends_cleanly(folder: Path) -> None:
    """At the end of stdin when all is answered, and at Ctrl-C while it waits for more; the store is given back."""
    ingest(folder, Settings())
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "rag_chain", "mcp"]
    with (
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as interrupted,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as piped,
    ):
        assert interrupted.stdin is not None
        assert interrupted.stdout is not None
        interrupted.stdin.write(LINES)
        interrupted.stdin.flush()
        out, err = piped.communicate(LINES, timeout=30)
        assert (piped.returncode, err) == (DONE, "")
        check_replies(out.splitlines())
        check_replies([interrupted.stdout.readline() for _ in range(3)])
        interrupted.send_signal(signal.SIGINT)
        # Its stdin stays open meanwhile.
        assert interrupted.wait(40) == INTERRUPTED
        out, err = interrupted.communicate()
        assert (out, len(err.splitlines())) == ("", 1)
    assert build_retriever(Settings()).invoke(QUESTION)


def check_replies(lines: list[str]) -> None:
    """Stdout holds an answer to each request, and nothing but the protocol."""
    replies = {reply["id"]: reply["result"] for reply in map(json.loads, lines)}
    assert set(replies) == {1, 2, 3}
    assert replies[1]["serverInfo"]["name"] == "rag-chain"
    assert "sealed segments" in replies[2]["content"][0]["text"]
    assert len(replies[3]["resources"]) == 3


def test_without_a_stdin_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started without one ends, and reads no other file that has its number by now."""
    monkeypatch.setattr(sys, "stdin", None)

    async def read() -> list[str]:
        return [line async for line in lines_of_stdin(Work(), 1)]

    assert asyncio.run(read()) == []


@pytest.mark.slow
def test_a_server_that_is_stopped_ends_its_answers_first(provider: FireworksServer, folder: Path) -> None:
    """A stream of MCP is not broken off, like none of the others."""
    ingest(folder, Settings())
    provider.answer = "word " * 300
    provider.token_delay = 0.01
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    params = {"name": "ask", "arguments": {"question": QUESTION}, "_meta": {"progressToken": 1}}
    command = [sys.executable, "-m", "rag_chain", "serve", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        transport = httpx.HTTPTransport(retries=6)
        with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            body = {**LIST, "method": "tools/call", "params": params}
            with client.stream("POST", "/mcp", json=body, headers=ACCEPT) as reply:
                lines = reply.iter_lines()
                next(line for line in lines if "word" in line)
                process.send_signal(signal.SIGTERM)
                *_, last = (line for line in lines if line.startswith("data"))
        assert process.wait(20) in {DONE, INTERRUPTED}
    assert "structuredContent" in last

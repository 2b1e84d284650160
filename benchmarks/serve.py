#!/usr/bin/env python3
"""Load the server: many streams at once, how long until the first token, and what that costs.

A loopback model sends its first token after 80 ms and then 300 a second. ``--streams`` people ask at the same time,
for ``--seconds``: each reads an answer of ``--tokens`` to its end and asks again. They start spread over one
answer's time, as people do, and what is told is of the questions asked after that.

pass-through   a bare FastAPI app that hands the model's stream on: no retrieval, no checks
/v1            rag-chain serve, OpenAI's door: embedding, two searches of Milvus Lite, prompt, model, citations checked
/rag/stream    the same by LangServe's protocol

added          time to the first token beyond the model's 80 ms, for a question; embedding takes 10 ms of that
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from processes import ROOT, Api, clean_environment
from tables import describe_machine, write_machine, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
DOCS = ROOT.parent / "shared" / "data" / "milvus_docs" / "en"
FIRST_TOKEN, TOKENS_PER_SECOND, EMBEDDING = 0.08, 300, 0.01
# What the model's answers are made of and no document has: sources, which come first in some protocols, are no token.
WORD = b"qword"
QUESTIONS = [
    "How is data stored in Milvus?",
    "What is a sealed segment?",
    "How do I create an index?",
    "Which consistency levels are there?",
    "How does hybrid search rank results?",
    "What does a partition key do?",
    "How can I back up a collection?",
    "What is the maximum dimension of a vector?",
]
BARE_APP = """
import os
import httpx
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
app = FastAPI()
client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))
@app.post("/v1/chat/completions")
async def complete(body: dict) -> StreamingResponse:
    async def parts():
        async with client.stream("POST", os.environ["FIREWORKS_API_BASE"] + "/v1/chat/completions", json=body) as reply:
            async for part in reply.aiter_raw():
                yield part
    return StreamingResponse(parts(), media_type="text/event-stream")
"""


@dataclass
class Outcome:
    """What one contender did under load."""

    name: str
    questions: int = 0
    errors: list[str] = field(default_factory=list)
    added_ms: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    megabytes: list[float] = field(default_factory=list)

    def row(self) -> list[str]:
        """Return the cells of the table."""
        if len(self.added_ms) < 2:
            return [self.name, f"{self.questions}", f"{len(self.errors)}", *["-"] * 7]
        p50, p95 = (statistics.quantiles(self.added_ms, n=20)[n] for n in (9, 18))
        quarter = len(self.megabytes) // 4 or 1
        grown = statistics.mean(self.megabytes[-quarter:]) - statistics.mean(self.megabytes[quarter : 2 * quarter])
        return [
            self.name,
            f"{self.questions:,}",
            f"{len(self.errors):,}",
            f"{p50:.0f}",
            f"{p95:.0f}",
            f"{max(self.added_ms):.0f}",
            f"{self.tokens / self.seconds:,.0f}",
            f"{100 * self.cpu / self.seconds:.0f}",
            f"{max(self.megabytes):.0f}",
            f"{grown:+.0f}",
        ]


HEADER = [
    "",
    "questions",
    "errors",
    "added p50 ms",
    "p95",
    "max",
    "tokens/s",
    "CPU %",
    "peak MB",
    "MB, last quarter on second",
]


class Crowd:
    """People who ask, read to the end, and ask again, until the time is over."""

    def __init__(self, address: str, path: str, outcome: Outcome, tokens: int) -> None:
        self._host, _, self._port = address.removeprefix("http://").partition(":")
        self._path = path
        self._outcome = outcome
        self._tokens = tokens
        self._counting = False

    async def ask_for(self, streams: int, seconds: float, answer_seconds: float, pids: list[int]) -> None:
        """Have so many ask at once; count what is asked after all have begun."""
        started = time.monotonic()
        people = [asyncio.create_task(self._person(started, seconds, answer_seconds)) for _ in range(streams)]
        await asyncio.sleep(answer_seconds)
        self._counting = True
        began, cpu = time.monotonic(), cpu_seconds(pids)
        while time.monotonic() < started + seconds:
            await asyncio.sleep(0.5)
            self._outcome.megabytes.append(sum(map(resident_mb, pids)))
        self._outcome.seconds = time.monotonic() - began
        self._outcome.cpu = cpu_seconds(pids) - cpu
        self._counting = False
        await asyncio.gather(*people)

    async def _person(self, started: float, seconds: float, answer_seconds: float) -> None:
        await asyncio.sleep(random.random() * answer_seconds)  # noqa: S311  no secret depends on it
        while time.monotonic() < started + seconds:
            try:
                await self._ask()
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self._outcome.errors.append(f"{type(error).__name__}: {error}"[:200])
                await asyncio.sleep(0.5)

    async def _ask(self) -> None:
        question = random.choice(QUESTIONS)  # noqa: S311
        body = {"input": question} if self._path == "/rag/stream" else openai_body(question)
        data = json.dumps(body).encode()
        head = f"POST {self._path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
        reader, writer = await asyncio.open_connection(self._host, int(self._port))
        counted, asked = self._counting, time.monotonic()
        try:
            writer.write(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
            await self._read(reader, asked, counted=counted)
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, asked: float, *, counted: bool) -> None:
        status = await reader.readline()
        if b" 200 " not in status:
            raise ValueError(f"{status.decode().strip()} {(await reader.read(300))[-200:]!r}")
        first, tail, words = 0.0, b"", 0
        while part := await reader.read(262_144):
            text = tail + part
            if not first and WORD in text:
                first = time.monotonic()
            fresh = text[max(0, len(tail) - len(WORD) + 1) :] if tail else text
            words += fresh.count(WORD)
            if self._counting:
                self._outcome.tokens += fresh.count(WORD)
            tail = text[-400:]
        if not first or (b"[DONE]" not in tail and b"event: end" not in tail):
            raise ValueError(f"the stream broke off: {tail[-200:]!r}")
        if counted:
            self._outcome.questions += 1
            self._outcome.added_ms.append(1000 * (first - asked - FIRST_TOKEN))


def openai_body(question: str) -> dict[str, object]:
    """Return what OpenAI's clients send."""
    return {"model": "rag_chain", "stream": True, "messages": [{"role": "user", "content": question}]}


def family(root: int) -> list[int]:
    """Return a process and its children."""
    children = [int(n) for task in Path(f"/proc/{root}/task").glob("*/children") for n in task.read_text().split()]
    return [root, *(grown for child in children for grown in family(child))]


def cpu_seconds(pids: list[int]) -> float:
    """Return what these processes have used of the processors."""
    ticks = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(fields[11]) + int(fields[12]) for fields in ticks) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return a process' resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def served(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Run a server and give its address and its processes."""
    with (folder / "server.log").open("w+") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)  # noqa: S603  ours
        try:
            address = ""
            while not address:
                assert process.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.1)
                text = (folder / "server.log").read_text()
                address = text.partition("running on ")[2].partition(" ")[0] if "startup complete" in text else ""
            yield address, family(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def run(name: str, command: list[str], path: str, options: argparse.Namespace, place: tuple[Path, str]) -> Outcome:
    """Load one server."""
    folder, base = place
    outcome = Outcome(name)
    environment = clean_environment(base) | {"MILVUS_URI": str(folder / "serve.db"), "RAG_TOTAL_REQUESTS": "1000"}
    with served(command, environment, folder) as (address, pids):
        crowd = Crowd(address, path, outcome, options.tokens)
        asyncio.run(crowd._ask())  # noqa: SLF001  the first question opens the store
        answer_seconds = FIRST_TOKEN + options.tokens / TOKENS_PER_SECOND
        outcome.added_ms, outcome.questions = [], 0
        asyncio.run(crowd.ask_for(options.streams, options.seconds, answer_seconds, family(pids[0])))
    print(f"{name}: {outcome.questions} questions, errors: {outcome.errors[:3]}", file=sys.stderr)
    return outcome


def main() -> None:
    """Load every contender, one after the other, and show what they did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200, help="people who ask at the same time (200)")
    parser.add_argument("--seconds", type=float, default=60, help="for each contender (60)")
    parser.add_argument("--tokens", type=int, default=3000, help="of an answer (3000)")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of documents (default: the Milvus docs)")
    parser.add_argument("--only", help="contenders to run, by a part of their names")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/serve.md")
    options = parser.parse_args()
    chat = {
        "first-token-ms": int(1000 * FIRST_TOKEN),
        "tokens-per-second": TOKENS_PER_SECOND,
        "answer-tokens": options.tokens,
    }
    machine = describe_machine()
    api = Api(1000 * EMBEDDING, 0, 64, chat)
    with api.serve() as model, tempfile.TemporaryDirectory(prefix="rag_chain_benchmark_") as name:
        folder = Path(name)
        (folder / "pass_through.py").write_text(BARE_APP)
        environment = clean_environment(model.base) | {"MILVUS_URI": str(folder / "serve.db")}
        ingest = [sys.executable, "-m", "rag_chain", "ingest", str(options.docs)]
        subprocess.run(ingest, env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  ours
        bare = [sys.executable, "-m", "uvicorn", "pass_through:app", "--port", "0", "--no-access-log"]
        ours = [sys.executable, "-m", "rag_chain", "serve", "--port", "0"]
        contenders = [
            ("pass-through", bare, "/v1/chat/completions"),
            ("rag-chain, /v1", ours, "/v1/chat/completions"),
            ("rag-chain, /rag/stream", ours, "/rag/stream"),
        ]
        place = (folder, model.base)
        chosen = [c for c in contenders if not options.only or options.only in c[0]]
        outcomes = [run(*contender, options, place) for contender in chosen]
    table = write_table(HEADER, [outcome.row() for outcome in outcomes])
    how = (
        f"{options.streams} streams at once for {options.seconds:g} s, answers of {options.tokens:,} tokens; columns "
        "and method: the docstring of `benchmarks/serve.py`. Model, clients and server share the cores."
    )
    command = " ".join(["python benchmarks/serve.py", *sys.argv[1:]])
    parts = ["# Serving", f"`{command}`", write_machine(machine), how, table]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.save:
        (HERE / "results" / "serve.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()

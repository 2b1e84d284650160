"""A simulated ingest: the real client, retries and pace, on a clock that jumps, against an account and a Milvus."""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from rag_chain.errors import ModelError
from rag_chain.ingestion.writing import ROWS_PER_WRITE
from rag_chain.models.fireworks.client import FireworksClient
from rag_chain.models.fireworks.embedding_client import AHEAD
from rag_chain.models.fireworks.opening import EMBEDDING_PAUSE
from rag_chain.models.fireworks.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator


class JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: where an event loop would wait, its clock is put forward by as much."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let the time pass."""
        if timeout is None:
            raise RuntimeError("the simulation waits for something that never happens")
        self.now += timeout
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time: hours pass as fast as what happens in them can be worked through."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the simulated seconds since the beginning."""
        return self._jumping.now


def run_in_simulated_time(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end in a loop of its own."""
    loop = JumpingLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@dataclass
class Bucket:
    """A limit for each minute: refilled all the time, and holding no more than a minute's worth."""

    per_minute: float
    used: float = 0.0
    _left: float = field(init=False)
    _since: float = 0.0

    def __post_init__(self) -> None:
        self._left = self.per_minute

    def seconds_until(self, amount: float, now: float) -> float:
        """Return how long it takes until so much is there; 0 when it is."""
        self._left = min(self._left + (now - self._since) * self.per_minute / 60, self.per_minute)
        self._since = now
        return max(amount - self._left, 0.0) / self.per_minute * 60

    def take(self, amount: float) -> None:
        """Use so much of it."""
        self._left -= amount
        self.used += amount


class Account(httpx.AsyncBaseTransport):
    """An account of the provider: limits of requests and tokens, and replies that take their time.

    A request's texts are numbers here, each the tokens that it stands for. A refused one counts
    as a request and not for its tokens. As the service does, a refusal tells the limits, and says
    when to come back only where ``retry_after`` is set.
    """

    def __init__(
        self, *, requests: float, tokens: float, latency: float, latency_per_1000: float, retry_after: bool = False
    ) -> None:
        self.requests, self.tokens = Bucket(requests), Bucket(tokens)
        self._latency, self._latency_per_1000 = latency, latency_per_1000
        self._retry_after = retry_after
        self.answered = self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or refuse with 429."""
        tokens = sum(map(int, orjson.loads(request.content)["input"]))
        now = asyncio.get_running_loop().time()
        wait = max(self.requests.seconds_until(1, now), self.tokens.seconds_until(tokens, now))
        if wait > 0:
            self.refused += 1
            await asyncio.sleep(self._latency / 2)
            return httpx.Response(429, headers=self._headers(wait), content=b'{"error": {"message": "rate limit"}}')
        self.requests.take(1)
        self.tokens.take(tokens)
        await asyncio.sleep(self._latency + self._latency_per_1000 * tokens / 1000)
        self.answered += 1
        return httpx.Response(200, content=b"{}")

    def _headers(self, wait: float) -> dict[str, str]:
        limits = {"X-Ratelimit-Limit-Tokens-Prompt": f"{self.tokens.per_minute / 60:.0f}"}
        return limits | ({"Retry-After": f"{wait:.3f}"} if self._retry_after else {})


class Milvus:
    """Takes so many rows a second, from all writers together."""

    def __init__(self, rows_per_second: float) -> None:
        self.rows_per_second = rows_per_second
        self.rows = 0
        self._free_at = 0.0

    async def write(self, rows: int) -> None:
        """Write rows, when those before them are written."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + rows / self.rows_per_second
        await asyncio.sleep(self._free_at - now)
        self.rows += rows


@dataclass(frozen=True)
class Machine:
    """What an ingest process is given: chunks a second that it can read and handle, and the embedding settings."""

    chunks_per_second: float
    batch: int
    concurrency: int
    tokens_per_chunk: int
    timeout: float


class Supply:
    """The chunks that are still to be ingested, shared by all machines."""

    def __init__(self, chunks: float) -> None:
        self.left = chunks

    def batches(self, size: int) -> Iterator[int]:
        """Yield the sizes of batches until nothing is left."""
        while self.left > 0:
            batch = min(size, ceil(self.left))
            self.left -= batch
            yield batch


class Ingest:
    """One process: reads batches, embeds so many ahead, and writes them in order, as the real one does.

    What is real: the client with its retries, deadline and jitter, the pace, how far it works
    ahead, and the size of a write. Without an ``account`` the machine embeds by itself.
    """

    def __init__(self, machine: Machine, account: Account | None, milvus: Milvus, batches: Iterator[int]) -> None:
        self.pace = Pace(machine.concurrency)
        self.broken_off = 0
        self._machine = machine
        self._milvus = milvus
        self._batches = batches
        self._client = None if account is None else self._connect(account)
        self._texts = [str(machine.tokens_per_chunk)] * machine.batch

    async def run(self) -> None:
        """Ingest until there are no more batches."""
        waiting: deque[asyncio.Task[int]] = deque()
        writing: asyncio.Task[None] | None = None
        rows = 0
        for chunks in self._batches:
            await asyncio.sleep(chunks / self._machine.chunks_per_second)
            waiting.append(asyncio.ensure_future(self._embed(chunks)))
            while waiting and (len(waiting) >= AHEAD * self._machine.concurrency or waiting[0].done()):
                rows += await waiting.popleft()
                if rows >= ROWS_PER_WRITE:
                    if writing is not None:
                        await writing
                    writing, rows = asyncio.ensure_future(self._milvus.write(rows)), 0
        rows += sum([await task for task in waiting])
        if writing is not None:
            await writing
        await self._milvus.write(rows)

    def _connect(self, account: Account) -> FireworksClient:
        return FireworksClient(
            "http://simulated",
            "none",
            timeout=self._machine.timeout,
            attempts=float("inf"),
            longest_pause=EMBEDDING_PAUSE,
            transport=account,
        )

    async def _embed(self, chunks: int) -> int:
        """Embed a batch; where that breaks the ingest off, count it and do what running it again does."""
        while self._client is not None:
            try:
                await self._client.post("/embeddings", {"input": self._texts[:chunks]}, self.pace.slots())
                break
            except ModelError:
                self.broken_off += 1
        return chunks

"""A stand-in for the Fireworks embeddings and chat API in a process of its own; serves until stdin closes.

Each request takes ``latency + per_1000 * tokens / 1000`` ms, so many at once, the rest wait. A token
is 3.3 bytes, what the WordPiece vocabulary of nomic-embed-text makes of English Markdown. Vectors are put
together from 8 of 256 ready-made pieces of JSON, chosen by a hash of the text: every text has its own,
and a request of 64 texts (1 MB of reply, float32 values printed in full as the API does) costs 4 ms of CPU.

A chat request is answered by a stream: the first token comes after ``first_token`` ms, then so many a second, one
event for each, those of 50 ms in one write as networks hand them over.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BYTES_PER_TOKEN = 3.3
MOST_INPUTS = 2048
WRITE_SECONDS = 0.05
SEGMENTS, VALUES = 8, 96  # 768 values; 96 floats are a multiple of three bytes, so their base64 can be joined.


@dataclass
class Counts:
    """What was asked; ``work_seconds`` is the sum of the requests' own time, waiting aside."""

    requests: int = 0
    texts: int = 0
    tokens: int = 0
    work_seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass
class Api:
    """Answers embedding requests on any number of connections."""

    latency: float
    per_1000_tokens: float
    at_once: int
    first_token: float = 0.08
    tokens_per_second: int = 300
    answer_tokens: int = 300
    counts: Counts = field(default_factory=Counts)
    bodies: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._turn = asyncio.Semaphore(self.at_once)
        pieces = np.random.default_rng(0).standard_normal((256, VALUES)).astype("<f4")
        self._as_text = [json.dumps(piece.tolist())[1:-1].replace(" ", "").encode() for piece in pieces]
        self._as_base64 = [base64.b64encode(piece.tobytes()) for piece in pieces]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until the client leaves."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                if b"/chat/completions" in head.partition(b"\r\n")[0]:
                    await self._talk(writer)
                    continue
                status, reply = await self._answer(body)
                writer.write(b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n" % status)
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(reply), reply))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The client left, or the server is to end.
            writer.close()

    async def _answer(self, body: bytes) -> tuple[bytes, bytes]:
        asked = orjson.loads(body)
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        if len(texts) > MOST_INPUTS:
            return b"400 Bad Request", b'{"error":{"message":"too many inputs"}}'
        tokens = int(sum(len(text.encode()) for text in texts) / BYTES_PER_TOKEN)
        await self._work(len(texts), tokens)
        self.bodies.append(body)
        as_base64 = asked.get("encoding_format") == "base64"
        vectors = _choose(texts, self._as_base64, b"") if as_base64 else _choose(texts, self._as_text, b",")
        return b"200 OK", _reply(vectors, b'"%b"' if as_base64 else b"[%b]", tokens)

    async def _talk(self, writer: asyncio.StreamWriter) -> None:
        """Stream words that no document has; the answer cites its first source, so that there is something to check."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        started = time.monotonic()
        await asyncio.sleep(self.first_token)
        sent, at_once = 0, max(1, round(self.tokens_per_second * WRITE_SECONDS))
        while sent < self.answer_tokens:
            due = min(self.answer_tokens, 1 if not sent else sent + at_once)
            _write_chunk(writer, b"".join(_event(number, self.answer_tokens) for number in range(sent, due)))
            await writer.drain()
            sent = due
            pause = started + self.first_token + sent / self.tokens_per_second - time.monotonic()
            await asyncio.sleep(max(0.0, pause))
        _write_chunk(writer, STOP % self.answer_tokens + b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _work(self, texts: int, tokens: int) -> None:
        seconds = self.latency + self.per_1000_tokens * tokens / 1000
        async with self._turn:
            await asyncio.sleep(seconds)
        self.counts.requests += 1
        self.counts.texts += texts
        self.counts.tokens += tokens
        self.counts.work_seconds += seconds


# Tokens in a sentence of an answer.
SENTENCE = 20
CHUNK = b'data: {"id":"chat-1","object":"chat.completion.chunk","created":1764000000,"model":"m","choices":'
STOP = (
    CHUNK + b'[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":900,"completion_tokens":%d,"total_tokens":900}}\n\n'
)


def _event(number: int, tokens: int) -> bytes:
    place = number % SENTENCE
    last = place == SENTENCE - 1 or number == tokens - 1
    text = b"ends [1]. " if last else b"%bqword%d " % (b"a" if place else b"A", number % 10)
    return CHUNK + b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % text


def _write_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _choose(texts: list[str], pieces: list[bytes], between: bytes) -> Iterator[bytes]:
    """Yield a vector for each text: the pieces that the bytes of its hash name."""
    for text in texts:
        yield between.join(pieces[byte] for byte in blake2b(text.encode(), digest_size=SEGMENTS).digest())


def _reply(vectors: Iterable[bytes], form: bytes, tokens: int) -> bytes:
    items = (b'{"index":%d,"object":"embedding","embedding":' % n + form % v + b"}" for n, v in enumerate(vectors))
    usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (tokens, tokens)
    return b'{"object":"list","model":"","usage":%b,"data":[%b]}' % (usage, b",".join(items))


async def _serve_until_stdin_closes(api: Api) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(stop.set)

    server = await asyncio.start_server(api.serve, "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/inference", flush=True)
    started = time.process_time()
    threading.Thread(target=wait, daemon=True).start()
    await stop.wait()
    api.counts.cpu_seconds = time.process_time() - started
    server.close()


def main() -> None:
    """Serve until stdin closes, then print the counts and write the bodies of the requests, one a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, default=60)
    parser.add_argument("--ms-per-1000-tokens", type=float, default=6)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--first-token-ms", type=float, default=80)
    parser.add_argument("--tokens-per-second", type=int, default=300)
    parser.add_argument("--answer-tokens", type=int, default=300)
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the requests' bodies here at the end")
    options = parser.parse_args()
    api = Api(
        options.latency_ms / 1000,
        options.ms_per_1000_tokens / 1000,
        options.at_once,
        options.first_token_ms / 1000,
        options.tokens_per_second,
        options.answer_tokens,
    )
    asyncio.run(_serve_until_stdin_closes(api))
    if options.record:
        options.record.write_bytes(b"\n".join(api.bodies))
    print(json.dumps(vars(api.counts)))


if __name__ == "__main__":
    main()

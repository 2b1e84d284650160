"""The endpoints of the imitated Fireworks API: from a request to its answer."""

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.fireworks_chat import Generation, generate
from tests.fireworks_faults import Endpoint, Fault, StreamFault
from tests.fireworks_replies import (
    RefusedError,
    Reply,
    check_fields,
    count_tokens,
    embed,
    embedding_dimensions,
    embedding_inputs,
    embedding_reply,
    models_reply,
    rerank_reply,
)
from tests.fireworks_wire import DroppedError, WireHandler

if TYPE_CHECKING:
    from tests.fireworks_server import FireworksServer

ROOT = "/inference/v1"
PATHS: dict[str, Endpoint] = {
    f"{ROOT}/embeddings": "embeddings",
    f"{ROOT}/chat/completions": "chat",
    f"{ROOT}/rerank": "rerank",
}


@dataclass
class Request:
    """What a client asked, and what became of it: final as soon as the client has the whole answer."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]  # Names in lower case.
    started: float
    status: int = 0  # 0 until it is answered.
    finished: float = 0.0
    sent: int = 0  # Generated tokens, reasoning included.
    client_gone: bool = False


@dataclass(frozen=True)
class _Stream:
    generation: Generation
    fault: StreamFault | None


class EndpointHandler(WireHandler):
    """Answers the requests of one connection on behalf of ``api``."""

    api: "FireworksServer"

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        self._serve()

    def do_POST(self) -> None:  # noqa: N802 - as above
        self._serve()

    def _serve(self) -> None:
        request = self._receive()
        try:
            self._answer(request)
        except DroppedError:
            self.close_connection = True
        except ConnectionError:
            self.close_connection = True
            request.client_gone = not self.server.stopping.is_set()
        finally:
            request.finished = request.finished or time.monotonic()

    def _receive(self) -> Request:
        started, raw = time.monotonic(), self.read_body()
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            body = {}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path.partition("?")[0], body if isinstance(body, dict) else {}, headers, started)
        self.api.requests.append(request)
        return request

    def _answer(self, request: Request) -> None:
        try:
            outcome = self._work_out(request)
        except RefusedError as refusal:
            outcome = refusal.reply
        if isinstance(outcome, _Stream):
            self._write_stream(request, outcome)
            return
        # Recorded before it is written: a client that has the answer must find it in the records.
        request.status, request.finished = outcome.status, time.monotonic()
        self.write_reply(replace(outcome, headers={**outcome.headers, **self.api.reply_headers}))

    def _work_out(self, request: Request) -> Reply | _Stream:
        if request.path == f"{ROOT}/models":
            self._admit(request, "GET")
            return models_reply(self.api.models)
        if request.path not in PATHS:
            raise RefusedError(404, f"Path not found: {request.path}")
        self._admit(request, "POST")
        endpoint = PATHS[request.path]
        with self.api.progress(endpoint):
            faults = self.api.faults.take(endpoint, request.body)
            for fault in faults:
                fault.hold(self.pause)
            refusals = (fault.refuse() for fault in faults)
            return next(filter(None, refusals), None) or self._comply(endpoint, request, faults)

    def _admit(self, request: Request, method: str) -> None:
        if self.command != method:
            raise RefusedError(405)
        if request.headers.get("authorization") != f"Bearer {self.api.key}":
            raise RefusedError(401)

    def _comply(self, endpoint: Endpoint, request: Request, faults: list[Fault]) -> Reply | _Stream:
        check_fields(endpoint, request.body)
        if "model" in request.body and request.body["model"] not in self.api.models:
            raise RefusedError(404)
        if endpoint == "rerank":
            return rerank_reply(request.body)
        return self._embed(request, faults) if endpoint == "embeddings" else self._chat(request, faults)

    def _embed(self, request: Request, faults: list[Fault]) -> Reply:
        body, texts = request.body, embedding_inputs(request.body)
        dimensions = embedding_dimensions(body, self.api.dimensions)
        tokens = sum(map(count_tokens, texts))
        with self.api.turn_to_work(self.pause):
            self.pause(self.api.latency + self.api.latency_per_1000_tokens * tokens / 1000)
            rows = [(index, embed(text, dimensions)) for index, text in enumerate(texts)]
        for fault in faults:
            rows = fault.spoil(rows)
        return embedding_reply(rows, body["model"], tokens, as_base64=body.get("encoding_format") == "base64")

    def _chat(self, request: Request, faults: list[Fault]) -> Reply | _Stream:
        answer = self.api.answer if isinstance(self.api.answer, str) else self.api.answer(request.body)
        generation = generate(request.body, answer, self.api.reasoning)
        if request.body.get("stream"):
            return _Stream(generation, next((fault for fault in faults if isinstance(fault, StreamFault)), None))
        self.pause(self.api.token_delay * len(generation.tokens))
        request.sent = len(generation.tokens)
        return generation.reply()

    def _write_stream(self, request: Request, stream: _Stream) -> None:
        generation, fault = stream.generation, stream.fault
        request.status = 200
        self.write_head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        self.write_chunk(generation.opening())
        for event in generation.deltas(fault.after if fault else None):
            self.pause(self.api.token_delay)
            self.write_chunk(event)
            request.sent += 1
        closing = fault.closing() if fault else generation.closing()
        request.finished = time.monotonic()
        self.write_chunk(closing, last=True)

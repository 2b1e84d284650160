"""An imitation of the Fireworks API on a loopback port, with a memory of what it was asked."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tests.fireworks_chat import answer_from_first_source
from tests.fireworks_endpoints import PATHS, EndpointHandler, Request
from tests.fireworks_faults import Endpoint, Faults
from tests.fireworks_wire import POLL, WireServer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FireworksServer", "Request"]

MODELS = (
    "nomic-ai/nomic-embed-text-v1.5",
    "accounts/fireworks/models/gpt-oss-120b",
    "accounts/fireworks/models/glm-5p3-flash",
    "fireworks/qwen3-reranker-8b",
)


@dataclass(eq=False)
class FireworksServer:
    """A context manager; its settings may be changed while it serves.

    ``concurrency`` and the latencies are about embeddings: so many are worked on at once, the rest wait.
    ``reply_headers`` are sent with every answer, such as a limit.
    ``most_at_once`` counts those that wait too: it is what the client had in flight.
    """

    key: str = "test-key"
    dimensions: int = 768
    latency: float = 0.0
    latency_per_1000_tokens: float = 0.0
    concurrency: int | None = None
    models: set[str] = field(default_factory=lambda: set(MODELS))
    answer: str | Callable[[dict[str, Any]], str] = answer_from_first_source
    token_delay: float = 0.0
    reasoning: str = ""
    reply_headers: dict[str, str] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list, init=False)
    most_at_once: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._turn = threading.Condition()
        self._in_progress = self._worked_on = 0

    def __enter__(self) -> "Self":
        self._http = WireServer(type("Handler", (EndpointHandler,), {"api": self}))
        self._http.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every connection and thread, as at the end of the ``with`` block; what is remembered stays."""
        self._http.stop()

    def forget(self) -> None:
        """Be as at the start, for tests that share one: nothing asked, nothing set, at the same address."""
        new = FireworksServer()
        for each in fields(self):
            setattr(self, each.name, getattr(new, each.name))

    @property
    def base(self) -> str:
        """The address to which clients add ``/v1/...``."""
        return f"http://127.0.0.1:{self._http.server_port}/inference"

    @property
    def connections(self) -> int:
        """Number of TCP connections accepted."""
        return self._http.connections

    @property
    def embedding_requests(self) -> list[Request]:
        """The requests for embeddings, in order of arrival."""
        return self._asked("embeddings")

    @property
    def chat_requests(self) -> list[Request]:
        """The requests for chat completions, in order of arrival."""
        return self._asked("chat")

    @property
    def rerank_requests(self) -> list[Request]:
        """The requests for reranking, in order of arrival."""
        return self._asked("rerank")

    def settle(self, timeout: float = 2.0) -> None:
        """Wait until no request is in progress: a client that left is noticed within moments, not at once."""
        end = time.monotonic() + timeout
        while any(not request.finished for request in list(self.requests)):
            if time.monotonic() > end:
                raise TimeoutError(f"a request was still in progress after {timeout} s")
            time.sleep(POLL)

    def _asked(self, endpoint: Endpoint) -> list[Request]:
        return [request for request in list(self.requests) if PATHS.get(request.path) == endpoint]

    @contextmanager
    def progress(self, endpoint: Endpoint) -> Iterator[None]:
        """Count a request as being in progress."""
        counts = endpoint == "embeddings"
        with self._turn:
            self._in_progress += counts
            self.most_at_once = max(self.most_at_once, self._in_progress)
        try:
            yield
        finally:
            with self._turn:
                self._in_progress -= counts

    @contextmanager
    def turn_to_work(self, check: Callable[[], None]) -> Iterator[None]:
        """Wait for one of the ``concurrency`` places; ``check`` may end the waiting by raising."""
        with self._turn:
            while self.concurrency is not None and self._worked_on >= self.concurrency:
                check()
                self._turn.wait(0.05)
            self._worked_on += 1
        try:
            yield
        finally:
            with self._turn:
                self._worked_on -= 1
                self._turn.notify()

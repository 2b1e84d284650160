"""Ways in which the imitated Fireworks API can fail, and the script that says when it does."""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, ClassVar, Literal

import numpy as np

from tests.fireworks_chat import write_event
from tests.fireworks_replies import Reply, Row, encode, error_body
from tests.fireworks_wire import DroppedError

Endpoint = Literal["embeddings", "chat", "rerank"]
ENDPOINTS: tuple[Endpoint, ...] = ("embeddings", "chat", "rerank")
Pause = Callable[[float], None]


@dataclass(frozen=True)
class Fault:
    """Nothing goes wrong; each kind of fault overrides the moment at which it does."""

    endpoints: ClassVar[tuple[Endpoint, ...]] = ENDPOINTS

    def applies(self, body: Mapping[str, Any]) -> bool:
        """Whether this request can meet the fault; otherwise the fault waits for the next one."""
        return True

    def hold(self, pause: Pause) -> None:
        """Delay the answer, or make it impossible; ``pause`` waits and watches the client."""

    def refuse(self) -> Reply | None:
        """Return an answer that replaces the normal one."""
        return None

    def spoil(self, rows: list[Row]) -> list[Row]:
        """Change the vectors, which come with the numbers of their texts."""
        return rows


@dataclass(frozen=True)
class Status(Fault):
    """An error status, with the documented body unless another is given (a text is sent as HTML)."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def refuse(self) -> Reply:
        body = error_body(self.status) if self.body is None else self.body
        return encode(body, self.status, self.headers)


@dataclass(frozen=True)
class Delay(Fault):
    """The answer comes late."""

    seconds: float

    def hold(self, pause: Pause) -> None:
        pause(self.seconds)


class Hang(Fault):
    """The answer never comes; the connection stays open."""

    def hold(self, pause: Pause) -> None:
        pause(math.inf)


class Drop(Fault):
    """The connection is closed without an answer."""

    def hold(self, pause: Pause) -> None:
        raise DroppedError


class Garbage(Fault):
    """Status 200 with JSON that ends too early."""

    def refuse(self) -> Reply:
        return Reply(200, b'{"object": "list", "data": [{"ind', {"Content-Type": "application/json"})


class EmbeddingFault(Fault):
    """A fault of embeddings only."""

    endpoints: ClassVar[tuple[Endpoint, ...]] = ("embeddings",)


class Reordered(EmbeddingFault):
    """The vectors come in another order than the texts; each still has its text's number."""

    def spoil(self, rows: list[Row]) -> list[Row]:
        return rows[::-1]


class Short(EmbeddingFault):
    """The last vector is missing."""

    def spoil(self, rows: list[Row]) -> list[Row]:
        return rows[:-1]


class WrongDimension(EmbeddingFault):
    """Each vector has one number too few."""

    def spoil(self, rows: list[Row]) -> list[Row]:
        return [(index, vector[:-1]) for index, vector in rows]


class Unshortened(EmbeddingFault):
    """Vectors have the model's own length, whatever was asked for; their front is what was asked for, but for scale."""

    def __init__(self, length: int = 768) -> None:
        self.length = length

    def spoil(self, rows: list[Row]) -> list[Row]:
        rest = [np.linspace(-1, 1, self.length - len(vector)) for _, vector in rows]
        return [(index, np.concatenate([vector, more])) for (index, vector), more in zip(rows, rest, strict=True)]


class NotFinite(EmbeddingFault):
    """The first vector has a NaN in it."""

    def spoil(self, rows: list[Row]) -> list[Row]:
        (index, vector), *others = rows
        return [(index, np.concatenate([[np.nan], vector[1:]])), *others]


@dataclass(frozen=True)
class TooMany(EmbeddingFault):
    """More than ``limit`` inputs are refused with 400."""

    limit: int

    def applies(self, body: Mapping[str, Any]) -> bool:
        return isinstance(body.get("input"), list) and len(body["input"]) > self.limit

    def refuse(self) -> Reply:
        return encode(error_body(400, f"'input' must have {self.limit} items or less."), 400)


@dataclass(frozen=True)
class Refuse(EmbeddingFault):
    """A request is refused when ``text`` occurs in any of its inputs."""

    text: str
    status: int = 400

    def applies(self, body: Mapping[str, Any]) -> bool:
        inputs = body.get("input") or []
        return any(self.text in text for text in ([inputs] if isinstance(inputs, str) else inputs))

    def refuse(self) -> Reply | None:
        return encode(error_body(self.status, "The input can't be processed."), self.status)


@dataclass(frozen=True)
class Unembeddable(Refuse):
    """The vectors come back as zeros when ``text`` occurs in any of the inputs."""

    def refuse(self) -> Reply | None:
        return None

    def spoil(self, rows: list[Row]) -> list[Row]:
        return [(index, np.zeros_like(vector)) for index, vector in rows]


class Limit(EmbeddingFault):
    """Requests over a rate are refused with 429; so many may come at once after a rest."""

    def __init__(self, per_second: float, at_once: float) -> None:
        self.per_second = per_second
        self.at_once = self.level = at_once
        self._looked_at = time.monotonic()

    def applies(self, body: Mapping[str, Any]) -> bool:
        now = time.monotonic()
        self.level = min(self.level + (now - self._looked_at) * self.per_second, self.at_once)
        self._looked_at = now
        if self.level < 1:
            return True
        self.level -= 1
        return False

    def refuse(self) -> Reply:
        return encode(error_body(429), 429)


@dataclass(frozen=True)
class StreamFault(Fault):
    """A streamed answer ends after this many tokens, without ``finish_reason`` and end mark."""

    endpoints: ClassVar[tuple[Endpoint, ...]] = ("chat",)
    after: int

    def applies(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("stream"))

    def closing(self) -> bytes:
        """Return the last bytes of the body."""
        return b""


class StreamError(StreamFault):
    """A streamed answer ends in an error event."""

    def closing(self) -> bytes:
        return write_event(error_body(503))


class CutStream(StreamFault):
    """A streamed answer ends early, as if that were all."""


class DropStream(StreamFault):
    """The connection dies in the middle of a streamed answer."""

    def closing(self) -> bytes:
        raise DroppedError


class Faults:
    """The script: a request meets the first added fault that applies, a random one, and all lasting ones.

    They act together: delays add up; of those that refuse, the first in this order answers.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._pending: dict[Endpoint, list[Fault]] = {endpoint: [] for endpoint in ENDPOINTS}
        self._lasting: dict[Endpoint, list[Fault]] = {endpoint: [] for endpoint in ENDPOINTS}
        self._random: dict[Endpoint, tuple[random.Random, Sequence[tuple[float, Fault]]]] = {}

    def add(self, endpoint: Endpoint, fault: Fault, times: int = 1) -> None:
        """Let the next ``times`` requests meet this fault, after the faults added before."""
        self._pending[_checked(endpoint, fault)] += [fault] * times

    def always(self, endpoint: Endpoint, fault: Fault) -> None:
        """Let every request meet this fault."""
        self._lasting[_checked(endpoint, fault)].append(fault)

    def randomly(self, endpoint: Endpoint, faults: Sequence[tuple[float, Fault]], seed: int = 0) -> None:
        """Let each request meet at most one of these, with its probability; the seed fixes the sequence."""
        for _, fault in faults:
            _checked(endpoint, fault)
        self._random[endpoint] = (random.Random(seed), faults)  # noqa: S311 - a script, not a secret

    def clear(self) -> None:
        """Forget all faults: nothing fails from now on."""
        with self._lock:
            self._random.clear()
            for faults in (*self._pending.values(), *self._lasting.values()):
                faults.clear()

    def left(self, endpoint: Endpoint) -> int:
        """Return how many added faults have not been met yet."""
        return len(self._pending[endpoint])

    def take(self, endpoint: Endpoint, body: Mapping[str, Any]) -> list[Fault]:
        """Return the faults that this request meets; a pending one is used up."""
        with self._lock:
            pending = self._pending[endpoint]
            met = [fault for fault in pending if fault.applies(body)][:1]
            for fault in met:
                pending.remove(fault)
            others = [*self._draw(endpoint), *self._lasting[endpoint]]
            return met + [fault for fault in others if fault.applies(body)]

    def _draw(self, endpoint: Endpoint) -> list[Fault]:
        if endpoint not in self._random:
            return []
        dice, faults = self._random[endpoint]
        number = dice.random()
        for probability, fault in faults:
            if number < probability:
                return [fault]
            number -= probability
        return []


def _checked(endpoint: Endpoint, fault: Fault) -> Endpoint:
    if endpoint not in fault.endpoints:
        raise ValueError(f"{type(fault).__name__} is a fault of {', '.join(fault.endpoints)}, not of {endpoint}")
    return endpoint

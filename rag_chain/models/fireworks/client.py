"""The HTTP client of the Fireworks API: timeouts, retries with jitter, and one deadline over all."""

from __future__ import annotations

import math
import weakref
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import httpx
import orjson
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from rag_chain.errors import BadReplyError, InvalidRequestError, ModelError, ProviderUnreachableError, SettingsError
from rag_chain.models.background import open_loop
from rag_chain.models.fireworks.events import EventReader, ReadingPace
from rag_chain.models.fireworks.replies import RetryLaterError, explain_status, explain_stream_error
from rag_chain.models.fireworks.transport import LEAVE_ALONE, open_transport
from rag_chain.models.usage import count_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from tenacity import RetryCallState

# A connection that takes longer won't come; a server that is silent for longer has hung.
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
CONNECTION_ATTEMPTS = 4
# How long a stream may take to close after its end mark; a connection that is not read to the end is lost.
CLOSING_SECONDS = 0.25

Slot: TypeAlias = "Callable[[], AbstractAsyncContextManager[None]]"
Hear: TypeAlias = "Callable[[int, Mapping[str, str]], None]"


class UnansweredError(ProviderUnreachableError):
    """The connection failed or broke before there was a reply, so asking again is safe."""


class FireworksClient:
    """Posts JSON to one API base and key; safe to use from any thread and any event loop.

    Retries 408, 409, 429, 5xx (at most ``attempts`` times in all) and broken connections (four
    times in a row) with full jitter, 0.5 s doubling to ``longest_pause``, and honours Retry-After up
    to 60 s. One deadline of ``timeout`` seconds covers all of it, but for the wait for a slot; a
    stream must also end within it. ``transport`` may stand in for the network.
    """

    def __init__(
        self,
        base: str,
        key: str,
        *,
        timeout: float,
        attempts: float = 4,
        longest_pause: float = 8.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not (key.isascii() and key.isprintable()):
            raise SettingsError("FIREWORKS_API_KEY holds characters that no key has: copy it again")
        self.address = base
        self.loop = open_loop()
        self._pace = ReadingPace()
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = wait_random_exponential(multiplier=0.5, max=longest_pause)
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=httpx.Timeout(min(timeout, READ_SECONDS), connect=CONNECT_SECONDS, pool=None),
            transport=transport or open_transport(),
        )
        self.loop.attach(self._http)
        # Closed on its own loop and without waiting, since the last reference may go in any thread.
        weakref.finalize(self, self.loop.close, self._http)

    async def post(self, path: str, body: Mapping[str, Any], slot: Slot = nullcontext, hear: Hear | None = None) -> Any:
        """Send a request and return the JSON of the reply; every attempt is made inside a ``slot()``.

        ``hear`` is told the status and the headers of every reply, of refusals too.
        """
        with self._deadline() as deadline:

            async def attempt() -> httpx.Response:
                async with _in_turn(slot(), deadline):
                    return await self._send(path, body, stream=False, hear=hear)

            response: httpx.Response = await self._retrying()(attempt)
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError as error:
            raise BadReplyError(f"the reply of {self.address} is not JSON") from error

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[list[dict[str, Any]]]:
        """Send a request and yield the JSON events of its reply, together those that came together.

        Once it has begun nothing is retried. The more streams there are, the longer each is left alone between two
        looks, and the more comes together: every look costs the same, however much there is to see.
        """
        with self._deadline():
            async with self._open_stream(path, body) as response:
                parts = response.aiter_bytes()
                reader = EventReader()
                async for part in parts:
                    events, error = _parse_events(reader.feed(part))
                    if events:
                        yield events
                    if error is not None:
                        raise error
                    if reader.done:
                        await _read_to_end(parts)
                        return
                    if events:
                        with response.extensions.get(LEAVE_ALONE, nullcontext)():
                            await self._pace.rest()

    @asynccontextmanager
    async def _open_stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        response: httpx.Response = await self._retrying()(self._send, path, body, stream=True)
        try:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                raise BadReplyError(f"{self.address} answered a request for a stream with no stream")
            yield response
        except httpx.HTTPError as error:
            raise BadReplyError(f"the connection broke in the middle of the answer ({_name(error)})") from error
        finally:
            await response.aclose()
            _let_go(response)

    async def _send(
        self, path: str, body: Mapping[str, Any], *, stream: bool, hear: Hear | None = None
    ) -> httpx.Response:
        """Send a request once; an error status or no answer becomes one of rag_chain's exceptions."""
        try:
            request = self._http.build_request("POST", f"{self.address}/v1{path}", content=orjson.dumps(body))
            response = await self._http.send(request, stream=stream)
            if hear is not None:
                hear(response.status_code, response.headers)
            if response.is_success:
                if not stream:
                    _let_go(response)
                return response
            await response.aread()
            _let_go(response)
        except orjson.JSONEncodeError as error:
            raise InvalidRequestError(f"the request can't be written as JSON ({error})") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise ProviderUnreachableError(f"FIREWORKS_API_BASE is not an address: {self.address!r}") from error
        except httpx.HTTPError as error:
            raise UnansweredError(
                f"no answer from {self.address} ({_name(error)}): check FIREWORKS_API_BASE and the network"
            ) from error
        status, model = response.status_code, str(body.get("model"))
        raise explain_status(status, response.content, response.headers, model=model, address=self.address)

    def _retrying(self) -> AsyncRetrying:
        unanswered = 0

        def is_over(state: RetryCallState) -> bool:
            nonlocal unanswered
            unanswered = unanswered + 1 if isinstance(_failure(state), UnansweredError) else 0
            exhausted = state.attempt_number >= self._attempts or unanswered >= CONNECTION_ATTEMPTS
            return exhausted or _too_late(state)

        return AsyncRetrying(
            retry=retry_if_exception_type((RetryLaterError, UnansweredError)),
            stop=is_over,
            wait=self._pause,
            before=_count,
            reraise=True,
        )

    def _pause(self, state: RetryCallState) -> float:
        """Return the seconds to wait before the next attempt: what the provider asked for, else full jitter."""
        failure = _failure(state)
        asked = failure.seconds if isinstance(failure, RetryLaterError) else None
        return float(self._backoff(state)) if asked is None else asked

    @contextmanager
    def _deadline(self) -> Iterator[anyio.CancelScope]:
        try:
            with anyio.fail_after(self._timeout) as scope:
                yield scope
        except TimeoutError:
            raise ProviderUnreachableError(
                f"{self.address} did not finish within {self._timeout:g} s: try again, or raise RAG_REQUEST_TIMEOUT"
            ) from None


@asynccontextmanager
async def _in_turn(slot: AbstractAsyncContextManager[None], deadline: anyio.CancelScope) -> AsyncIterator[None]:
    """Hold a slot; the wait for it is not the provider's doing, so the deadline stands still."""
    left = deadline.deadline - anyio.current_time()
    deadline.deadline = math.inf
    async with slot:
        deadline.deadline = anyio.current_time() + left
        yield


def _count(state: RetryCallState) -> None:
    count_request(again=state.attempt_number > 1)


def _too_late(state: RetryCallState) -> bool:
    return anyio.current_time() + state.upcoming_sleep >= anyio.current_effective_deadline()


def _let_go(response: httpx.Response) -> None:
    """Part a response and its stream, which hold each other: hundreds would wait for the garbage collector."""
    response.stream = httpx.ByteStream(b"")


def _failure(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


async def _read_to_end(parts: AsyncIterator[bytes]) -> None:
    with anyio.move_on_after(CLOSING_SECONDS), suppress(httpx.HTTPError):
        async for _ in parts:
            pass


def _parse_events(lines: Iterable[bytes]) -> tuple[list[dict[str, Any]], ModelError | None]:
    """Return the events up to the first that tells of an error, or is none, and that error."""
    events: list[dict[str, Any]] = []
    try:
        events.extend(map(_parse_event, lines))
    except ModelError as error:
        return events, error
    return events, None


def _parse_event(data: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadReplyError("the provider sent an event that is not JSON") from error
    if not isinstance(event, dict):
        raise BadReplyError("the provider sent an event that is not an object")
    if event.get("error"):
        raise explain_stream_error(event)
    return event


def _name(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__

"""Turn a provider's error reply into the exception that says what happened and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from rag_chain.errors import (
    AuthenticationError,
    BadReplyError,
    InvalidRequestError,
    ModelError,
    ModelNotFoundError,
    ProviderBusyError,
    in_brief,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520})
MAX_RETRY_AFTER = 60.0

_MENDS = {
    401: "check FIREWORKS_API_KEY, or set RAG_PROVIDER=local to work without a key",
    402: "the account needs a payment method",
    403: "this key may not use this model",
    412: "the account is suspended or its spending limit is reached",
}


class RetryLaterError(ProviderBusyError):
    """The provider is busy (``status``); ``seconds`` is how long it asked us to wait, where it did."""

    # Pickling calls it with the message alone; the rest follows.
    def __init__(self, message: str, status: int = 503, seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.seconds = seconds


def explain_status(status: int, body: bytes, headers: Mapping[str, str], *, model: str, address: str) -> ModelError:
    """Return the exception for an error status; the provider's own words are kept, in one line."""
    said = provider_message(body)
    if status in _MENDS:
        return AuthenticationError(f"the provider refused the request ({status} {said}): {_MENDS[status]}")
    if status == 404:
        return ModelNotFoundError(
            f"{address} does not serve {model!r} ({said}): "
            "set RAG_CHAT_MODEL or RAG_EMBEDDING_MODEL to a model that it serves, or mend FIREWORKS_API_BASE"
        )
    if status in BUSY or status >= 500:
        return RetryLaterError(
            f"the provider is busy ({status} {said}): try again later", status, _retry_after(headers)
        )
    return InvalidRequestError(f"the provider refused the input ({status} {said})", status)


def explain_stream_error(event: Mapping[str, Any]) -> ModelError:
    """Return the exception for an error that arrives inside a stream."""
    return BadReplyError(f"the provider broke off the answer: {provider_message(orjson.dumps(event))}")


def provider_message(body: bytes) -> str:
    """Return the message in an error body, whichever of the known envelopes it has, at most 300 characters."""
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return " ".join(body[:300].decode("utf-8", "replace").split()) or "no reason given"
    error = reply.get("error", reply) if isinstance(reply, dict) else reply
    message = error.get("message") or _details(error.get("detail")) if isinstance(error, dict) else error
    return in_brief(message or error, 300)


def _details(detail: Any) -> Any:
    """Return what FastAPI says is wrong and where; it repeats the input beside it, which is not to be shown."""
    if not isinstance(detail, list):
        return detail
    return "; ".join(f"{fault.get('msg')} at {fault.get('loc')}" for fault in detail if isinstance(fault, dict))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header; dates and nonsense count as none."""
    try:
        return min(max(float(headers.get("retry-after", "")), 0.0), MAX_RETRY_AFTER)
    except ValueError:
        return None

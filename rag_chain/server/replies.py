"""Errors as HTTP: one status for each kind, one shape, and nothing in them that is not the caller's business."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from rag_chain.errors import (
    BadReplyError,
    DocumentError,
    EmptyStoreError,
    FingerprintError,
    InvalidRequestError,
    ModelError,
    ProviderBusyError,
    ProviderUnreachableError,
    QuestionError,
    RagChainError,
    SettingsError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi.exceptions import RequestValidationError
    from pydantic import ValidationError
    from starlette.responses import Response

logger = logging.getLogger(__name__)

# The first class that an error belongs to decides.
STATUSES: tuple[tuple[type[RagChainError], int], ...] = (
    (QuestionError, 422),
    (SettingsError, 422),
    (InvalidRequestError, 422),
    (DocumentError, 422),
    (ProviderBusyError, 503),
    (ProviderUnreachableError, 504),
    (BadReplyError, 502),
    (ModelError, 502),
    (StoreError, 503),
    (RagChainError, 500),
)
# Paths and addresses of the store are for the log.
TELLS: tuple[tuple[type[StoreError], str], ...] = (
    (EmptyStoreError, "nothing has been ingested yet"),
    (FingerprintError, "the collection was made with other settings: rag-chain ingest --rebuild"),
    (StoreError, "the store can't be asked at the moment; /readyz and the log say why"),
)


class Refusal(Exception):  # noqa: N818  not a fault of ours
    """A request that is not let in, or not gone on with: a status, what kind of reason, and which."""

    def __init__(self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})

    def reply(self) -> Response:
        """Return it as an HTTP response."""
        return JSONResponse(error_body(self.kind, str(self)), self.status, self.headers)


def status_of(error: RagChainError) -> int:
    """Return the HTTP status that tells a client whether to mend the request or to wait."""
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def message_of(error: RagChainError) -> str:
    """Return what a caller may read of an error."""
    return next((told for kind, told in TELLS if isinstance(error, kind)), str(error))


def error_body(kind: str, message: str) -> dict[str, Any]:
    """Return the one shape of errors; OpenAI's clients read it, too."""
    return {"error": {"type": kind, "message": message}}


def explain(error: RagChainError) -> Response:
    """Return an error of ours as an HTTP response; the log gets what is not the caller's doing, in full."""
    status = status_of(error)
    if status >= 500:
        logger.warning("%s: %s", type(error).__name__, error)
    headers = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse(error_body(type(error).__name__, message_of(error)), status, headers)


def explain_input(error: ValidationError | RequestValidationError) -> Response:
    """Return the first thing that is wrong with an input, without repeating it."""
    first = error.errors()[0]
    place, message = ("", first) if isinstance(first, str) else (first.get("loc", ()), first.get("msg", ""))
    where = f"{'.'.join(map(str, place))}: " if place else ""
    return JSONResponse(error_body("InvalidInput", f"{where}{message}"), 422)

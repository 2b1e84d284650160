"""What the imitated Fireworks API says: vectors, scores, generated texts and refusals; no sockets here."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_INPUTS = 2048
MOST_WORDS = 8192
# A power-of-two fraction keeps the numbers short in JSON; not 1, because the live API may not normalise.
SCALE = 3.75
PREFIXES = ("search_document: ", "search_query: ")
STOP_WORDS = "a an and are as at be by can do does for from how i in is it of on or that the to what"
EMBEDDING_FIELDS = "input model prompt_template dimensions return_logits normalize encoding_format user"
RERANK_FIELDS = "model query documents top_n return_documents task"
CHAT_FIELDS = """
    messages model context_length_exceeded_behavior echo echo_last frequency_penalty function_call functions
    ignore_eos logit_bias logprobs max_completion_tokens max_tokens metadata min_p mirostat_lr mirostat_target
    n parallel_tool_calls perf_metrics_in_response prediction presence_penalty prompt_cache_isolation_key
    prompt_cache_key prompt_truncate_len raw_output reasoning_effort reasoning_history repetition_penalty
    response_format return_token_ids safe_tokenization seed service_tier speculation stop stream
    stream_options temperature thinking tool_choice tools top_k top_logprobs top_p typical_p user
"""
FIELDS = {"embeddings": EMBEDDING_FIELDS, "rerank": RERANK_FIELDS, "chat": CHAT_FIELDS}
REQUIRED = {"embeddings": ("input", "model"), "rerank": ("query", "documents"), "chat": ("messages", "model")}
OLD_RATE_LIMIT_BODY = {"error": "Too Many Requests", "message": "You have exceeded your usage limits."}

Vector = NDArray[np.float64]
Row = tuple[int, Vector]


@dataclass(frozen=True)
class Reply:
    """A complete HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """The request is answered with an error; ``reply`` is that answer."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(status, message)
        self.reply = encode(error_body(status, message), status)


def encode(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Write text as HTML, as gateways do, and everything else as JSON."""
    if isinstance(body, str):
        return Reply(status, body.encode(), {"Content-Type": "text/html", **(headers or {})})
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


def error_body(status: int, message: str = "") -> object:
    """Return the body that Fireworks sends with this status; the envelopes differ, as they do there."""
    text, code = _ERRORS.get(status, ("something went wrong", "UNKNOWN"))
    text = message or text
    if status in {400, 413}:
        return {"error": {"object": "error", "type": "invalid_request_error", "message": text}}
    if status == 422:
        return {"detail": [{"loc": ["body"], "msg": text, "type": "value_error"}]}
    if status in {502, 504}:
        return f"<html><body><h1>{status} {text}</h1></body></html>"
    error = {"message": text, "param": "model" if status == 404 else None, "code": code, "type": "error"}
    return {"error": error, "request_id": "chatcmpl-0"} if status in {404, 429} else {"error": error}


_ERRORS = {
    400: ("The request is not valid.", "INVALID_ARGUMENT"),
    401: ("The API key you provided is invalid.", "UNAUTHORIZED"),
    402: ("Payment required.", "PAYMENT_REQUIRED"),
    403: ("You may not do this.", "FORBIDDEN"),
    404: ("Model not found, inaccessible, and/or not deployed", "NOT_FOUND"),
    405: ("Method not allowed.", "METHOD_NOT_ALLOWED"),
    408: ("Request timeout.", "REQUEST_TIMEOUT"),
    412: (
        "Account test is suspended, possibly due to reaching the monthly spending limit.",
        "PRECONDITION_FAILED",
    ),
    413: ("The payload is too large.", "PAYLOAD_TOO_LARGE"),
    422: ("Field required", "UNPROCESSABLE"),
    429: ("You have exceeded your rate limit for this API. Please try again later.", "RATE_LIMIT_EXCEEDED"),
    500: ("Internal server error.", "INTERNAL"),
    502: ("Bad Gateway", ""),
    503: ("service overloaded, please try again later", "SERVICE_UNAVAILABLE"),
    504: ("Gateway Timeout", ""),
}


def check_fields(endpoint: str, body: Mapping[str, Any]) -> None:
    """Refuse unknown and missing fields."""
    for unknown in sorted(set(body) - set(FIELDS[endpoint].split())):
        raise RefusedError(400, f"Extra inputs are not permitted, field: '{unknown}'")
    for name in REQUIRED[endpoint]:
        if name not in body:
            raise RefusedError(422, f"Field required: '{name}'")


def embedding_inputs(body: Mapping[str, Any]) -> list[str]:
    """Return the texts to embed; refuse what the API refuses."""
    value = body["input"]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise RefusedError(400, "'input' must be a text or a list of texts, and not be empty.")
    if len(texts) > MOST_INPUTS:
        raise RefusedError(400, f"'input' must have {MOST_INPUTS} items or less, not {len(texts)}.")
    if (longest := max(map(count_tokens, texts))) > MOST_WORDS:
        raise RefusedError(400, f"The prompt is too long: {longest}, model maximum context length: {MOST_WORDS}")
    return texts


def embedding_dimensions(body: Mapping[str, Any], default: int) -> int:
    """Return the length that the vectors are to have."""
    dimensions = body.get("dimensions", default)
    if not isinstance(dimensions, int) or dimensions < 1:
        raise RefusedError(400, f"'dimensions' must be 1 or more, not {dimensions}.")
    return dimensions


def count_tokens(text: str) -> int:
    """Count words; here a word is a token."""
    return len(text.split())


def content_words(text: str) -> list[str]:
    """Return the words that carry meaning: no task prefix, lower case, singular, no stop words."""
    for prefix in PREFIXES:
        text = text.removeprefix(prefix)
    stop_words = STOP_WORDS.split()
    words = [_singular(word) for word in re.findall(r"\w+", text.lower())]
    return [word for word in words if word not in stop_words] or words or [text]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@lru_cache(maxsize=100_000)
def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def embed(text: str, dimensions: int) -> Vector:
    """Return a hashed bag of words, not of unit length; texts that share words point the same way."""
    vector = np.zeros(dimensions)
    for number in map(_hash, content_words(text)):
        vector[(number >> 1) % dimensions] += SCALE if number & 1 else -SCALE
    if not vector.any():
        # Words of opposite signs met in every place; a direction is owed all the same.
        vector[0] = SCALE
    return vector


def embedding_reply(rows: list[Row], model: str, tokens: int, *, as_base64: bool) -> Reply:
    """Write vectors, with the numbers of their texts, as the API does."""
    data = [
        {
            "index": index,
            "embedding": _base64(vector) if as_base64 else vector.tolist(),
            "object": "embedding",
        }
        for index, vector in rows
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode({"data": data, "model": model, "object": "list", "usage": usage})


def _base64(vector: Vector) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def rerank_reply(body: Mapping[str, Any]) -> Reply:
    """Score each document by the share of the query's words that it has, best first."""
    documents, query = body["documents"], set(content_words(body["query"]))
    if not documents:
        raise RefusedError(400, "'documents' must not be empty.")
    scores = [len(query & set(content_words(document))) / len(query) for document in documents]
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.get("top_n")]
    data: list[dict[str, object]] = [{"index": index, "relevance_score": scores[index]} for index in best]
    if body.get("return_documents", True):
        data = [{**item, "document": documents[index]} for item, index in zip(data, best, strict=True)]
    tokens = sum(map(count_tokens, [body["query"], *documents]))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    return encode({"object": "list", "model": body.get("model"), "data": data, "usage": usage})


def models_reply(models: set[str]) -> Reply:
    """List the models."""
    data = [{"id": model, "object": "model", "owned_by": "fireworks"} for model in sorted(models)]
    return encode({"object": "list", "data": data})

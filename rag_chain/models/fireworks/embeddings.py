"""Embeddings over the Fireworks API: batched, concurrent, paced, and checked before anyone uses them."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_chain.errors import BadReplyError, InvalidRequestError
from rag_chain.models.embedding import EmbeddingModel, EmbeddingUsage, unit_vectors
from rag_chain.models.fireworks.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Reversible, Sequence
    from concurrent.futures import Future

    from rag_chain.models.embedding import Vectors
    from rag_chain.models.fireworks.client import FireworksClient

# A provider that gives a wrong reply this often in a row is broken, not unlucky.
READ_ATTEMPTS = 3

# What the models' own cards ask for; texts embedded without it are found less well.
_PREFIXES: tuple[tuple[str, str, str], ...] = (
    ("nomic-embed", "search_document: ", "search_query: "),
    ("e5-", "passage: ", "query: "),
    ("bge-", "", "Represent this sentence for searching relevant passages: "),
    ("mxbai-embed", "", "Represent this sentence for searching relevant passages: "),
    ("uae-large", "", "Represent this sentence for searching relevant passages: "),
    (
        "qwen3-embedding",
        "",
        "Instruct: Given a question, retrieve passages that answer it\nQuery: ",
    ),
)


def task_prefixes(model: str) -> tuple[str, str]:
    """Return what a model wants before documents and before questions."""
    name = model.lower()
    return next(((document, query) for part, document, query in _PREFIXES if part in name), ("", ""))


class FireworksEmbeddings(EmbeddingModel):
    """LangChain embeddings of a Fireworks model, or of any server with the same API.

    Sends at most ``batch_size`` texts in a request and ``concurrency`` requests at once, fewer
    while the provider is busy. Replies are ordered by ``index`` and checked for count, dimensions
    and finite values; vectors have unit length. A batch that is refused (400, 413) is halved until
    the text at fault stands alone.
    """

    def __init__(
        self,
        client: FireworksClient,
        model: str,
        *,
        dimensions: int | None = None,
        batch_size: int = 64,
        concurrency: int = 8,
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self.batch_size = batch_size
        self.usage = EmbeddingUsage()
        self._client = client
        self._concurrency = concurrency
        self._pace = Pace(concurrency)
        # Learned from the first reply where it was not asked for: one model has one length.
        self._expected_dimensions = dimensions
        self._document_prefix, self._query_prefix = task_prefixes(model)

    @property
    def identity(self) -> dict[str, str | int | None]:
        """The model, the vector length that was asked for, and the task prefixes."""
        return {
            "model": self.model,
            "dimensions": self.dimensions,
            "document_prefix": self._document_prefix,
            "query_prefix": self._query_prefix,
        }

    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Vectors]:
        """Yield one ``(n, dimensions)`` array for each batch, in order, several requests ahead of the caller."""
        waiting: deque[Future[Vectors]] = deque()
        try:
            for batch in batches:
                waiting.append(self._client.loop.submit(self._embed(batch, self._document_prefix)))
                # Twice the concurrency keeps the provider busy while the oldest reply is used.
                if len(waiting) >= 2 * self._concurrency:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            _cancel(waiting)

    def embed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question."""
        vector: list[float] = self._client.loop.wait(self._embed([text], self._query_prefix))[0].tolist()
        return vector

    async def aembed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question, from any event loop."""
        vectors = await self._client.loop.join(self._embed([text], self._query_prefix))
        vector: list[float] = vectors[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit-length vector for each document, in order, from any event loop."""
        starts = range(0, len(texts), self.batch_size)
        batches = (self._embed(texts[s : s + self.batch_size], self._document_prefix) for s in starts)
        futures = [self._client.loop.submit(batch) for batch in batches]
        try:
            arrays = [await asyncio.wrap_future(future) for future in futures]
        finally:
            _cancel(futures)
        return [vector for vectors in arrays for vector in vectors.tolist()]

    async def _embed(self, texts: Sequence[str], prefix: str) -> Vectors:
        """Embed texts in one request, or in halves where the provider refuses them together."""
        try:
            return await self._ask([prefix + text for text in texts])
        except InvalidRequestError as error:
            if error.status not in {400, 413} or len(texts) < 2:
                raise
        # One after the other: where a text is at fault, nothing is asked for after it in vain.
        middle = len(texts) // 2
        halves = [await self._embed(half, prefix) for half in (texts[:middle], texts[middle:])]
        return np.concatenate(halves)

    async def _ask(self, texts: list[str]) -> Vectors:
        """Send one request; a reply that does not hold the vectors asked for is asked for again."""
        body: dict[str, Any] = {"model": self.model, "input": texts}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        for attempt in count(1):
            try:
                return self._read(await self._client.post("/embeddings", body, self._pace.slot), len(texts))
            except BadReplyError:
                if attempt >= READ_ATTEMPTS:
                    raise
        raise AssertionError  # The loop ends in a return or an exception.

    def _read(self, reply: Any, expected: int) -> Vectors:
        self.usage.requests += 1
        vectors = unit_vectors(read_vectors(reply, expected), expected, self._expected_dimensions)
        self._expected_dimensions = vectors.shape[1]
        self.usage.texts += expected
        self.usage.tokens += _billed_tokens(reply)
        return vectors


def _cancel(futures: Reversible[Future[Vectors]]) -> None:
    # The last first: a slot that one frees must not go to another that is about to be cancelled.
    for future in reversed(futures):
        future.cancel()


def read_vectors(reply: Any, expected: int) -> Vectors:
    """Return the ``(expected, dimensions)`` array of an embeddings reply, ordered by ``index``.

    Decodes lists of numbers and base64 of little-endian floats. ``BadReplyError`` when an index
    is missing or twice there, or the vectors differ in length.
    """
    try:
        data = sorted(reply["data"], key=lambda item: item["index"])
        found = [item["index"] for item in data]
        rows = [_decode(item["embedding"]) for item in data]
    except (binascii.Error, KeyError, TypeError, ValueError) as error:
        raise BadReplyError(f"the embeddings reply can't be read ({type(error).__name__})") from error
    if found != list(range(expected)):
        raise BadReplyError(f"asked for {expected} vectors, the reply holds {len(found)} or mixes up their numbers")
    if len({row.shape for row in rows}) > 1:
        raise BadReplyError("the vectors in one reply differ in length")
    return np.stack(rows)


def _decode(embedding: list[float] | str) -> Vectors:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return np.array(embedding, dtype=np.float32)


def _billed_tokens(reply: Any) -> int:
    usage = reply.get("usage") or {}
    return int(usage.get("prompt_tokens") or usage.get("total_tokens") or 0)

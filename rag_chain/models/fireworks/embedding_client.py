"""The client of the Fireworks embeddings API: batched, concurrent, paced, and checked before anyone uses them."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import Counter, deque
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_chain.errors import BadReplyError, InvalidRequestError
from rag_chain.models.embedding import Embedded, EmbeddingModel, EmbeddingUsage, as_lists, unit_vectors
from rag_chain.models.fireworks.cards import can_be_cut, check_dimensions, known_length, task_prefixes
from rag_chain.models.fireworks.pace import Pace
from rag_chain.models.fireworks.replies import RetryLaterError
from rag_chain.models.usage import count_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Reversible, Sequence
    from concurrent.futures import Future

    from rag_chain.errors import ModelError
    from rag_chain.models.embedding import Vectors
    from rag_chain.models.fireworks.client import FireworksClient
    from rag_chain.models.fireworks.pace import Budget

# A provider that gives a wrong reply this often in a row is broken, not unlucky: of one that spoils a quarter of
# its replies, one batch in 4,000 meets that, and then each of its halves would have to.
READ_ATTEMPTS = 6
# In the air, or answered and waiting for an older one: so many batches for each that may be in flight, and small ones
# up to so many texts. One that the provider stalls or refuses often must not hold up the others.
AHEAD, AHEAD_TEXTS = 16, 8_192
# English has about four; what is reckoned too many is given back when the bill comes.
BYTES_PER_TOKEN = 3
# Texts that fail alone, one after the other: more than so many, and the provider is at fault.
MOST_IN_A_ROW = 16


class FireworksEmbeddingClient(EmbeddingModel):
    """Embeddings of a Fireworks model, or of any server with the same API, without importing ``langchain_fireworks``.

    Sends at most ``batch_size`` texts in a request and ``concurrency`` requests at once, fewer while
    the provider is busy or the ``budget`` is used up. Replies are ordered by ``index`` and checked for
    count, dimensions and finite values; vectors have unit length. A batch that is refused, or keeps
    failing where others succeed, is halved until the text at fault stands alone; that one is refused. Where
    the server does not heed ``dimensions``, vectors of a model that was trained for it are cut here.
    """

    def __init__(
        self,
        client: FireworksClient,
        model: str,
        *,
        dimensions: int | None = None,
        batch_size: int = 64,
        batch_tokens: int = 65_536,
        concurrency: int = 8,
        budget: Budget | None = None,
    ) -> None:
        check_dimensions(model, dimensions)
        self.model = model
        self.dimensions = dimensions
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self.usage = EmbeddingUsage()
        self._client = client
        self._concurrency = concurrency
        self._pace = Pace(concurrency, budget)
        self._failed_in_a_row = 0
        # Where it was not asked for it is learned from the replies: one model has one length.
        self._length = dimensions
        self._seen: Counter[int] = Counter()
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

    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Embedded]:
        """Yield the vectors of each batch, in order, several requests ahead of the caller."""
        waiting: deque[Future[Embedded]] = deque()
        most = max(AHEAD * self._concurrency, AHEAD_TEXTS // self.batch_size)
        try:
            for batch in batches:
                waiting.append(self._client.loop.submit(self._embed(batch, self._document_prefix)))
                while waiting and (len(waiting) >= most or waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            _cancel(waiting)

    def embed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question."""
        vector: list[float] = self._client.loop.wait(self._ask([self._query_prefix + text], confirm=False))[0].tolist()
        return vector

    async def aembed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question, from any event loop."""
        vectors = await self._client.loop.join(self._ask([self._query_prefix + text], confirm=False))
        vector: list[float] = vectors[0].tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit-length vector for each document, in order, from any event loop.

        Raises a ``ModelError`` when one of them is refused.
        """
        starts = range(0, len(texts), self.batch_size)
        batches = (self._embed(texts[s : s + self.batch_size], self._document_prefix) for s in starts)
        futures = [self._client.loop.submit(batch) for batch in batches]
        try:
            batches_done = [await asyncio.wrap_future(future) for future in futures]
        finally:
            _cancel(futures)
        return [vector for embedded in batches_done for vector in as_lists(embedded)]

    async def _embed(self, texts: Sequence[str], prefix: str) -> Embedded:
        """Embed texts in one request, or in halves where they fail together; one that fails alone is refused."""
        try:
            vectors = await self._ask([prefix + text for text in texts])
        except (InvalidRequestError, BadReplyError, RetryLaterError) as error:
            if not _may_be_a_texts_fault(error) or not texts:
                raise
            if len(texts) == 1:
                return self._refuse(error)
        else:
            self._failed_in_a_row = 0
            return Embedded(list(vectors))
        # One after the other: where a text is at fault, nothing is asked for after it in vain.
        middle = len(texts) // 2
        first = await self._embed(texts[:middle], prefix)
        return first.join(await self._embed(texts[middle:], prefix))

    def _refuse(self, error: ModelError) -> Embedded:
        """Refuse a text that failed alone, unless that is the provider's fault more likely than the text's."""
        self._failed_in_a_row += 1
        said_so = isinstance(error, InvalidRequestError) and self.usage.texts
        if self._failed_in_a_row > MOST_IN_A_ROW and not said_so:
            raise error
        return Embedded([None], {0: error})

    async def _ask(self, texts: list[str], *, confirm: bool = True) -> Vectors:
        """Send one request; a reply that does not hold the vectors asked for is asked for again."""
        body: dict[str, Any] = {"model": self.model, "input": texts}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        size = sum(len(text.encode("utf-8", "replace")) for text in texts) // BYTES_PER_TOKEN
        slots, budget = self._pace.slots(size), self._pace.budget
        for attempt in count(1):
            try:
                reply = await self._client.post("/embeddings", body, slots, budget.hear)
                vectors = self._read(reply, len(texts), confirm=confirm)
            except BadReplyError:
                if attempt >= READ_ATTEMPTS:
                    raise
            else:
                budget.settle(size, _billed_tokens(reply) or size)
                return vectors
        raise AssertionError  # The loop ends in a return or an exception.

    def _read(self, reply: Any, expected: int, *, confirm: bool) -> Vectors:
        self.usage.requests += 1
        vectors = unit_vectors(self._shorten(read_vectors(reply, expected)), expected, self._length)
        if self._length is None:
            self._length = self._learn_length(vectors.shape[1], confirm=confirm)
        self.usage.texts += expected
        tokens = _billed_tokens(reply)
        self.usage.tokens += tokens
        count_tokens("embedding", tokens)
        return vectors

    def _shorten(self, vectors: Vectors) -> Vectors:
        """Cut the vectors of a server that does not heed ``dimensions``; who calls this scales them again.

        The front alone, as servers do that heed it: so it makes no difference which of them answers.
        """
        length = vectors.shape[1]
        if self.dimensions is None or length <= self.dimensions:
            return vectors
        self._seen[length] += 1
        if length != known_length(self.model) and self._seen[length] < 2:
            return vectors
        if not can_be_cut(self.model):
            raise InvalidRequestError(
                f"the server gives vectors of length {length} where {self.dimensions} were asked for, and {self.model} "
                "is not known to be trained for being cut: unset RAG_EMBEDDING_DIMENSIONS, or take another model",
                status=422,
            )
        return vectors[:, : self.dimensions]

    def _learn_length(self, length: int, *, confirm: bool) -> int | None:
        """Return a length that is the model's own: it is known, or two replies agree. One alone may be wrong."""
        self._seen[length] += 1
        if length == known_length(self.model) or self._seen[length] > 1:
            return length
        if confirm:
            raise BadReplyError(f"vectors of length {length} came once only")
        return None


def _may_be_a_texts_fault(error: ModelError) -> bool:
    """Return whether fewer texts might fare better: refused, or an error that this input provokes each time."""
    if isinstance(error, InvalidRequestError):
        return error.status in {400, 413}
    return isinstance(error, BadReplyError) or (isinstance(error, RetryLaterError) and error.status == 500)


def _cancel(futures: Reversible[Future[Embedded]]) -> None:
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

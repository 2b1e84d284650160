"""Embed in a pool of processes of the cluster: whoever has least to do gets the next batch."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from rag_chain.cluster.budget import SharedBudget
from rag_chain.cluster.connection import find_actor
from rag_chain.cluster.stages import give_up, raise_own
from rag_chain.errors import ModelError
from rag_chain.models.embedding import Embedded, EmbeddingModel, EmbeddingUsage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rag_chain.cluster.stages import Actor, Reference, Stages
    from rag_chain.models.embedding import Vectors

# Batches under way and answered ones that wait for an older one, for each that the pool works on at once.
AHEAD = 4
# Batches that go to a process together, since every call takes several milliseconds of a core; but no more than half
# of what that one works on at once.
CALL_BATCHES = 4
# How soon one that waits notices that it is to stop.
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Vectored:
    """A batch's vectors in one array, and why some texts have none."""

    vectors: Vectors
    refused: Mapping[int, ModelError]

    @classmethod
    def pack(cls, embedded: Embedded) -> Vectored:
        """Put the vectors into one array, which is sent in one piece."""
        rows = [vector for vector in embedded.vectors if vector is not None]
        return cls(np.stack(rows) if rows else np.empty((0, 0), np.float32), embedded.refused)

    def unpack(self) -> Embedded:
        """Return the vectors one by one."""
        rows = iter(self.vectors)
        count = len(self.vectors) + len(self.refused)
        return Embedded([None if number in self.refused else next(rows) for number in range(count)], self.refused)


@dataclass(frozen=True)
class Reply:
    """The batches that were embedded, what that failed at, and what was spent since this process last told."""

    batches: list[Vectored]
    failure: ModelError | None
    spent: EmbeddingUsage


class Embedder:
    """The process that embeds: one model, which sends within its own pace and the budget of all."""

    def __init__(self, stages: Stages, keeper: str) -> None:
        self._stages = stages
        self._keeper = keeper
        self._model: EmbeddingModel | None = None
        self._told = EmbeddingUsage()
        self._turn = threading.Lock()

    def embed(self, batches: Sequence[Sequence[str]]) -> Reply:
        """Return the vectors of some batches of documents, up to the first that fails."""
        model = self._build()
        done: list[Vectored] = []
        try:
            done.extend(map(Vectored.pack, model.embed_batches(batches)))
        except ModelError as error:
            return Reply(done, error, self._tell(model))
        return Reply(done, None, self._tell(model))

    def _build(self) -> EmbeddingModel:
        """Return the model, built by the first call: what fails then is told to the caller."""
        with self._turn:
            self._model = self._model or self._stages.build_embeddings(SharedBudget(find_actor(self._keeper)))
            return self._model

    def _tell(self, model: EmbeddingModel) -> EmbeddingUsage:
        """Return what was spent since this was last called, by whichever of the batches that run side by side."""
        with self._turn:
            now, before = replace(model.usage), self._told
            self._told = now
        return EmbeddingUsage(now.requests - before.requests, now.texts - before.texts, now.tokens - before.tokens)


class PooledEmbeddings(EmbeddingModel):
    """An embedding model whose batches are embedded by a pool; questions are not its business.

    When ``stopped`` is set it raises a :class:`ModelError`, so that what is embedded gets written.
    """

    def __init__(self, pool: Sequence[Actor], stages: Stages, stopped: threading.Event) -> None:
        self.usage = EmbeddingUsage()
        self.batch_size = stages.batch_size
        self.batch_tokens = stages.batch_tokens
        self._pool = pool
        self._together = min(CALL_BATCHES, max(stages.lanes // 2, 1))
        self._most = AHEAD * stages.lanes * len(pool) // self._together
        self._busy: Counter[int] = Counter()
        self._stopped = stopped

    @property
    def identity(self) -> dict[str, str | int | None]:
        """Nothing: who writes a part of an ingest knows its collection already."""
        return {}

    def embed_query(self, text: str) -> list[float]:
        """Refuse."""
        raise NotImplementedError("the pool embeds documents")

    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Embedded]:
        """Yield the vectors of each batch, in order, many batches ahead of the caller."""
        left = iter(batches)
        waiting: deque[tuple[int, Reference]] = deque()
        try:
            while call := list(islice(left, self._together)):
                waiting.append(self._send(call))
                while waiting and (len(waiting) >= self._most or _is_done(waiting[0][1])):
                    yield from self._receive(*waiting.popleft())
            while waiting:
                yield from self._receive(*waiting.popleft())
        finally:
            _cancel([reference for _, reference in waiting])

    def _send(self, batches: list[Sequence[str]]) -> tuple[int, Reference]:
        number = min(range(len(self._pool)), key=self._busy.__getitem__)
        self._busy[number] += 1
        return number, self._pool[number].embed.remote(batches)

    def _receive(self, number: int, reference: Reference) -> Iterator[Embedded]:
        import ray

        try:
            while not ray.wait([reference], timeout=LOOK_SECONDS)[0]:
                self._look_up()
            reply: Reply = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise_own(error)
        except ray.exceptions.RayError as error:
            raise give_up("embeds", error) from error
        self._look_up()
        self._busy[number] -= 1
        self.usage.requests += reply.spent.requests
        self.usage.texts += reply.spent.texts
        self.usage.tokens += reply.spent.tokens
        for vectored in reply.batches:
            yield vectored.unpack()
        if reply.failure is not None:
            raise reply.failure

    def _look_up(self) -> None:
        if self._stopped.is_set():
            raise ModelError("the ingest was interrupted")


def _is_done(reference: Reference) -> bool:
    import ray

    return bool(ray.wait([reference], timeout=0)[0])


def _cancel(references: Sequence[Reference]) -> None:
    import ray

    for reference in references:
        ray.cancel(reference)

"""The processes of an ingest on a cluster, and who of them has which documents."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rag_chain.cluster.budget import BudgetKeeper
from rag_chain.cluster.connection import start_actor
from rag_chain.cluster.embedding import Embedder, PooledEmbeddings
from rag_chain.cluster.reading import TaskReader
from rag_chain.cluster.stages import Sent, give_up, raise_own
from rag_chain.cluster.writing import ParcelWriter
from rag_chain.ingestion.run import run_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_chain.cluster.connection import Cluster
    from rag_chain.cluster.stages import Parcel, Reference, Stages
    from rag_chain.ingestion.report import IngestReport
    from rag_chain.store.writing import CollectionWriter, Share

# Parcels that a writer works on at once, so that one is embedded while another is finished.
LANES = 2
# How often a parcel is begun.
TRIES = 4
# What Ray says of a process that is being started, how long that may take, and when to ask again, in seconds.
STARTING, START_SECONDS, PAUSE = "is restarting", 120.0, 0.5
# Groups of documents that are read ahead in a parcel, at most.
GROUPS_AHEAD = 8
# How long writers get to write what is embedded when the ingest breaks off.
STOP_SECONDS = 10.0


@contextmanager
def start_crew(cluster: Cluster, stages: Stages, target: CollectionWriter) -> Iterator[Crew]:
    """Start the processes of a job, and end them in any case."""
    crew = Crew(cluster, stages, target)
    try:
        yield crew
    finally:
        crew.stop()


class Crew:
    """One process that keeps the budget, some that embed, and some that write."""

    def __init__(self, cluster: Cluster, stages: Stages, target: CollectionWriter) -> None:
        job, ahead = uuid.uuid4().hex, max(min(cluster.cores, GROUPS_AHEAD), 2)
        self._stages = stages
        self._target = target
        self._reader = TaskReader(stages.build_readers, job, ahead)
        keeper, pool = f"{job} budget", [f"{job} embedder {number}" for number, _ in enumerate(cluster.places)]
        self._keeper = start_actor(keeper, BudgetKeeper, stages.limits)
        self._pool = [
            start_actor(name, Embedder, stages, keeper, place=place, lanes=2 * stages.lanes)
            for name, place in zip(pool, cluster.places, strict=True)
        ]
        given = (stages, pool, job, ahead)
        self._writers = [
            start_actor(f"{job} writer {number}", ParcelWriter, *given, place=place, lanes=LANES + 1, retried=False)
            for number, place in enumerate(cluster.places)
        ]
        self._sent: dict[Reference, Sent] = {}

    def deliver(self, parcels: Iterator[Parcel], *, again: bool = False) -> Iterator[IngestReport]:
        """Have parcels ingested, and yield the reports on them as they come.

        Before there is a collection they are ingested here, one by one: the length of the first vectors tells how it
        is created. With ``again`` some of their chunks may be stored.
        """
        while True:
            while len(self._sent) < LANES * len(self._writers) and (parcel := next(parcels, None)) is not None:
                share = self._share(parcel)
                if share is None:
                    yield self._ingest_here(parcel)
                else:
                    self._send(Sent(parcel, share.again() if again else share, self._least_busy()))
            if not self._sent:
                return
            yield from self._receive()

    def stop(self) -> None:
        """End all processes; where something is under way, what is embedded gets written first."""
        import ray

        if self._sent:
            for writer in self._writers:
                writer.stop.remote()
            ray.wait(list(self._sent), num_returns=len(self._sent), timeout=STOP_SECONDS)
        for actor in (*self._writers, *self._pool, self._keeper):
            ray.kill(actor)

    def _share(self, parcel: Parcel) -> Share | None:
        works = parcel.plan.work
        return self._target.share(
            [work.source for work in works], [version for work in works for version in work.versions]
        )

    def _ingest_here(self, parcel: Parcel) -> IngestReport:
        return run_plan(
            parcel.plan,
            read=self._reader,
            text_of=self._stages.text_of,
            embeddings=PooledEmbeddings(self._pool, self._stages, threading.Event()),
            target=self._target.begin(),
        )

    def _least_busy(self) -> int:
        busy = Counter(sent.writer for sent in self._sent.values())
        return min(range(len(self._writers)), key=busy.__getitem__)

    def _send(self, sent: Sent) -> None:
        self._sent[self._writers[sent.writer].ingest.remote(sent.parcel, sent.share)] = sent

    def _receive(self) -> Iterator[IngestReport]:
        """Wait for the next report and yield it, or send its parcel again."""
        import ray

        done, _ = ray.wait(list(self._sent), num_returns=1)
        sent = self._sent.pop(done[0])
        try:
            yield ray.get(done[0])
        except ray.exceptions.RayTaskError as error:
            raise_own(error)
        except ray.exceptions.RayError as error:
            self._send_again(sent, error)

    def _send_again(self, sent: Sent, error: Exception) -> None:
        """Send a parcel to the same writer, which is another process now, or is about to be.

        While that one is being started it refuses everything, and on a busy machine for long: those are no tries.
        """
        if STARTING in str(error) and sent.waits * PAUSE < START_SECONDS:
            time.sleep(PAUSE)
            self._send(replace(sent, share=sent.share.again(), waits=sent.waits + 1))
        elif sent.tries < TRIES:
            self._send(replace(sent, share=sent.share.again(), tries=sent.tries + 1))
        else:
            raise give_up("writes", error) from error

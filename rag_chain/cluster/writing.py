"""Write in processes of the cluster: each ingests whole documents of its own, as the local engine would."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

import rag_chain
from rag_chain.cluster.connection import find_actor
from rag_chain.cluster.embedding import PooledEmbeddings
from rag_chain.cluster.reading import TaskReader
from rag_chain.errors import ClusterError
from rag_chain.ingestion.run import run_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_chain.cluster.stages import Parcel, Stages
    from rag_chain.ingestion.report import IngestReport
    from rag_chain.store.writing import Share


class ParcelWriter:
    """The process that ingests parcels: it has documents read, has them embedded, and writes them.

    A parcel comes to the same process again when it broke off, so that no document ever has two writers.
    """

    def __init__(self, stages: Stages, pool: Sequence[str], job: str, ahead: int) -> None:
        self._stages = stages
        self._pool = [find_actor(name) for name in pool]
        self._read = TaskReader(stages.build_readers, job, ahead)
        self._stopped = threading.Event()
        self._turns: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def ingest(self, parcel: Parcel, share: Share) -> IngestReport:
        """Ingest the parcel's documents into the collection, and return the report on them."""
        if self._stages.version != rag_chain.__version__:
            raise ClusterError(
                f"a node has rag-chain {rag_chain.__version__}, the ingest {self._stages.version}: "
                "install the same everywhere"
            )
        # Ray may lose sight of a call that goes on.
        with self._turns[parcel.number]:
            return run_plan(
                parcel.plan,
                read=self._read,
                text_of=self._stages.text_of,
                embeddings=PooledEmbeddings(self._pool, self._stages, self._stopped),
                target=self._stages.open_share(share),
            )

    def stop(self) -> None:
        """Have the parcels write what is embedded and break off."""
        self._stopped.set()

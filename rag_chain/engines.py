"""Where the work of an ingest is done: in this process and its helpers, or on a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.documents import Document
    from langchain_text_splitters import TextSplitter

    from rag_chain.cluster.stages import Stages
    from rag_chain.ingestion.plan import Plan, Work
    from rag_chain.ingestion.reading import Reading
    from rag_chain.ingestion.report import IngestReport
    from rag_chain.ingestion.run import Progress
    from rag_chain.ingestion.writing import Target
    from rag_chain.models.embedding import EmbeddingModel
    from rag_chain.settings import Settings
    from rag_chain.store.collection import Store
    from rag_chain.store.writing import CollectionWriter, Share
    from rag_chain.workers import Workers


@dataclass(frozen=True)
class Job:
    """What an ingest works with: the plan, who reads what it names, and where that goes."""

    settings: Settings
    embeddings: EmbeddingModel
    store: Store
    writer: CollectionWriter
    plan: Plan
    readers: Workers[Work, Reading]
    text_of: Callable[[Document], str]
    splitter: TextSplitter | None = None


def run_here(job: Job, on_progress: Callable[[Progress], None]) -> IngestReport:
    """Do what the plan says in this process, with readers beside it."""
    from rag_chain.ingestion.run import run_plan

    return run_plan(
        job.plan,
        read=job.readers.map,
        text_of=job.text_of,
        embeddings=job.embeddings,
        target=job.writer,
        on_progress=on_progress,
    )


def run_on_ray(job: Job, address: str | None, on_progress: Callable[[Progress], None]) -> IngestReport:
    """Do what the plan says on a Ray cluster, with the same outcome."""
    from rag_chain.cluster.connection import open_cluster
    from rag_chain.cluster.run import run_plan_on_cluster

    with open_cluster(address) as cluster:
        cluster.check_reach(on_lite=job.settings.is_milvus_lite)
        stages = _describe_stages(job)
        return run_plan_on_cluster(job.plan, cluster, stages=stages, target=job.writer, on_progress=on_progress)


def build_readers(settings: Settings, splitter: TextSplitter | None = None) -> Workers[Work, Reading]:
    """Return what loads and splits documents, in processes of their own where that is worth it or safer."""
    from rag_chain.documents import build_options, build_splitter, build_workers
    from rag_chain.documents.loading import load_file
    from rag_chain.ingestion.reading import Steps, read_document, refuse_reading
    from rag_chain.store.rows import add_terms

    load = partial(load_file, options=build_options(settings))
    split = partial(add_terms, split=build_splitter(settings, splitter).iterate_chunks, language=settings.language)
    steps = Steps(load, split)
    return build_workers(partial(read_document, steps=steps), refuse_reading, settings)


def _describe_stages(job: Job) -> Stages:
    """Return how the processes of a cluster build their parts of the same ingest."""
    from rag_chain import __version__
    from rag_chain.cluster.stages import Stages
    from rag_chain.models.building import build_embedding_client
    from rag_chain.models.fireworks.budget import Limits

    # They have other working folders.
    settings = job.settings.with_absolute_paths()
    return Stages(
        version=__version__,
        build_readers=partial(build_readers, settings, job.splitter),
        build_embeddings=partial(build_embedding_client, settings),
        open_share=partial(_open_share, settings),
        text_of=job.text_of,
        # A model on a machine's own cores is not quicker for two batches at once.
        lanes=1 if settings.resolved_provider == "local" else settings.embedding_concurrency,
        batch_size=job.embeddings.batch_size,
        batch_tokens=job.embeddings.batch_tokens,
        limits=Limits(settings.embedding_requests_per_minute, settings.embedding_tokens_per_minute),
    )


def _open_share(settings: Settings, share: Share) -> Target:
    from rag_chain.store.collection import open_store
    from rag_chain.store.writing import SharedCollection

    # Hosted, so that this process never takes the path itself.
    return SharedCollection(open_store(settings, name=share.collection, hosted=True), share)

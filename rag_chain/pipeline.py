"""The whole flow on one screen: documents into the store, questions out of it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from rag_chain.errors import SettingsError
from rag_chain.settings import Engine, Settings, prepare_ray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool
    from langchain_text_splitters import TextSplitter

    from rag_chain.answering.types import Question
    from rag_chain.documents import Findings
    from rag_chain.documents.finding.given import Given
    from rag_chain.engines import Job
    from rag_chain.ingestion.report import IngestReport
    from rag_chain.ingestion.run import Progress
    from rag_chain.models.embedding import EmbeddingModel
    from rag_chain.retrieval.bm25 import Bm25Retriever
    from rag_chain.retrieval.dense import DenseRetriever
    from rag_chain.retrieval.hybrid import HybridRetriever
    from rag_chain.retrieval.refined import RefinedRetriever
    from rag_chain.store.chunk_index import ChunkIndex
    from rag_chain.store.fingerprint import Fingerprint
    from rag_chain.store.vectorstore import ChunkStore


def ingest(
    paths: Given,
    settings: Settings | None = None,
    *,
    glob: str | Sequence[str] = (),
    rebuild: bool = False,
    keep_old: bool = False,
    prune: bool = True,
    bulk: str | None = None,
    engine: Engine = "local",
    ray_address: str | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    embeddings: Embeddings | None = None,
    loader_name: str | None = None,
    source_key: str | None = None,
    splitter: TextSplitter | None = None,
) -> IngestReport:
    """Bring the collection in step with the documents at the given places.

    ``paths`` are files, folders, glob patterns, archives and web addresses, LangChain loaders and ``Document``s,
    one or many, mixed. A loader's documents are looked after as files are; ``loader_name`` tells it from others
    of its class, and ``source_key`` is the metadata that names a document, see docs/loaders.md. ``splitter`` is
    any of LangChain's in the place of ours.

    New and changed documents are loaded, split, embedded and written; unchanged ones cost
    nothing; those gone from the same places are removed, unless ``prune`` is False or ``glob``
    narrows what is looked at. ``rebuild`` makes a new collection and puts it in the old one's
    place when it is complete; with ``keep_old`` the old one stays in Milvus beside it, until a
    rebuild without ``keep_old`` drops all older ones. With ``bulk``, such as ``s3://bucket/prefix``,
    the chunks of a rebuild go to files there, which a Milvus server imports from its own object store
    at the end. Documents that can't be read are in ``report.refused``; ``report.differences`` says
    where the documents came out otherwise than they were planned. ``engine="ray"`` has documents
    read, embedded and written by a Ray cluster, whose nodes must see the same files: the one at
    ``ray_address``, or one that is started on this machine for as long. ``embeddings`` is any LangChain
    ``Embeddings`` to use in place of the settings' model, with the local engine.
    Raises a :class:`~rag_chain.errors.RagChainError` when nothing could be done.
    """
    from rag_chain.documents import find_documents

    settings = settings or Settings()
    with find_documents(paths, settings, glob=glob, loader_name=loader_name, source_key=source_key) as found:
        return ingest_found(
            found,
            settings,
            rebuild=rebuild,
            keep_old=keep_old,
            prune=prune and not glob,
            bulk=bulk,
            engine=engine,
            ray_address=ray_address,
            on_progress=on_progress,
            embeddings=embeddings,
            splitter=splitter,
        )


def ingest_found(
    found: Findings,
    settings: Settings,
    *,
    rebuild: bool = False,
    keep_old: bool = False,
    prune: bool = True,
    bulk: str | None = None,
    engine: Engine = "local",
    ray_address: str | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    embeddings: Embeddings | None = None,
    splitter: TextSplitter | None = None,
) -> IngestReport:
    """Bring the collection in step with documents that were found already, see :func:`ingest`."""
    from rag_chain.engines import run_here, run_on_ray
    from rag_chain.models.building import price_embedding

    started = monotonic()
    if engine == "ray":
        _refuse_embeddings(embeddings)
        ray_address = prepare_ray(ray_address)
    choices: dict[str, Any] = {"rebuild": rebuild, "keep_old": keep_old, "prune": prune}
    options: dict[str, Any] = {"bulk": bulk, "engine": engine, "embeddings": embeddings, "splitter": splitter}
    with _open_job(found, settings, **choices, writing=True, **options) as job:
        if engine == "ray" and job.plan.work:
            report = run_on_ray(job, ray_address, on_progress)
        else:
            report = run_here(job, on_progress)
        report.chunks_total = job.store.count() if job.store.exists() else 0
    report.dollars = price_embedding(job.settings, report.tokens, embeddings)
    report.seconds = monotonic() - started
    return report


def plan_ingest(
    paths: Given,
    settings: Settings | None = None,
    *,
    glob: str | Sequence[str] = (),
    rebuild: bool = False,
    prune: bool = True,
    embeddings: Embeddings | None = None,
    loader_name: str | None = None,
    source_key: str | None = None,
    splitter: TextSplitter | None = None,
) -> IngestReport:
    """Return what :func:`ingest` would do, cost and take, without asking a model and without writing.

    ``report.minutes`` is reckoned from the limits in the settings, ``report.limited_by`` names the one that counts.
    """
    from rag_chain.documents import find_documents
    from rag_chain.ingestion.preview import preview_plan
    from rag_chain.models.building import price_embedding
    from rag_chain.models.tokens import count_tokens

    started = monotonic()
    settings = settings or Settings()
    prune = prune and not glob
    with (
        find_documents(paths, settings, glob=glob, loader_name=loader_name, source_key=source_key) as found,
        _open_job(
            found, settings, rebuild=rebuild, prune=prune, writing=False, embeddings=embeddings, splitter=splitter
        ) as job,
    ):
        report = preview_plan(
            job.plan,
            read=job.readers.map,
            text_of=job.text_of,
            held=job.writer.held,
            count_tokens=lambda texts: sum(count_tokens(texts)),
            batch_size=job.embeddings.batch_size,
        )
    if embeddings is None:
        _add_estimate(report, job.settings)
    report.dollars = price_embedding(job.settings, report.tokens, embeddings)
    report.seconds = monotonic() - started
    return report


def open_vector_store(settings: Settings | None = None, *, embeddings: Embeddings | None = None) -> ChunkStore:
    """Connect to the collection and return it as LangChain's vector store for Milvus, for reading.

    ``as_retriever()``, all searches, sync and async, and ``get_by_ids`` work as LangChain has them; ``filter`` is a
    mapping, as in a ``Question``. Writing is refused: that is what :func:`ingest` is for. The connection is open until
    :meth:`close`, the end of a ``with``, or as long as the store lives.
    Raises :class:`~rag_chain.errors.EmptyStoreError` when nothing has been ingested yet, and
    :class:`~rag_chain.errors.FingerprintError` when that was done with another model.
    """
    settings = settings or Settings()
    return _index_chunks(settings, _choose_embeddings(settings, embeddings)).open()


def build_retriever(settings: Settings | None = None, *, embeddings: Embeddings | None = None) -> BaseRetriever:
    """Return the LangChain retriever over the collection; it connects when it is first asked.

    ``embeddings`` is any LangChain ``Embeddings`` in place of the settings' model, the one that was ingested with.
    """
    settings = settings or Settings()
    return build_refined_retriever(settings, _choose_embeddings(settings, embeddings))


def build_retriever_tool(settings: Settings | None = None, *, embeddings: Embeddings | None = None) -> BaseTool:
    """Return the retriever as the tool ``search_documents``, for an agent that searches when it wants to.

    Its content is the numbered sources as text, its artifact the LangChain Documents.
    """
    from rag_chain.answering.searching import build_search_tool

    return build_search_tool(build_retriever(settings, embeddings=embeddings))


def build_chain(
    settings: Settings | None = None,
    *,
    retriever: Runnable[str, list[Document]] | None = None,
    chat_model: Runnable[LanguageModelInput, Any] | None = None,
    prompt: ChatPromptTemplate | None = None,
    embeddings: Embeddings | None = None,
) -> Runnable[str | Question | Mapping[str, Any], dict[str, Any]]:
    """Return the chain from a question to a cited answer.

    Any LangChain retriever, chat model or prompt with ``{context}`` and ``{question}`` can be put in
    place of ours, and any LangChain ``Embeddings``, the one that was ingested with; chains can share one. Input is a
    text or a ``Question``; output is a mapping with the keys of ``Answer``. It connects when it is first asked.
    """
    from rag_chain.answering.chain import build_answer_chain
    from rag_chain.models.building import build_chat_model

    settings = settings or Settings()
    model = _choose_embeddings(settings, embeddings)
    return build_answer_chain(
        retriever or build_refined_retriever(settings, model),
        chat_model or build_chat_model(settings, model),
        prompt=prompt,
        mode=settings.mode,
        context_tokens=settings.context_tokens,
        embeddings=model,
    )


def make_fingerprint(
    settings: Settings, embeddings: EmbeddingModel, splitter: TextSplitter | None = None
) -> Fingerprint:
    """Return everything that the rows of a collection depend on."""
    from rag_chain.documents import describe_splitter
    from rag_chain.store.schema import SCHEMA_VERSION
    from rag_chain.store.terms import TERMS_VERSION

    splitting = describe_splitter(settings, splitter)
    terms = f"{TERMS_VERSION}/{settings.language}"
    return {"schema": SCHEMA_VERSION, "splitter": splitting, "terms": terms, **embeddings.identity}


@contextmanager
def _open_job(
    found: Findings,
    settings: Settings,
    *,
    rebuild: bool,
    prune: bool,
    writing: bool,
    keep_old: bool = False,
    bulk: str | None = None,
    engine: Engine = "local",
    embeddings: Embeddings | None = None,
    splitter: TextSplitter | None = None,
) -> Iterator[Job]:
    """Connect to the store and compare the documents with what it holds."""
    from rag_chain.documents import warm_up
    from rag_chain.documents.splitting import text_to_embed
    from rag_chain.engines import Job, build_readers
    from rag_chain.ingestion.plan import make_plan
    from rag_chain.models.building import build_embedding_client, choose_embeddings
    from rag_chain.store.auditing import find_incomplete
    from rag_chain.store.bulk_writing import build_writer, read_rebuild
    from rag_chain.store.collection import open_store
    from rag_chain.workers import WORTH_BYTES

    model = choose_embeddings(settings, embeddings, build_embedding_client)
    fingerprint = make_fingerprint(settings, model, splitter)
    way = None if bulk is None else read_rebuild(settings, bulk, rebuild=rebuild, engine=engine)
    with ExitStack() as stack:
        much = found.gather() >= WORTH_BYTES
        readers = stack.enter_context(build_readers(settings, splitter))
        if much and engine == "local":
            readers.start()
        store = stack.enter_context(open_store(settings, hosted=much and writing, meanwhile=warm_up))
        if writing:
            stack.enter_context(store.take_turn())
        exists = store.exists()
        if exists:
            store.open_for(None if rebuild else fingerprint, writing=True)
        held = store.catalogue() if exists else {}
        incomplete = find_incomplete(store, held) if held and not rebuild else set()
        plan = make_plan(found, held, prune=prune, rebuild=rebuild, incomplete=incomplete)
        writer = build_writer(store, fingerprint, way, rebuild=rebuild, keep_old=keep_old, catalogue=held)
        yield Job(settings, model, store, writer, plan, readers, text_to_embed, splitter)


def _refuse_embeddings(embeddings: Embeddings | None) -> None:
    if embeddings is not None:
        raise SettingsError(
            "embeddings: the processes of a Ray cluster build their model from the settings: "
            "leave embeddings out, or engine='ray'"
        )


def _choose_embeddings(settings: Settings, given: Embeddings | None) -> EmbeddingModel:
    from rag_chain.models.building import choose_embeddings

    return choose_embeddings(settings, given)


def _add_estimate(report: IngestReport, settings: Settings) -> None:
    """Put in how long the embedding takes; a local model is sent no requests."""
    from rag_chain.ingestion.estimate import estimate_embedding

    if settings.resolved_provider == "local":
        report.requests = 0
    estimate = estimate_embedding(
        chunks=report.chunks_embedded,
        requests=report.requests,
        tokens=report.tokens,
        provider=settings.resolved_provider,
        requests_per_minute=settings.embedding_requests_per_minute,
        tokens_per_minute=settings.embedding_tokens_per_minute,
    )
    report.minutes, report.limited_by = estimate.minutes, estimate.limited_by


def build_search(
    settings: Settings, embeddings: EmbeddingModel, *, lazy: bool = False
) -> DenseRetriever | Bm25Retriever | HybridRetriever:
    """Return the search that the settings name, whose results nothing has been done to yet."""
    from rag_chain.retrieval.bm25 import Bm25Retriever
    from rag_chain.retrieval.dense import DenseRetriever
    from rag_chain.retrieval.hybrid import HybridRetriever

    index = _index_chunks(settings, embeddings)
    if settings.retriever == "dense":
        return DenseRetriever(embeddings=embeddings, index=index, k=settings.top_k)
    if settings.retriever == "bm25":
        return Bm25Retriever(index=index, k=settings.top_k)
    return HybridRetriever(
        embeddings=embeddings,
        index=index,
        k=settings.top_k,
        depth=settings.search_depth,
        dense_weight=settings.dense_weight,
        lazy=lazy,
    )


def _index_chunks(settings: Settings, embeddings: EmbeddingModel) -> ChunkIndex:
    from rag_chain.store.chunk_index import ChunkIndex
    from rag_chain.store.collection import open_store

    return ChunkIndex(partial(open_store, settings), make_fingerprint(settings, embeddings), embeddings)


def build_refined_retriever(settings: Settings, embeddings: EmbeddingModel) -> RefinedRetriever:
    """Return search -> rerank -> without duplicates -> diverse -> neighbours merged -> floor."""
    from rag_chain.models.building import build_reranker
    from rag_chain.retrieval.refined import RefinedRetriever
    from rag_chain.retrieval.refining import Diversity, DuplicateFilter, Floor, NeighbourMerger, Reranking

    search, reranker = build_search(settings, embeddings, lazy=True), build_reranker(settings)
    floor = embeddings.floor if settings.floor is None else settings.floor
    steps: list[BaseDocumentCompressor] = [
        *([Reranking(reranker=reranker, floor=settings.rerank_floor)] if reranker else []),
        DuplicateFilter(),
        *([] if settings.diversity is None else [Diversity(index=search.index, balance=1 - settings.diversity)]),
        NeighbourMerger(),
        Floor(floor=floor, embeddings=embeddings),
    ]
    return RefinedRetriever(search=search, steps=steps, candidates=settings.candidates, k=settings.top_k)

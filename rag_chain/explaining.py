"""Show how a question's sources were found: what each stage kept and dropped, and where a document fell out."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from rag_chain.answering.packing import number_sources, pack_sources
from rag_chain.models.building import build_embedding_client
from rag_chain.pipeline import build_refined_retriever
from rag_chain.retrieval.refining import Diversity, DuplicateFilter, Floor, NeighbourMerger, Reranking
from rag_chain.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.documents import Document

# How far the search looks for a document that is asked after.
DEPTH = 1000
# What is said of each step: its name, and why it drops a chunk.
STEPS = {
    Reranking: ("rerank", "the rerank model scores it under RAG_RERANK_FLOOR"),
    Floor: ("floor", "its cosine is under the floor, RAG_FLOOR"),
    DuplicateFilter: ("duplicates", "a better chunk says the same, or there are three times RAG_TOP_K better ones"),
    Diversity: ("diversity", "others are as near, or nearer and less alike"),
    NeighbourMerger: ("merge neighbours", "RAG_TOP_K better sources are enough"),
}
SHOWN = ("score", "dense_rank", "bm25", "bm25_rank", "fused", "rerank_score")


def explain(
    question: str,
    settings: Settings | None = None,
    *,
    document: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002  as in a question
) -> dict[str, Any]:
    """Return ``stages``, each with the chunks that it ``kept`` and ``dropped`` and why.

    ``document`` is a source, or a pattern of one; then ``document`` in the result says at which stage its
    best chunk fell out, or that it is among the sources. No chat model is asked.
    """
    settings = settings or Settings()
    retriever = build_refined_retriever(settings, build_embedding_client(settings))
    options: dict[str, Any] = {"filter": filter} if filter else {}
    deep = retriever.search.invoke(question, k=DEPTH if document else retriever.candidates, **options)
    found = (
        deep
        if len(deep) <= retriever.candidates
        else retriever.search.invoke(question, k=retriever.candidates, **options)
    )
    stages = [_stage("search", found, [], "")]
    for step in retriever.steps_for(settings.top_k):
        retriever.complete_for(step, question, found)
        kept = list(step.compress_documents(found, question))
        name, why = STEPS[type(step)]
        stages.append(_stage(name, kept, _missing(found, kept), why))
        found = kept
    sources = pack_sources(number_sources(found[: settings.top_k]), (), settings.context_tokens)
    stages.append(_stage("budget", found[: len(sources)], found[len(sources) :], "RAG_CONTEXT_TOKENS is used up"))
    result: dict[str, Any] = {"question": question, "retriever": settings.retriever, "stages": stages}
    if document is not None:
        result["document"] = _trace(document, deep, stages, retriever.candidates)
    return result


def _stage(name: str, kept: Sequence[Document], dropped: Sequence[Document], why: str) -> dict[str, Any]:
    return {
        "stage": name,
        "kept": [_describe(chunk) for chunk in kept],
        "dropped": [{**_describe(chunk), "why": why} for chunk in dropped],
    }


def _describe(chunk: Document) -> dict[str, Any]:
    known = chunk.metadata
    scores = {name: known[name] for name in SHOWN if name in known}
    place = {name: known.get(name) for name in ("id", "source", "heading", "position", "start", "end")}
    return {**place, **scores, "merged": known.get("merged", [])}


def _missing(before: Sequence[Document], after: Sequence[Document]) -> list[Document]:
    """Return what is not there any more, neither alone nor as a part of a merged chunk."""
    left = {number for chunk in after for number in (chunk.metadata["id"], *chunk.metadata.get("merged", ()))}
    return [chunk for chunk in before if chunk.metadata["id"] not in left]


def _trace(
    document: str, deep: Sequence[Document], stages: Sequence[Mapping[str, Any]], candidates: int
) -> dict[str, Any]:
    """Return where the document's chunks fell out: at the last stage that one of them reached."""
    ranked = [
        (rank, chunk) for rank, chunk in enumerate(deep, start=1) if fnmatchcase(chunk.metadata["source"], document)
    ]
    if not ranked:
        why = f"none of its chunks is among the {DEPTH} nearest by vector or by words, or it is not in the collection"
        return {"document": document, "fell_out": "search", "why": why}
    rank, best = ranked[0]
    about = {"document": document, "rank": rank, **_describe(best)}
    if not _kept(stages[0], document):
        why = f"its best chunk is number {rank} of the search, and {candidates} are looked at (RAG_CANDIDATES)"
        return {**about, "fell_out": "search", "why": why}
    for stage in stages[1:]:
        if not _kept(stage, document):
            gone = next(chunk for chunk in stage["dropped"] if fnmatchcase(chunk["source"], document))
            return {**about, "fell_out": stage["stage"], "why": gone["why"]}
    return {**about, "fell_out": None, "why": "it is among the sources"}


def _kept(stage: Mapping[str, Any], document: str) -> bool:
    return any(fnmatchcase(chunk["source"], document) for chunk in stage["kept"])

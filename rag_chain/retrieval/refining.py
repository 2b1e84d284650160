"""What is done to the chunks that a search found: LangChain document compressors, each usable alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings  # noqa: TC002  pydantic reads it
from pydantic import ConfigDict

from rag_chain.retrieval.index import can_read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.callbacks import Callbacks

    from rag_chain.models.reranking import Reranker
    from rag_chain.retrieval.index import Index


class Reranking(BaseDocumentCompressor):
    """Orders chunks by a rerank model's score, kept in the metadata as ``rerank_score``.

    ``reranker`` is a :class:`~rag_chain.models.reranking.Reranker`; what scores below ``floor`` goes.
    """

    reranker: Any
    floor: float | None = None

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the chunks, best first."""
        reranker: Reranker = self.reranker
        return self._order(documents, reranker.score(query, [chunk.page_content for chunk in documents]))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the chunks, best first."""
        reranker: Reranker = self.reranker
        return self._order(documents, await reranker.ascore(query, [chunk.page_content for chunk in documents]))

    def _order(self, documents: Sequence[Document], scores: list[float]) -> list[Document]:
        ranked = sorted(zip(documents, scores, strict=True), key=lambda pair: -pair[1])
        for chunk, score in ranked:
            chunk.metadata["rerank_score"] = score
        return [chunk for chunk, score in ranked if self.floor is None or score >= self.floor]


class Floor(BaseDocumentCompressor):
    """Leaves out chunks whose raw cosine is below ``floor``: they are about something else.

    A question that the embedding model was not made to read has no cosine that means anything, and all
    chunks stay.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    floor: float
    embeddings: Embeddings | None = None

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the chunks that are near enough."""
        if not can_read(self.embeddings, query):
            return list(documents)
        return [chunk for chunk in documents if chunk.metadata.get("score", 1.0) >= self.floor]


class DuplicateFilter(BaseDocumentCompressor):
    """Leaves out chunks that say what a better one says already.

    Two chunks are near-duplicates when they share at least ``share`` of the shorter one's runs of three
    words; neighbours in a document, which overlap on purpose, are compared like any others. Where ``k`` sources
    are wanted it stops at three times as many, which is more than merging needs.
    """

    share: float = 0.8
    k: int | None = None

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the chunks without the later of two that are alike."""
        kept: list[tuple[Document, set[tuple[str, ...]]]] = []
        for chunk in documents:
            if self.k is not None and len(kept) == 3 * self.k:
                break
            runs = _runs(chunk.page_content)
            if not any(len(runs & held) >= self.share * min(len(runs), len(held)) for _, held in kept):
                kept.append((chunk, runs))
        return [chunk for chunk, _ in kept]


def _runs(text: str) -> set[tuple[str, ...]]:
    # Cut at blanks only, which is ten times as fast as looking for words and finds the same duplicates.
    words = text.lower().split()
    return set(zip(words, words[1:], words[2:], strict=False)) or {(word,) for word in words} or {("", text)}


class Diversity(BaseDocumentCompressor):
    """Orders chunks by maximal marginal relevance (Carbonell and Goldstein, 1998), and keeps ``k``.

    Each next chunk is the one with the most ``balance`` x its cosine to the question less
    ``1 - balance`` x its cosine to the nearest chunk before it. ``index`` gives their vectors.
    """

    index: Any
    balance: float = 0.7
    k: int = 5

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return ``k`` chunks that are near the question and far from each other."""
        index: Index = self.index
        found = index.vectors([chunk.metadata["id"] for chunk in documents]) if documents else {}
        chunks = [chunk for chunk in documents if chunk.metadata["id"] in found]
        if not chunks:
            return []
        vectors = np.stack([found[chunk.metadata["id"]] for chunk in chunks])
        relevance = np.array([chunk.metadata["score"] for chunk in chunks])
        return [chunks[number] for number in self._choose(relevance, vectors @ vectors.T)]

    def _choose(self, relevance: Any, likeness: Any) -> Iterator[int]:
        left = list(range(len(relevance)))
        nearest = np.full(len(relevance), -1.0)
        while left and len(relevance) - len(left) < self.k:
            redundancy = nearest if len(left) < len(relevance) else np.zeros(len(relevance))
            best = max(left, key=lambda n: self.balance * relevance[n] - (1 - self.balance) * redundancy[n])
            left.remove(best)
            nearest = np.maximum(nearest, likeness[best])
            yield best


class NeighbourMerger(BaseDocumentCompressor):
    """Merges chunks that follow each other in a section of a document into one; takes as many as make ``k`` sources.

    A merged chunk stands where the best of its parts stood and has its scores. Its text is the document's
    from the first part's start to the last one's end; between parts nothing but white space lies.
    """

    k: int = 5

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return at most ``k`` chunks."""
        groups: list[list[Document]] = []
        for chunk in documents:
            near = [group for group in groups if any(_are_neighbours(chunk, other) for other in group)]
            if near:
                near[0].append(chunk)
                for other in near[1:]:
                    near[0].extend(other)
                    groups.remove(other)
            elif len(groups) < self.k:
                groups.append([chunk])
            else:
                break
        return [_merge(group) for group in groups]


def _are_neighbours(one: Document, other: Document) -> bool:
    keys = ("source", "version", "heading")
    same = all(one.metadata.get(key) == other.metadata.get(key) for key in keys) and "position" in one.metadata
    # Of what a splitter has changed nobody knows how it overlaps.
    known = one.metadata.get("start", 0) >= 0 and other.metadata.get("start", 0) >= 0
    return same and known and abs(one.metadata["position"] - other.metadata.get("position", -9)) == 1


def _merge(group: list[Document]) -> Document:
    if len(group) == 1:
        return group[0]
    best, parts = group[0], sorted(group, key=lambda chunk: chunk.metadata["position"])
    text = parts[0].page_content
    start, end = parts[0].metadata["start"], parts[0].metadata["end"]
    for part in parts[1:]:
        # Parts overlap, or are apart by white space of which only the length is known.
        gap = part.metadata["start"] - end
        text += "\n" * gap + part.page_content if gap >= 0 else part.page_content[-gap:]
        end = part.metadata["end"]
    first = {key: parts[0].metadata[key] for key in ("page", "position") if key in parts[0].metadata}
    merged = [part.metadata["id"] for part in parts if "id" in part.metadata]
    return Document(text, id=best.id, metadata=best.metadata | first | {"start": start, "end": end, "merged": merged})

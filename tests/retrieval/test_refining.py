"""What is done to the chunks that a search found."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import BaseDocumentCompressor, Document

from rag_chain.documents.splitting import SectionSplitter
from rag_chain.retrieval.refining import Diversity, DuplicateFilter, Floor, NeighbourMerger, Reranking

if TYPE_CHECKING:
    from collections.abc import Sequence


class Lengths:
    """A reranker that likes long texts, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        self.asked.append((question, list(texts)))
        return [float(len(text)) for text in texts]

    async def ascore(self, question: str, texts: Sequence[str]) -> list[float]:
        return self.score(question, texts)


class Vectors:
    """An index that knows vectors only."""

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self._vectors = {name: np.array(vector, np.float32) for name, vector in vectors.items()}

    def vectors(self, ids: Sequence[str]) -> dict[str, Any]:
        return {name: self._vectors[name] for name in ids if name in self._vectors}


class LatinOnly:
    """What the floor asks an embedding model."""

    def reads(self, text: str) -> bool:
        return text.isascii()


def chunk(text: str, **metadata: Any) -> Document:
    return Document(text, metadata={"id": text, **metadata})


def texts(step: BaseDocumentCompressor, chunks: list[Document], question: str = "what?") -> list[str]:
    kept = step.compress_documents(chunks, question)
    assert [c.page_content for c in asyncio.run(step.acompress_documents(chunks, question))] == [
        c.page_content for c in kept
    ]
    return [c.page_content for c in kept]


def test_reranking_orders_and_cuts_off() -> None:
    """All chunks are scored against the question in one request; below the floor they go."""
    reranker = Lengths()
    assert texts(Reranking(reranker=reranker, floor=2), [chunk("a"), chunk("bbb"), chunk("cc")]) == ["bbb", "cc"]
    assert reranker.asked[0] == ("what?", ["a", "bbb", "cc"])


def test_the_floor_is_a_raw_cosine() -> None:
    """What is below it goes, what is at it stays."""
    chunks = [chunk("near", score=0.5), chunk("at", score=0.25), chunk("far", score=0.24)]
    assert texts(Floor(floor=0.25), chunks) == ["near", "at"]


def test_the_floor_knows_what_a_cosine_is_worth() -> None:
    """Of a question that the model can't read the cosines say nothing."""
    floor = Floor.model_construct(floor=0.25, embeddings=LatinOnly())
    assert texts(floor, [chunk("far", score=0.1)], "데이터는?") == ["far"]
    assert texts(floor, [chunk("far", score=0.1)], "data?") == []


def test_a_near_duplicate_is_left_out() -> None:
    """The better one stays, whatever their lengths; what only shares some words stays too."""
    first = "Milvus stores rows in sealed segments on object storage such as MinIO or S3"
    same = f"Note: {first}."
    other = "Milvus stores metadata in etcd, and rows in sealed segments"
    assert texts(DuplicateFilter(), [chunk(first), chunk(same), chunk(other)]) == [first, other]
    assert texts(DuplicateFilter(), [chunk(same), chunk(first), chunk(other)]) == [same, other]


@pytest.mark.parametrize("text", ["", "?", "word", "two words"])
def test_short_texts_are_duplicates_of_themselves_only(text: str) -> None:
    """Also texts with fewer than three words, or none."""
    assert texts(DuplicateFilter(), [chunk(text), chunk(text), chunk("another text here")]) == [
        text,
        "another text here",
    ]


def test_diversity_prefers_what_is_new() -> None:
    """Of two that are alike the second comes after one that is a little farther away; what has gone is left out."""
    index = Vectors({"a": [1, 0], "a2": [0.999, 0.045], "b": [0.6, 0.8]})
    chunks = [chunk("a", score=0.9), chunk("a2", score=0.89), chunk("b", score=0.7), chunk("gone", score=0.7)]
    assert texts(Diversity(index=index, balance=0.5, k=3), chunks) == ["a", "b", "a2"]
    assert texts(Diversity(index=index, balance=1.0, k=2), chunks) == ["a", "a2"]
    assert texts(Diversity(index=index), []) == []


def test_neighbours_become_one_source() -> None:
    """Chunks that follow each other in a section are merged where the best of them stood, and k sources remain."""

    def at(position: int, source: str = "a.md", heading: str = "One") -> Document:
        place = {"position": position, "start": position * 10, "end": position * 10 + 10}
        return chunk(f"{position:<10}", source=source, version="v", heading=heading, score=1 - position / 10, **place)

    found = NeighbourMerger(k=3).compress_documents(
        [at(3), at(7), at(4), at(5, "b.md"), at(2), at(9), at(8, heading="Two")], "what?"
    )
    assert [(c.metadata["start"], c.metadata["end"]) for c in found] == [(20, 50), (70, 80), (50, 60)]
    assert found[0].page_content == "2         3         4         "
    assert (found[0].metadata["score"], len(found[0].metadata["merged"])) == (0.7, 3)


@given(
    st.lists(st.sampled_from(["alpha ", "beta. ", "gamma\n\n", "delta, "]), min_size=30, max_size=120),
    st.integers(0, 30),
)
def test_a_merged_source_is_the_documents_text(words: list[str], overlap: int) -> None:
    """From its start to its end, up to the kind of white space between two chunks."""
    text = "".join(words)
    document = Document(text, metadata={"source": "a.txt", "title": "a"})
    chunks = list(SectionSplitter(40, overlap).iterate_chunks(document))
    for number, one in enumerate(chunks):
        one.metadata["id"] = str(number)
    (merged,) = NeighbourMerger(k=1).compress_documents(chunks, "what?")
    start, end = merged.metadata["start"], merged.metadata["end"]
    assert len(merged.page_content) == end - start
    assert merged.page_content.split() == text[start:end].split()

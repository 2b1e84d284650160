#!/usr/bin/env python3
"""Measure what rag_chain itself takes for a question, beside the embedding, Milvus' searches and the model.

A collection of ``--chunks`` chunks on Milvus Lite is asked ``--questions`` questions with an embedding model and a
chat model that answer at once. Each question is asked in three ways, one after the other:

bare        the same two searches of Milvus side by side, through pymilvus alone
retriever   build_retriever(): both searches, fusion, floor, duplicates, neighbours
chain       build_chain().stream() up to the first token

Own time is the difference, pair by pair.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from tables import describe_machine, write_machine, write_table

from rag_chain import Settings, build_chain
from rag_chain.models.embedding import Embedded, EmbeddingModel, EmbeddingUsage
from rag_chain.pipeline import build_refined_retriever, make_fingerprint
from rag_chain.store.collection import open_store
from rag_chain.store.schema import DENSE, OUTPUT_FIELDS, SPARSE, SPARSE_SEARCH
from rag_chain.store.terms import find_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rag_chain.retrieval.refined import RefinedRetriever

HERE = Path(__file__).parent
DIMENSIONS, WORDS_PER_CHUNK, VOCABULARY = 768, 120, 20_000


class InstantEmbeddings(EmbeddingModel):
    """Vectors that are there already: of a text the one that its first word numbers."""

    batch_size = 1000

    def __init__(self, vectors: Any) -> None:
        self.usage = EmbeddingUsage()
        self.vectors = vectors
        self.as_lists = vectors[:1000].tolist()

    @property
    def identity(self) -> dict[str, str | int | None]:
        """Nobody else's."""
        return {"model": "instant"}

    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Embedded]:
        """Look them up."""
        for batch in batches:
            yield Embedded([self.vectors[number_of(text)] for text in batch])

    def embed_query(self, text: str) -> list[float]:
        """Look it up."""
        vector: list[float] = self.as_lists[number_of(text)]
        return vector


def number_of(text: str) -> int:
    """Return the number that a text begins with."""
    return int(text.split(maxsplit=1)[0])


def make_text(number: int, words: int) -> str:
    """Return words of which few are often and many are rare, as in a language."""
    drawn = random.Random(number)  # noqa: S311  no secret depends on it
    return " ".join([str(number), *(f"word{int(VOCABULARY ** drawn.random())}" for _ in range(words))])


def fill(settings: Settings, embeddings: InstantEmbeddings, chunks: int) -> None:
    """Write the chunks, twenty to a document."""
    made = []
    for number in range(chunks):
        text = make_text(number, WORDS_PER_CHUNK)
        place = {"position": number % 20, "start": 0, "end": len(text), "content_hash": "v", "heading": str(number % 7)}
        made.append(Document(text, id=f"{number:032x}", metadata={"source": f"{number // 20}.md", **place}))
    with open_store(settings) as store:
        store.create(make_fingerprint(settings, embeddings), DIMENSIONS)
        for start in range(0, chunks, 1000):
            part = made[start : start + 1000]
            counts = {chunk.metadata["source"]: 20 for chunk in part}
            store.write(part, embeddings.vectors[start : start + len(part)], counts)
        store.flush()


def search_bare(retriever: RefinedRetriever, embeddings: InstantEmbeddings) -> Callable[[str], None]:
    """Return the two searches, through pymilvus alone."""
    opened: Any = retriever.search.index.open()  # type: ignore[attr-defined]
    fields, thread = [*OUTPUT_FIELDS, "$meta"], ThreadPoolExecutor(1)

    def search(data: Any, field: str, parameters: dict[str, Any]) -> Any:
        return opened.client.search(
            opened.collection_name,
            data=[data],
            anns_field=field,
            search_params=parameters,
            limit=100,
            output_fields=fields,
            timeout=30,
        )

    def both(question: str) -> None:
        words = thread.submit(search, " ".join(find_terms(question, "english")), SPARSE, SPARSE_SEARCH)
        search(embeddings.embed_query(question), DENSE, opened.search_arguments(100))
        words.result()

    return both


def watch_reading(retriever: RefinedRetriever) -> list[float]:
    """Return a list that gets the milliseconds of every reading of vectors, which is Milvus', too."""
    opened: Any = retriever.search.index.open()  # type: ignore[attr-defined]
    read, taken = opened.client.get, list[float]()

    def get(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return read(*arguments, **options)
        finally:
            taken.append(1000 * (time.perf_counter() - started))

    opened.client.get = get
    return taken


def first_token(settings: Settings, retriever: RefinedRetriever) -> Callable[[str], None]:
    """Return the chain up to its first token."""
    chain = build_chain(settings, retriever=retriever, chat_model=FakeListChatModel(responses=["Yes."] * 100_000))

    def ask(question: str) -> None:
        parts = chain.stream(question)
        while "answer" not in next(parts):
            pass
        parts.close()  # type: ignore[attr-defined]

    return ask


def measure(ways: dict[str, Callable[[str], None]], questions: list[str]) -> dict[str, list[float]]:
    """Return the milliseconds of each way for each question; who is first changes from question to question."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number, question in enumerate(questions):
        names = list(ways)
        for name in names[number % 3 :] + names[: number % 3]:
            started = time.perf_counter()
            ways[name](question)
            taken[name].append(1000 * (time.perf_counter() - started))
    return taken


def write_report(taken: dict[str, list[float]], chunks: int, machine: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """Return the report as Markdown, and its figures."""
    # Of what was read by the retriever and by the chain the median stands for each.
    reading = statistics.median(taken["reading"]) if taken["reading"] else 0.0
    share = len(taken["reading"]) / (2 * len(taken["bare"]))
    own = [full - bare - reading * (share > 0.5) for full, bare in zip(taken["retriever"], taken["bare"], strict=True)]
    more = [full - found for full, found in zip(taken["chain"], taken["retriever"], strict=True)]
    rows = {
        "Milvus' two searches": taken["bare"],
        "retriever": taken["retriever"],
        "chain, to the first token": taken["chain"],
    }
    rows |= {"Milvus, reading vectors of what only words brought up": taken["reading"] or [0.0]}
    rows |= {"own time of the retriever": own, "own time of the chain beyond it": more}
    table = [[name, *(f"{value:.1f}" for value in percentiles(values))] for name, values in rows.items()]
    figures = {"retriever_own_ms": statistics.median(own), "chain_own_ms": statistics.median(more)}
    report = f"""# Asking

`python benchmarks/asking.py --save`

{write_machine(machine)}

{chunks:,} chunks of {WORDS_PER_CHUNK} words and {DIMENSIONS} dimensions on Milvus Lite, {len(own)} questions,
both models answer at once; milliseconds.

{write_table(["", "p50", "p95"], table)}

- **rag_chain's own time for a question is {figures["retriever_own_ms"]:.1f} ms (p50)**, and the chain adds
  {figures["chain_own_ms"]:.1f} ms to the first token.
"""
    return report, figures


def percentiles(values: list[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    return statistics.median(values), float(np.percentile(values, 95))


def main() -> None:
    """Measure and print; ``--save`` keeps the report in ``results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=150)
    parser.add_argument("--save", action="store_true", help="write results/asking.md and asking.json")
    options = parser.parse_args()
    machine = describe_machine()
    random_vectors = np.random.default_rng(1).normal(size=(options.chunks, DIMENSIONS)).astype(np.float32)
    embeddings = InstantEmbeddings(random_vectors / np.linalg.norm(random_vectors, axis=1, keepdims=True))
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(provider="local", milvus_uri=str(Path(folder) / "benchmark.db"), floor=-1)
        fill(settings, embeddings, options.chunks)
        retriever = build_refined_retriever(settings, embeddings)
        questions = [make_text(number, 8) for number in range(options.questions)]
        reading = watch_reading(retriever)
        ways = {
            "bare": search_bare(retriever, embeddings),
            "retriever": lambda question: retriever.invoke(question) and None,
            "chain": first_token(settings, retriever),
        }
        measure(ways, questions[:5])
        taken = measure(ways, questions)
        taken["reading"] = reading
    report, figures = write_report(taken, options.chunks, machine)
    print(report)
    if options.save:
        results = HERE / "results"
        (results / "asking.md").write_text(report, "utf-8")
        (results / "asking.json").write_text(json.dumps({"machine": machine, **figures}, indent=1), "utf-8")


if __name__ == "__main__":
    main()

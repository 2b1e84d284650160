#!/usr/bin/env python3
"""Measure retrieval on test collections: each search alone, our fusion, other fusions, and Milvus' own hybrid search.

Every folder in BEIR's layout below the given one is ingested with the local model into a store of its own (kept in
``--store``, so that a second run starts at once) and each question is searched once by vector and once by words; the
fusions differ only in what they make of these two rankings. Milvus' own hybrid search is asked beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tables import describe_machine, write_machine, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rag_chain.evaluation.datasets import Dataset
    from rag_chain.retrieval.hybrid import HybridRetriever

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data"
DEPTH = 100

Ranking = dict[str, float]
Fusion = "Callable[[Ranking, Ranking, float], Ranking]"


def reciprocal(k: int) -> Fusion:
    """Weighted reciprocal rank fusion."""

    def fuse(dense: Ranking, words: Ranking, weight: float) -> Ranking:
        fused: Ranking = {}
        for ranking, share in ((dense, weight), (words, 1 - weight)):
            for rank, chunk in enumerate(ranking, start=1):
                fused[chunk] = fused.get(chunk, 0.0) + share / (k + rank)
        return fused

    return fuse


def min_max(dense: Ranking, words: Ranking, weight: float) -> Ranking:
    """Scores between each ranking's lowest and highest."""
    fused: Ranking = {}
    for ranking, share in ((dense, weight), (words, 1 - weight)):
        low, high = min(ranking.values(), default=0.0), max(ranking.values(), default=0.0)
        for chunk, score in ranking.items():
            fused[chunk] = fused.get(chunk, 0.0) + share * (score - low) / ((high - low) or 1)
    return fused


def ours(dense: Ranking, words: Ranking, weight: float) -> Ranking:
    """Distances from the mean, in standard deviations."""
    from rag_chain.retrieval.fusion import fuse

    return fuse(dense, words, dense_weight=weight, depth=DEPTH)


def variants() -> Iterator[tuple[str, Fusion, float | None]]:
    """Yield name, fusion and the vectors' weight; None is the retriever's own."""
    yield "dense", ours, 1.0
    yield "BM25", lambda _, words, __: words, 0.0
    yield "reciprocal ranks, k 60, equal", reciprocal(60), 0.5
    for k in (60, 10, 2):
        yield f"reciprocal ranks, k {k}, 0.6", reciprocal(k), 0.6
    for weight in (0.5, 0.6, 0.7):
        yield f"min-max, {weight}", min_max, weight
    for weight in (0.4, 0.5, 0.6, 0.7):
        yield f"standard deviations, {weight}", ours, weight
    yield "**rag_chain**", ours, None


def measure(folder: Path, qrels: str, store: Path, model: dict[str, str], limit: int | None) -> dict[str, float]:
    """Return nDCG@10 of each variant."""
    from rag_chain import Settings
    from rag_chain.evaluation.datasets import read_dataset
    from rag_chain.measuring import ingest_dataset
    from rag_chain.models.building import build_embeddings
    from rag_chain.pipeline import build_search

    dataset = read_dataset(folder, [qrels])
    settings = ingest_dataset(dataset, Settings(provider="local", milvus_uri=str(store), **model))
    retriever = build_search(settings, build_embeddings(settings))
    found: dict[str, dict[str, list[str]]] = {}
    for question in dataset.questions[:limit]:
        for name, ranking in rank(retriever, question.text):
            found.setdefault(name, {})[question.id] = ranking
    return {name: ndcg(dataset, rankings) for name, rankings in found.items()}


def rank(retriever: HybridRetriever, question: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each variant's documents for a question."""
    vector = retriever.embeddings.embed_query(question)
    found = [retriever.index.nearest(vector, DEPTH), retriever.index.matching(question, DEPTH)]
    documents = {chunk.metadata["id"]: chunk.metadata["source"] for ranking in found for chunk, _ in ranking}
    dense, words = ({chunk.metadata["id"]: score for chunk, score in ranking} for ranking in found)
    for name, fuse, weight in variants():
        fused = fuse(dense, words, retriever.weigh(question) if weight is None else weight)
        yield name, by_document(fused, documents)
    for name, ranker in milvus_rankers():
        yield name, search_hybrid(retriever, vector, question, ranker)


def by_document(fused: Mapping[str, float], documents: Mapping[str, str]) -> list[str]:
    """Return the documents in the order of their best chunks."""
    return list(dict.fromkeys(documents[chunk] for chunk in sorted(fused, key=lambda chunk: -fused[chunk])))


def milvus_rankers() -> Iterator[tuple[str, Any]]:
    """Yield the rankers that Milvus has."""
    from pymilvus import RRFRanker, WeightedRanker

    yield "Milvus hybrid search, RRF k 60", RRFRanker(60)
    yield "Milvus hybrid search, weighted 0.6", WeightedRanker(0.6, 0.4, norm_score=True)


def search_hybrid(retriever: HybridRetriever, vector: list[float], question: str, ranker: Any) -> list[str]:
    """Return the documents that Milvus' own hybrid search finds."""
    from pymilvus import AnnSearchRequest

    from rag_chain.store.schema import DENSE, SPARSE, SPARSE_SEARCH
    from rag_chain.store.terms import find_terms

    chunks = retriever.index.open()
    terms = " ".join(find_terms(question, "english"))
    asked = [AnnSearchRequest([vector], DENSE, chunks.search_arguments(DEPTH), DEPTH)]
    asked += [AnnSearchRequest([terms], SPARSE, SPARSE_SEARCH, DEPTH)] if terms else []
    if len(asked) == 1:
        return [chunk.metadata["source"] for chunk, _ in chunks.nearest(vector, DEPTH)]
    (hits,) = chunks.client.hybrid_search(chunks.collection_name, asked, ranker, limit=DEPTH, output_fields=["source"])
    return list(dict.fromkeys(hit["entity"]["source"] for hit in hits))


def ndcg(dataset: Dataset, rankings: Mapping[str, list[str]]) -> float:
    """Return the mean nDCG@10 over the questions that were ranked."""
    from rag_chain.evaluation.ranking import measure_rankings
    from rag_chain.evaluation.statistics import mean

    relevant = {question.id: question.relevant for question in dataset.questions if question.id in rankings}
    return mean(list(measure_rankings(relevant, rankings)["ndcg@10"].values()))


NOTES = """\
- **The default** weighs vectors 0.6 and words 0.4; a question that is not in Latin script, which the local model has
  never read, 0.35 and 0.65. The weights were chosen on these questions; the differences between neighbouring weights
  are smaller than what another draw of questions would change.
- Milvus' own hybrid search returns neither the two ranks nor the cosine, which the floor and `explain` need, and its
  rankers are the reciprocal ranks and an arctangent of the scores above; so the two searches are asked side by side
  and fused here.
- The floor of the local model, 0.25: of questions that a collection is about 0.0 to 0.7 % have no chunk above it, of
  questions about another collection's topic 66 % (five collections, each asked the others' questions).
"""


def write_report(found: Mapping[str, Mapping[str, float]], machine: Mapping[str, Any], model: str | None) -> str:
    """Return the report as Markdown."""
    sets = list(found)
    names = list(next(iter(found.values())))
    rows = [
        [name, *(f"{found[s][name]:.3f}" for s in sets), f"{sum(found[s][name] for s in sets) / len(sets):.3f}"]
        for name in names
    ]
    return f"""# Retrieval

`{" ".join(["python benchmarks/retrieval.py", *sys.argv[1:]])}`

{write_machine(machine)}

nDCG@10 of documents (a document stands where its best chunk does), local model {model or "all-MiniLM-L6-v2 int8"},
chunks of 200 tokens, {DEPTH} chunks from each ranking. The number behind a fusion is the vectors' weight.

{write_table(["", *sets, "mean"], rows)}

{"" if model else NOTES}"""


def main() -> None:
    """Measure and print; ``--save`` keeps the report beside this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the collections")
    parser.add_argument("--store", type=Path, help="Milvus Lite path to keep; default: a temporary one")
    parser.add_argument("--only", default="*", help="pattern of the collections' names")
    parser.add_argument("--model", help="RAG_EMBEDDING_MODEL of the local provider (default: its own)")
    parser.add_argument("--limit", type=int, help="take the first N questions of each")
    parser.add_argument(
        "--save",
        action="store_true",
        help="write retrieval.md and results/retrieval.json, with the name of another model in theirs",
    )
    options = parser.parse_args()
    machine, found = describe_machine(), {}
    model = {"embedding_model": options.model} if options.model else {}
    with tempfile.TemporaryDirectory() as folder:
        for file in sorted(options.data.glob(f"{options.only}/qrels/test*.tsv")):
            if file.stem not in {"test_graded", "test_incl_minus1"}:
                name = f"{file.parents[1].name} {file.stem.removeprefix('test').lstrip('_')}".strip()
                print(name, file=sys.stderr, flush=True)
                store = options.store or Path(folder) / "benchmark.db"
                found[name] = measure(file.parents[1], file.stem, store, model, options.limit)
    report = write_report(found, machine, options.model)
    print(report)
    if options.save:
        name = f"retrieval_{options.model}" if options.model else "retrieval"
        (HERE / f"{name}.md").write_text(report, "utf-8")
        (HERE / "results" / f"{name}.json").write_text(
            json.dumps({"machine": machine, "ndcg@10": found}, indent=1), "utf-8"
        )


if __name__ == "__main__":
    main()

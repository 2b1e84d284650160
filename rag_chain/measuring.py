"""Evaluate the whole flow on a dataset: ingest its documents, ask its questions, measure what comes."""

from __future__ import annotations

import hashlib
import re
from time import monotonic
from typing import TYPE_CHECKING, Any

from rag_chain.evaluation.answers import measure_answers
from rag_chain.evaluation.ranking import measure_rankings, rank_documents
from rag_chain.evaluation.report import Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable

    from rag_chain.evaluation.datasets import Dataset
    from rag_chain.ingestion.run import Progress
    from rag_chain.settings import Settings

# Chunks that are ranked for each question: of documents of two chunks, enough for a recall at 100.
CHUNKS = 200
# Of the draw of chunks that questions are drafted about: the same collection gives the same.
SEED = 7
# What the results depend on and a reader wants to see beside them.
SHOWN = (
    *("retriever", "dense_weight", "search_depth", "embedding_model", "chat_model", "rerank_model", "top_k"),
    *("chunk_tokens", "chunk_overlap", "language", "floor"),
)


def evaluate(
    dataset: Dataset,
    settings: Settings,
    *,
    limit: int | None = None,
    answers: bool = False,
    on_ingest: Callable[[Progress], None] = lambda _: None,
    on_question: Callable[[int, int], None] = lambda *_: None,
) -> Evaluation:
    """Return the measures of retrieval and, with ``answers``, of the answers.

    The dataset's own documents go into a collection of their own, which stays, so that a second run
    ingests nothing; without documents the collection of the settings is asked. ``limit`` takes the first
    so many questions.
    """
    from rag_chain.models.building import build_embedding_client
    from rag_chain.pipeline import build_chain, build_search

    seconds: dict[str, float] = {}
    started = monotonic()
    if dataset.corpus is not None:
        settings = ingest_dataset(dataset, settings, on_ingest)
        seconds["ingest"] = monotonic() - started
    questions = dataset.questions[:limit]
    steps = len(questions) * (2 if answers else 1)
    search, started = build_search(settings, build_embedding_client(settings)), monotonic()
    rankings: dict[str, list[str]] = {}
    for number, question in enumerate(questions, start=1):
        if any(score > 0 for score in question.relevant.values()):
            rankings[question.id] = rank_documents(search.invoke(question.text, k=CHUNKS))
        on_question(number, steps)
    seconds["search"] = monotonic() - started
    values = measure_rankings({q.id: q.relevant for q in questions if q.id in rankings}, rankings)
    if answers:
        started, chain, given = monotonic(), build_chain(settings), []
        for number, question in enumerate(questions, start=len(questions) + 1):
            given.append(chain.invoke(question.text))
            on_question(number, steps)
        values |= measure_answers(questions, given)
        seconds["answers"] = monotonic() - started
    groups: dict[str, list[str]] = {}
    for question in questions:
        groups.setdefault(question.group, []).append(question.id)
    return Evaluation(
        dataset.name,
        settings.retriever,
        len(questions),
        values,
        groups,
        {name: _plain(getattr(settings, name)) for name in SHOWN},
        {question.id: question.text for question in questions},
        seconds,
    )


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def ingest_dataset(
    dataset: Dataset, settings: Settings, on_progress: Callable[[Progress], None] = lambda _: None
) -> Settings:
    """Ingest the dataset's documents, and return settings that name their collection."""
    from rag_chain.documents import as_findings
    from rag_chain.models.building import build_embedding_client
    from rag_chain.pipeline import ingest_found, make_fingerprint

    # One for each way of splitting and embedding, so that they can be compared side by side.
    made = repr(sorted(make_fingerprint(settings, build_embedding_client(settings)).items()))
    name = re.sub(r"\W", "_", dataset.name, flags=re.ASCII)[:100]
    settings = settings.with_changes(collection=f"evaluate_{name}_{hashlib.sha256(made.encode()).hexdigest()[:8]}")
    ingest_found(as_findings(dataset.corpus or [], f"dataset:{name}"), settings, on_progress=on_progress)
    return settings


def draft_questions(
    settings: Settings, count: int, *, on_question: Callable[[int, int], None] = lambda *_: None
) -> list[dict[str, str]]:
    """Return drafts of questions about chunks drawn from the collection, each with its source and answer.

    The chat model writes them; a person should read them before anything is measured with them. Chunks
    of which it makes no question are passed over.
    """
    from rag_chain.errors import SettingsError
    from rag_chain.evaluation.drafting import draft_question
    from rag_chain.models.building import build_chat_model, build_embedding_client
    from rag_chain.store.collection import open_store

    if settings.resolved_provider == "local":
        raise SettingsError("drafting questions needs a chat model: set FIREWORKS_API_KEY")
    embeddings = build_embedding_client(settings)
    model = build_chat_model(settings, embeddings)
    with open_store(settings) as store:
        store.open_for(None, writing=False)
        chunks = store.sample(count, seed=SEED)
    drafts = []
    for number, (source, text) in enumerate(chunks, start=1):
        draft = draft_question(model, text)
        drafts += [{**draft, "source": source}] if draft else []
        on_question(number, len(chunks))
    return drafts

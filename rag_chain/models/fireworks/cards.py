"""What the cards of embedding models say: the words before a text, and the length of the vectors."""

from __future__ import annotations

# What the models' own cards ask for; texts embedded without it are found less well.
_PREFIXES: tuple[tuple[str, str, str], ...] = (
    ("nomic-embed", "search_document: ", "search_query: "),
    ("e5-", "passage: ", "query: "),
    ("bge-", "", "Represent this sentence for searching relevant passages: "),
    ("mxbai-embed", "", "Represent this sentence for searching relevant passages: "),
    ("uae-large", "", "Represent this sentence for searching relevant passages: "),
    (
        "qwen3-embedding",
        "",
        "Instruct: Given a question, retrieve passages that answer it\nQuery: ",
    ),
)

# The models' own lengths, from their cards.
_LENGTHS = (
    ("nomic-embed-text-v1", 768),
    ("qwen3-embedding-8b", 4096),
    ("qwen3-embedding-4b", 2560),
    ("qwen3-embedding-0p6b", 1024),
    ("mxbai-embed-large-v1", 1024),
    ("uae-large-v1", 1024),
    ("gte-large", 1024),
    ("gte-base", 768),
    ("bge-base-en-v1.5", 768),
    ("bge-small-en-v1.5", 384),
    ("all-minilm-l6-v2", 384),
    ("paraphrase-multilingual-minilm-l12-v2", 384),
)


def known_length(model: str) -> int | None:
    """Return the length of a known model's vectors."""
    name = model.lower()
    return next((length for part, length in _LENGTHS if name.endswith(part) or f"{part}." in name), None)


def task_prefixes(model: str) -> tuple[str, str]:
    """Return what a model wants before documents and before questions."""
    name = model.lower()
    return next(((document, query) for part, document, query in _PREFIXES if part in name), ("", ""))

"""What the cards of embedding models say: the words before a text, the vectors' length, and whether they can be cut."""

from __future__ import annotations

from rag_chain.errors import SettingsError

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

# Trained so that the front of a vector is a vector, too (Matryoshka representation learning, Kusupati et al., 2022).
_MATRYOSHKA = (
    "nomic-embed-text-v1.5",
    "nomic-embed-text-v2",
    "qwen3-embedding",
    "mxbai-embed-large-v1",
    "embeddinggemma",
    "text-embedding-3",
    "arctic-embed-m-v1.5",
    "arctic-embed-l-v2",
    "arctic-embed-m-v2",
)


def known_length(model: str) -> int | None:
    """Return the length of a known model's vectors."""
    name = model.lower()
    return next((length for part, length in _LENGTHS if name.endswith(part) or f"{part}." in name), None)


def task_prefixes(model: str) -> tuple[str, str]:
    """Return what a model wants before documents and before questions."""
    name = model.lower()
    return next(((document, query) for part, document, query in _PREFIXES if part in name), ("", ""))


def can_be_cut(model: str) -> bool:
    """Return whether the model was trained for shorter vectors."""
    name = model.lower()
    return any(part in name for part in _MATRYOSHKA)


def check_dimensions(model: str, dimensions: int | None) -> None:
    """Raise ``SettingsError`` for a vector length that a known model does not have."""
    length = known_length(model)
    if dimensions is None or length is None or dimensions == length:
        return
    if dimensions > length:
        raise SettingsError(f"RAG_EMBEDDING_DIMENSIONS: {model} gives {length}, not {dimensions}: lower or unset it")
    if not can_be_cut(model):
        raise SettingsError(
            f"RAG_EMBEDDING_DIMENSIONS: {model} was not trained for vectors shorter than {length}, and cut ones find "
            "little: unset it, or take a model that was, such as nomic-ai/nomic-embed-text-v1.5"
        )

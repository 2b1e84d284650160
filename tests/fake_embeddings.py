"""An embedding model for tests: quick, the same on every machine, and it remembers what it was asked."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

from rag_chain.errors import ModelError
from rag_chain.models.embedding import Embedded, EmbeddingModel, EmbeddingUsage, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rag_chain.models.embedding import Vectors

_WORD = re.compile(r"\w+")


class FakeEmbeddings(EmbeddingModel):
    """A hashed bag of words: texts that share words are near each other, and nothing else is.

    ``batches`` holds every batch of documents and ``queries`` every question, in the order asked.
    Setting ``fails_after`` makes the batch after that many fail with ``ModelError``, ``refuses``
    makes it refuse texts that this occurs in.
    """

    def __init__(self, *, dimensions: int = 64, batch_size: int = 8) -> None:
        self.dimensions = dimensions
        self.batch_size = batch_size
        self.usage = EmbeddingUsage()
        self.batches: list[list[str]] = []
        self.queries: list[str] = []
        self.fails_after: int | None = None
        self.refuses = ""

    @property
    def identity(self) -> dict[str, str | int | None]:
        """The model's name and the length of its vectors."""
        return {"model": "fake", "dimensions": self.dimensions}

    @property
    def texts(self) -> list[str]:
        """Every document text embedded so far."""
        return [text for batch in self.batches for text in batch]

    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Embedded]:
        """Yield the vectors of each batch, and remember it; texts with ``refuses`` in them are refused."""
        for batch in batches:
            if self.fails_after is not None and len(self.batches) >= self.fails_after:
                raise ModelError(f"the fake model fails after {self.fails_after} batches, as it was told")
            self.batches.append(list(batch))
            self.usage.requests += 1
            self.usage.texts += len(batch)
            self.usage.tokens += sum(len(_WORD.findall(text)) for text in batch)
            refused = {
                n: ModelError("told to") for n, text in enumerate(batch) if self.refuses and self.refuses in text
            }
            yield Embedded([None if n in refused else v for n, v in enumerate(self._vectors(batch))], refused)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question, and remember it."""
        self.queries.append(text)
        vector: list[float] = self._vectors([text])[0].tolist()
        return vector

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        counts = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            # A text without words is a word of its own, so that no vector is zero.
            for word in _WORD.findall(text.lower()) or [text]:
                counts[row, zlib.crc32(word.encode()) % self.dimensions] += 1
        return unit_vectors(counts, len(texts), self.dimensions)

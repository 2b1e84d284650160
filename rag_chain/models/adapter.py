"""Any LangChain ``Embeddings`` as an embedding model of rag_chain: its vectors checked, its errors ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rag_chain.errors import BadReplyError, ModelError, SettingsError, in_brief
from rag_chain.models.embedding import Embedded, EmbeddingModel, EmbeddingUsage, as_lists, unit_vectors
from rag_chain.models.identity import describe, name_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from langchain_core.embeddings import Embeddings

    from rag_chain.models.embedding import Vectors

# What a model is asked that failed at a batch: one that answers this is not down, so that a text is at fault.
PROBE = "Is anyone there?"
# Texts that fail alone, one after the other: more than so many, and the model is at fault.
MOST_IN_A_ROW = 16


class EmbeddingsAdapter(EmbeddingModel):
    """Any LangChain ``Embeddings``, asked for ``batch_size`` texts at a time, one batch after the other.

    Vectors are checked for their number, one length and finite values, and scaled to length 1. What the model raises
    becomes a :class:`~rag_chain.errors.ModelError` that names its class. A batch that fails is halved until the text at
    fault stands alone, and that one is refused, unless the model fails at any text.

    A collection records the model's identity: its class and the public fields that say which model it is, such as
    ``model``, ``model_name`` and ``dimensions``; never a key. Where they do not tell two models apart, or one that
    stays the same changes its class or its fields, say ``identity``: any text of your own.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        *,
        identity: str | None = None,
        batch_size: int = 64,
        batch_tokens: int = 65_536,
    ) -> None:
        if not hasattr(embeddings, "embed_documents") or not hasattr(embeddings, "embed_query"):
            raise SettingsError(f"embeddings: {name_class(embeddings)} is not a LangChain Embeddings")
        if identity is not None and not identity.strip():
            raise SettingsError("identity: is empty; leave it out, or say which model this is")
        if batch_size < 1:
            raise SettingsError(f"batch_size: must be at least 1, not {batch_size}")
        self.embeddings = embeddings
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self.usage = EmbeddingUsage()
        self._name = name_class(embeddings)
        self._identity = identity or describe(embeddings)
        self._length: int | None = None
        self._failed_in_a_row = 0

    @property
    def identity(self) -> dict[str, str | int | None]:
        """The text that was given, or the model's class and the fields that say which model it is."""
        return {"model": self._identity}

    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Embedded]:
        """Yield the vectors of each batch, in order."""
        for batch in batches:
            yield self._embed(batch) if batch else Embedded([])

    def embed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question."""
        with _ForeignErrors(self._name):
            vector = self.embeddings.embed_query(text)
        return self._check_one(vector)

    async def aembed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question, by the model's own async method."""
        with _ForeignErrors(self._name):
            vector = await self.embeddings.aembed_query(text)
        return self._check_one(vector)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit-length vector for each document, in order, by the model's own async method."""
        found: list[list[float]] = []
        for start in range(0, len(texts), self.batch_size):
            batch = texts[start : start + self.batch_size]
            with _ForeignErrors(self._name):
                vectors = await self.embeddings.aembed_documents(batch)
            found += as_lists(Embedded(list(self._check(vectors, len(batch)))))
        return found

    def _embed(self, texts: Sequence[str]) -> Embedded:
        """Embed texts in one call, or in halves where the model fails at them and at others not."""
        try:
            vectors = self._ask(texts)
        except ModelError as error:
            if not self._is_a_texts_fault(error):
                raise
            return self._halve(texts, error)
        return Embedded(list(vectors))

    def _halve(self, texts: Sequence[str], error: ModelError) -> Embedded:
        if len(texts) == 1:
            self._failed_in_a_row += 1
            if self._failed_in_a_row > MOST_IN_A_ROW:
                raise error
            return Embedded([None], {0: error})
        halves: list[Embedded] = []
        for half in (texts[: len(texts) // 2], texts[len(texts) // 2 :]):
            try:
                halves.append(Embedded(list(self._ask(half))))
            except ModelError as again:
                halves.append(self._halve(half, again))
        return halves[0].join(halves[1])

    def _is_a_texts_fault(self, error: ModelError) -> bool:
        """Return whether the model embeds another text, right after it failed."""
        try:
            self._ask([PROBE], counted=False)
        except ModelError:
            return False
        return True

    def _ask(self, texts: Sequence[str], *, counted: bool = True) -> Vectors:
        with _ForeignErrors(self._name):
            found = self.embeddings.embed_documents(list(texts))
        self.usage.requests += 1
        vectors = self._check(found, len(texts))
        if counted:
            self.usage.texts += len(texts)
            self._failed_in_a_row = 0
        return vectors

    def _check_one(self, vector: Sequence[float]) -> list[float]:
        self.usage.requests += 1
        checked: list[float] = self._check([vector], 1)[0].tolist()
        self.usage.texts += 1
        return checked

    def _check(self, vectors: Sequence[Sequence[float]], count: int) -> Vectors:
        """Return the vectors as unit-length rows; what is not what was asked for is an error that names the class."""
        try:
            with np.errstate(over="ignore"):
                checked = unit_vectors(np.array(vectors, np.float64), count, self._length)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadReplyError(f"{self._name} gave no vectors of one length: {in_brief(error)}") from error
        except BadReplyError as error:
            raise BadReplyError(f"{self._name}: {error}") from error
        self._length = checked.shape[1]
        return checked


class _ForeignErrors:
    """Turns whatever a foreign model raises into a ``ModelError``; an interrupt or a cancellation passes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, ModelError):
            said = in_brief(error)
            raise ModelError(f"{self._name} failed: {type(error).__name__}{f': {said}' if said else ''}") from error

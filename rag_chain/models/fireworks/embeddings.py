"""``langchain_fireworks.FireworksEmbeddings`` whose requests go through our own client."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import langchain_fireworks
from langchain_core.utils import from_env
from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from rag_chain.models.embedding import EmbeddingModel
from rag_chain.models.fireworks.opening import open_embedding_client
from rag_chain.settings import FIREWORKS_API_BASE, without_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from typing_extensions import Self

    from rag_chain.models.embedding import Embedded, EmbeddingUsage
    from rag_chain.models.fireworks.embedding_client import FireworksEmbeddingClient

_OPENING = threading.Lock()


class FireworksEmbeddings(langchain_fireworks.FireworksEmbeddings, EmbeddingModel):
    """LangChain's ``FireworksEmbeddings``, batched, concurrent, paced, retried and checked.

    >>> FireworksEmbeddings(model="nomic-ai/nomic-embed-text-v1.5", api_key="...").embed_query("Where is data?")

    ``api_key`` (or ``fireworks_api_key``) and ``base_url`` (or ``fireworks_api_base``) default to ``FIREWORKS_API_KEY``
    and ``FIREWORKS_API_BASE``; the address may end in ``/v1`` or not. Texts get the task prefixes of the model's card;
    vectors have unit length, and ``dimensions`` where the model was trained for that. At most ``batch_size`` texts go
    in a request and ``concurrency`` requests at once; each has ``timeout`` seconds, retries included. One object
    serves every thread and event loop; a failure is a :class:`~rag_chain.errors.ModelError`. The fields can't be
    assigned to: ``model_copy(update={...})`` gives another model.
    """

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True, frozen=True, extra="forbid")

    # As the parent does for the key: settings.py is read where a whole application is built, this class works alone.
    fireworks_api_base: str = Field(
        alias="base_url",
        default_factory=from_env("FIREWORKS_API_BASE", default=FIREWORKS_API_BASE),
        validate_default=True,
    )
    dimensions: int | None = Field(default=None, gt=0)
    if TYPE_CHECKING:
        # A field already, since the base class declares it with its default.
        batch_tokens: int = 65_536
    batch_size: int = Field(default=64, gt=0, le=2048)
    concurrency: int = Field(default=8, gt=0, le=256)
    request_timeout: float = Field(default=60.0, gt=0, alias="timeout")
    _opened: FireworksEmbeddingClient | None = PrivateAttr(default=None)

    @field_validator("fireworks_api_base", mode="after")
    @classmethod
    def _find_base(cls, value: str) -> str:
        return without_version(value) or FIREWORKS_API_BASE

    @model_validator(mode="after")
    def validate_environment(self) -> Self:
        """Check the fields; the parent would open a client of OpenAI's here, which nothing would use."""
        if vars(self)["client"] is not None:
            raise ValueError("client: requests go through a client of this class's own; leave it out")
        if not self.fireworks_api_key.get_secret_value().strip():
            raise ValueError("the key is empty: give api_key=..., or set FIREWORKS_API_KEY")
        self._embedder  # noqa: B018  opened now, so that what is wrong is said where it was given
        return self

    @property
    def usage(self) -> EmbeddingUsage:  # type: ignore[override]  # nobody assigns it
        """What embedding has cost so far: requests, texts, tokens."""
        return self._embedder.usage

    @property
    def identity(self) -> dict[str, str | int | None]:
        """The model, the vector length that was asked for, and the task prefixes."""
        return self._embedder.identity

    def embed_batches(self, batches: Iterable[Sequence[str]]) -> Iterator[Embedded]:
        """Yield the vectors of each batch, in order, several requests ahead of the caller."""
        return self._embedder.embed_batches(batches)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit-length vector for each document, in order."""
        return self._embedder.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question."""
        return self._embedder.embed_query(text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit-length vector for each document, in order, from any event loop."""
        return await self._embedder.aembed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        """Return the unit-length vector of a question, from any event loop."""
        return await self._embedder.aembed_query(text)

    @property
    def _embedder(self) -> FireworksEmbeddingClient:
        """The client for these fields; a copy, which may have others, opens its own."""
        with _OPENING:
            if self._opened is None:
                self._opened = open_embedding_client(
                    self.fireworks_api_base,
                    self.fireworks_api_key.get_secret_value().strip(),
                    self.model,
                    timeout=self.request_timeout,
                    dimensions=self.dimensions,
                    batch_size=self.batch_size,
                    batch_tokens=self.batch_tokens,
                    concurrency=self.concurrency,
                )
            return self._opened

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._opened = None  # noqa: SLF001  its own
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # All fields are immutable.
        return self.__copy__()

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"__pydantic_private__": {"_opened": None}}

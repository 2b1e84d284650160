"""Documents with the same text in one run: their texts are embedded once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rag_chain.ingestion.plan import TEXT_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Work
    from rag_chain.models.embedding import Vectors

# 60 MB for 768 dimensions; copies of what goes beyond are embedded again.
MOST_KEPT = 20_000


class Repeats:
    """Knows the documents whose text occurs more than once, and keeps what one copy got for the others."""

    def __init__(self, works: Iterable[Work], text_of: Callable[[Document], str]) -> None:
        counts = Counter(work.version[:TEXT_DIGITS] for work in works)
        self._texts = {text for text, count in counts.items() if count > 1}
        self._text_of = text_of
        self._vectors: dict[str, Vectors] = {}
        self._waiting: dict[str, list[Document]] = {}

    def is_new(self, chunk: Document) -> bool:
        """Return whether a chunk that has no vector yet is to be embedded; else it waits for another copy's."""
        text = self._find_text(chunk)
        if text is None:
            return True
        if text in self._waiting:
            self._waiting[text].append(chunk)
            return False
        self._waiting[text] = []
        return True

    def vector_of(self, chunk: Document) -> Vectors | None:
        """Return the vector that another copy's chunk got, if there is one."""
        text = self._find_text(chunk)
        return None if text is None else self._vectors.get(text)

    def settle(self, chunk: Document, vector: Vectors | None) -> list[Document]:
        """Take what a chunk got, and return those that waited for it."""
        text = self._find_text(chunk)
        if text is None:
            return []
        if vector is not None and len(self._vectors) < MOST_KEPT:
            # A row of its own: as a part of a batch it would keep all of that.
            self._vectors[text] = vector.copy()
        return self._waiting.pop(text, [])

    def _find_text(self, chunk: Document) -> str | None:
        return self._text_of(chunk) if chunk.metadata["content_hash"][:TEXT_DIGITS] in self._texts else None

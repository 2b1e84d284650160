"""The last step of an answer: pass it on as it comes, with true marks only, then say what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import AddableDict, RunnableGenerator

from rag_chain.answering.citations import check_answer
from rag_chain.answering.marks import MarkFilter
from rag_chain.answering.refusals import is_refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.embeddings import Embeddings


class Finisher:
    """Builds the step that ends the chain; ``embeddings`` help to compare claims with their sources."""

    def __init__(self, embeddings: Embeddings | None = None) -> None:
        self._embeddings = embeddings

    def build(self) -> RunnableGenerator[dict[str, Any], dict[str, Any]]:
        """Return the step: parts of an answer in, the same parts and its citations out."""
        return RunnableGenerator(self._finish, self._afinish, name="citations")

    def _finish(self, parts: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        answer = _Answer()
        for part in parts:
            if answer.take(part):
                yield AddableDict(part)
        if rest := answer.rest():
            yield AddableDict(answer=rest)
        yield AddableDict(answer.check(self._embeddings))

    async def _afinish(self, parts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        from langchain_core.runnables.config import run_in_executor

        answer = _Answer()
        async for part in parts:
            if answer.take(part):
                yield AddableDict(part)
        if rest := answer.rest():
            yield AddableDict(answer=rest)
        yield AddableDict(await run_in_executor(None, answer.check, self._embeddings))


class _Answer:
    """Gathers a stream's parts to check the answer when it is whole."""

    def __init__(self) -> None:
        self._sources: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._filter: MarkFilter | None = None

    def take(self, part: dict[str, Any]) -> bool:
        """Take a part, and filter its piece of the answer; return whether there is anything to pass on."""
        self._sources = part.get("sources", self._sources)
        if "answer" in part:
            part["answer"] = self._marks.feed(part["answer"] or "")
            self._pieces.append(part["answer"])
        return set(part) != {"answer"} or bool(part["answer"])

    def rest(self) -> str:
        """Return what was kept back of the answer, for it might have become a mark."""
        self._pieces.append(self._marks.finish())
        return self._pieces[-1]

    def check(self, embeddings: Embeddings | None) -> dict[str, Any]:
        """Return the citations and the verdicts."""
        answer = "".join(self._pieces)
        refused = is_refusal(answer)
        checked = {"citations": [], "grounded": False} if refused else check_answer(answer, self._sources, embeddings)
        return {**checked, "refused": refused, "removed_citations": self._marks.removed}

    @property
    def _marks(self) -> MarkFilter:
        # Sources come before the answer's first piece.
        if self._filter is None:
            self._filter = MarkFilter(source["number"] for source in self._sources)
        return self._filter

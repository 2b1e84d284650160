"""The text of an answer: what of it can be shown as it comes, and what it is worth when it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.answering.citations import check_answer
from rag_chain.answering.marks import MarkFilter
from rag_chain.answering.prompt import KNOWLEDGE
from rag_chain.answering.refusals import is_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.embeddings import Embeddings


def read_piece(piece: Any) -> str:
    """Return the text of what a model gives, be it a message, a part of one or a text."""
    return piece if isinstance(piece, str) else str(piece.text)


class KnowledgeNotice:
    """Puts before an answer without sources that it is one; the model may have said so itself."""

    def __init__(self) -> None:
        self._begin: str | None = ""

    def feed(self, piece: str) -> str:
        """Return what can be shown now that this has come."""
        if self._begin is None:
            return piece
        self._begin += piece
        return "" if KNOWLEDGE.startswith(self._begin.strip()) else self.finish()

    def finish(self) -> str:
        """Return what was kept back."""
        begin, self._begin = self._begin, None
        return "" if begin is None else f"{KNOWLEDGE} {begin.lstrip().removeprefix(KNOWLEDGE).lstrip()}"


class AnswerText:
    """The text of an answer as it comes, with the marks of its sources only."""

    def __init__(self, sources: Sequence[Mapping[str, Any]], *, from_knowledge: bool = False) -> None:
        self._sources = sources
        self._notice = KnowledgeNotice() if from_knowledge else None
        self._marks = MarkFilter(source["number"] for source in sources)
        self._pieces: list[str] = []

    def take(self, piece: str) -> str:
        """Return what can be shown now that this has come."""
        said = self._notice.feed(piece) if self._notice else piece
        self._pieces.append(self._marks.feed(said))
        return self._pieces[-1]

    def rest(self) -> dict[str, str]:
        """Return what was kept back, for it might have become a mark; an answer always has a text, if an empty one."""
        begun = self._marks.feed(self._notice.finish()) if self._notice else ""
        self._pieces.append(begun + self._marks.finish())
        return {"answer": self._pieces[-1]}

    def end(self) -> dict[str, str]:
        """Return the whole text."""
        self.rest()
        return {"answer": "".join(self._pieces)}

    def check(self, embeddings: Embeddings | None) -> dict[str, Any]:
        """Return the citations and the verdicts."""
        answer = "".join(self._pieces)
        refused = is_refusal(answer)
        checked = {"citations": [], "grounded": False} if refused else check_answer(answer, self._sources, embeddings)
        return {**checked, "refused": refused, "removed_citations": self._marks.removed}

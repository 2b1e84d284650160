"""Number the sources, and fit them and the conversation into one budget of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.models.tokens import count_tokens, most_tokens
from rag_chain.sentences import split_sentences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.documents import Document

# Of the budget, at most this for what was said before: the sources are what an answer rests on.
HISTORY_SHARE = 0.25
# Less of a source than this is of no use.
LEAST_TOKENS = 40
CUT = " [cut]"


def pack_context(asked: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """Add the numbered ``sources`` that fit, and keep of ``chat_history`` what fits."""
    history = pack_history(asked["chat_history"], budget)
    sources = pack_sources(number_sources(asked["chunks"]), history, budget)
    return {**asked, "chat_history": history, "sources": sources}


def number_sources(chunks: Sequence[Document]) -> list[dict[str, Any]]:
    """Return the chunks as sources, numbered from 1 in the retriever's order."""
    return [_as_source(number, chunk) for number, chunk in enumerate(chunks, start=1)]


def _as_source(number: int, chunk: Document) -> dict[str, Any]:
    known = chunk.metadata
    return {
        "number": number,
        "source": str(known.get("source", "")),
        "title": str(known.get("title", "")),
        "heading": str(known.get("heading", "")),
        "start": int(known.get("start", 0)),
        "end": int(known.get("end", len(chunk.page_content))),
        "text": chunk.page_content,
        "score": float(known.get("score", 0.0)),
        "page": known.get("page"),
    }


def pack_history(turns: Sequence[Mapping[str, Any]], budget: int) -> list[dict[str, Any]]:
    """Return the latest turns that fit into a quarter of the budget; the oldest of them may be cut."""
    left, kept = int(budget * HISTORY_SHARE), list[dict[str, Any]]()
    for turn, tokens in reversed(list(zip(turns, _count(turns, "content"), strict=True))):
        if tokens > left:
            text = cut_text(turn["content"], left) if left >= LEAST_TOKENS else ""
            kept += [{**turn, "content": text + CUT}] if text else []
            break
        kept.append(dict(turn))
        left -= tokens
    return kept[::-1]


def pack_sources(
    sources: Sequence[Mapping[str, Any]], history: Sequence[Mapping[str, Any]], budget: int
) -> list[dict[str, Any]]:
    """Return the first sources that fit beside what :func:`pack_history` kept of the conversation.

    One that does not fit is cut at the end of a sentence and says so in ``cut``; the first is never left
    out. ``text``, ``start`` and ``end`` are of what is shown.
    """
    left = budget - sum(_count(history, "content"))
    if sum(most_tokens(source["text"]) for source in sources) <= left:
        return [{**source, "cut": False} for source in sources]
    packed: list[dict[str, Any]] = []
    for source, tokens in zip(sources, _count(sources, "text"), strict=True):
        if tokens <= left:
            packed.append({**source, "cut": False})
            left -= tokens
            continue
        text = cut_text(source["text"], max(left, LEAST_TOKENS)) if left >= LEAST_TOKENS or not packed else ""
        if text:
            packed.append({**source, "text": text, "end": _end(source, text), "cut": True})
        break
    return packed


def _end(source: Mapping[str, Any], text: str) -> int:
    """Return where a source that was cut to a text ends; -1 where nobody knows where it starts."""
    return int(source["start"]) + len(text) if source["start"] >= 0 else -1


def cut_text(text: str, tokens: int) -> str:
    """Return the first sentences of a text that have at most so many tokens; at least one, whatever it has."""
    ends = [end for _, end in split_sentences(text)] or [len(text)]
    counts = count_tokens([text[start:end] for start, end in zip([0, *ends], ends, strict=False)])
    kept, used = ends[0], 0
    for end, count in zip(ends, counts, strict=True):
        used += count
        if used > tokens:
            break
        kept = end
    return text[:kept]


def _count(rows: Sequence[Mapping[str, Any]], key: str) -> list[int]:
    return list(count_tokens([str(row[key]) for row in rows])) if rows else []

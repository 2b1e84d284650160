"""Check an answer's citations against its sources, without asking a model again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rag_chain.answering.support import LIKELY, find_nearest, find_support, find_verbatim
from rag_chain.claims import split_claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.embeddings import Embeddings

    from rag_chain.claims import Claim

# Cosine from which on a claim and a sentence say the same, where the embedding model knows no better.
ALIKE = 0.85


def check_answer(
    answer: str, sources: Sequence[Mapping[str, Any]], embeddings: Embeddings | None = None
) -> dict[str, Any]:
    """Return ``citations``, one for each source named by a sentence, and ``grounded``.

    ``verbatim``: the sentence stands in the source, up to white space, case and typography.
    ``supported``: one sentence of the source holds its numbers, its names and most of its content words,
    denies as much as it does and says the opposite of nothing; with ``embeddings``, fewer of its words
    where the two are alike besides.
    ``unsupported``: neither, or there is no such source. The answer is ``grounded`` when each of
    its sentences has a citation that holds and none that does not.
    """
    by_number = {source["number"]: source for source in sources}
    claims = list(split_claims(answer))
    checked = [[_check(claim.text, number, by_number.get(number)) for number in claim.numbers] for claim in claims]
    if embeddings is not None:
        _check_likeness(claims, checked, by_number, embeddings)
    holds = [bool(found) and all(c["verdict"] != "unsupported" for c in found) for found in checked]
    return {"citations": [c for found in checked for c in found], "grounded": bool(claims) and all(holds)}


def _check(claim: str, number: int, source: Mapping[str, Any] | None) -> dict[str, Any]:
    if source is None:
        return {"number": number, "quote": "", "start": 0, "end": 0, "verdict": "unsupported"}
    verdict, span = "verbatim", find_verbatim(claim, source["text"])
    if span is None:
        verdict, span = "supported", find_support(claim, source["text"], _context_of(source))
    return _cite(source, span or (0, 0), verdict if span else "unsupported")


def _cite(source: Mapping[str, Any], span: tuple[int, int], verdict: str) -> dict[str, Any]:
    start, end = span
    # Below zero: the splitter has changed the text, and nobody knows where the source starts in it.
    first = source["start"]
    place = {"start": first + start, "end": first + end} if first >= 0 else {"start": -1, "end": -1}
    return {"number": source["number"], "quote": source["text"][start:end], **place, "verdict": verdict}


def _context_of(source: Mapping[str, Any]) -> str:
    return f"{source.get('title', '')} {source.get('heading', '')}"


def _check_likeness(
    claims: Sequence[Claim],
    checked: Sequence[list[dict[str, Any]]],
    sources: Mapping[int, Mapping[str, Any]],
    embeddings: Embeddings,
) -> None:
    """Look again at what the words alone do not support, with one request for all of it."""
    open_: list[tuple[dict[str, Any], Mapping[str, Any], str, tuple[int, int]]] = []
    for claim, citations in zip(claims, checked, strict=True):
        for citation in citations:
            source = sources.get(citation["number"])
            if citation["verdict"] != "unsupported" or source is None:
                continue
            found = find_nearest(claim.text, source["text"], _context_of(source))
            if found is not None and found.share >= LIKELY:
                open_.append((citation, source, claim.text, (found.start, found.end)))
    texts = [text for _, source, claim, (start, end) in open_ for text in (claim, source["text"][start:end])]
    vectors = np.array(embeddings.embed_documents(texts)) if texts else np.empty((0, 1))
    for (citation, source, _, span), one, other in zip(open_, vectors[::2], vectors[1::2], strict=True):
        if float(one @ other) >= getattr(embeddings, "alike", ALIKE):
            citation.update(_cite(source, span, "supported"))

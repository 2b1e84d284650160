"""The real Fireworks API; runs with `FIREWORKS_API_KEY=... pytest -m live` and costs less than a cent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_chain import Settings, build_chain, ingest
from rag_chain.models.building import build_embeddings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not os.environ.get("FIREWORKS_API_KEY"), reason="FIREWORKS_API_KEY is not set"),
]


def test_the_documents_answer_a_question(folder: Path) -> None:
    """Ingest, retrieve and answer with the default models; the answer is cited and grounded."""
    settings = Settings(milvus_uri="./live.db", provider="fireworks")
    report = ingest(folder, settings)
    assert (report.chunks_embedded, report.requests) == (4, 1)
    answer = build_chain(settings).invoke("Where do rows live?")
    assert answer["sources"][0]["source"] == "guide/storage.md"
    assert answer["grounded"], answer


def test_vectors_are_what_we_expect() -> None:
    """768 dimensions, unit length, related texts nearer than unrelated ones, and many texts at once."""
    embeddings = build_embeddings(Settings(provider="fireworks"))
    vectors = np.array(embeddings.embed_documents(["Rows live in segments.", "Bears sleep."] * 65))
    assert vectors.shape == (130, 768)
    asked = np.array(embeddings.embed_query("Where do rows live?"))
    assert vectors[0] @ asked > vectors[1] @ asked


def test_a_stream_has_several_parts(folder: Path) -> None:
    """The answer comes in pieces."""
    settings = Settings(milvus_uri="./live.db", provider="fireworks")
    ingest(folder, settings)
    assert len(list(build_chain(settings).stream("Where do rows live?"))) > 3

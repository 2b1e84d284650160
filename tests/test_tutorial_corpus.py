"""The tutorial's corpus, the FAQ of the Milvus 2.4 documentation, with the local models.

Needs the documentation beside the checkout; skips without it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rag_chain import Settings, build_chain, build_retriever, ingest

DATA = Path(__file__).parents[2] / "shared" / "data"
FAQ = DATA / "milvus_docs" / "en" / "faq"
QUESTION = "How is data stored in milvus?"
SECTION = "Where does Milvus store data?"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FAQ.is_dir(), reason="the Milvus documentation is not beside this checkout"),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with the local models, over the four FAQ pages."""
    settings = Settings(milvus_uri=str(tmp_path_factory.mktemp("faq") / "faq.db"), provider="local")
    report = ingest(FAQ, settings)
    assert (len(report.added), report.refused) == (4, [])
    return settings


def test_the_tutorials_question_finds_the_section(settings: Settings) -> None:
    """It is among the first three passages."""
    found = build_retriever(settings).invoke(QUESTION)[:3]
    assert any(document.metadata["heading"].endswith(SECTION) for document in found)


def test_the_tutorials_question_is_answered_from_the_section(settings: Settings) -> None:
    """The answer cites it, word for word."""
    answer = build_chain(settings).invoke(QUESTION)
    cited = {citation["number"] for citation in answer["citations"] if citation["verdict"] == "verbatim"}
    assert any(s["number"] in cited and s["heading"].endswith(SECTION) for s in answer["sources"])
    assert answer["grounded"]


def test_the_published_zip_holds_the_same_documents(tmp_path: Path) -> None:
    """The zip of the whole documentation, narrowed to the FAQ, gives the same chunks."""
    archive = DATA / "milvus_docs_2.4.x_en.zip"
    settings = Settings(milvus_uri=str(tmp_path / "zip.db"), provider="local")
    report = ingest(archive, settings, glob="en/faq/*.md")
    assert (len(report.added), report.refused) == (4, [])
    found = build_retriever(settings).invoke(QUESTION)[:3]
    assert any(document.metadata["heading"].endswith(SECTION) for document in found)
    assert found[0].metadata["source"].startswith("en/faq/")


def test_the_faq_headings_find_their_sections(settings: Settings) -> None:
    """The tutorial's question and 26 headings, asked as questions: the section is in the top three for 90 %."""
    headings = _headings()
    retriever = build_retriever(settings)
    hits = [question for question, words in headings.items() if _hit(retriever.invoke(question)[:3], words)]
    assert len(headings) == 27
    assert len(hits) >= 0.9 * len(headings), set(headings) - set(hits)


def test_the_whole_documentation(tmp_path: Path) -> None:
    """224 pages, none refused; a second ingest embeds nothing."""
    settings = Settings(milvus_uri=str(tmp_path / "docs.db"), provider="local")
    first = ingest(DATA / "milvus_docs" / "en", settings)
    assert (len(first.added), first.refused) == (224, [])
    second = ingest(DATA / "milvus_docs" / "en", settings)
    assert (len(second.unchanged), second.chunks_embedded) == (224, 0)


def _headings() -> dict[str, str]:
    """Return each question and the words of the heading that it should find."""
    lines = (DATA / "milvus-faq" / "queries.jsonl").read_text("utf-8").splitlines()
    anchors = {json.loads(line)["metadata"].get("en_heading") for line in lines} - {None}
    return {QUESTION: _words(SECTION)} | {f"{a.replace('-', ' ')}?": _words(a) for a in sorted(anchors)}


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _hit(found: list[Any], words: str) -> bool:
    return any(_words(document.metadata["heading"].split(" > ")[-1]) == words for document in found)

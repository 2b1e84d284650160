"""What a LangChain loader gives is ingested by Ray's processes as it is here: `pytest -n 0 -m ray`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_text_splitters import RecursiveCharacterTextSplitter

from rag_chain import ingest
from tests.test_crashes import read_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_chain import Settings
    from rag_chain.ingestion.report import IngestReport

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray", "many")]


class Pages(BaseLoader):
    """A loader of so many documents, some of two pages."""

    def __init__(self, count: int, edition: str) -> None:
        self.count = count
        self.edition = edition

    def lazy_load(self) -> Iterator[Document]:
        for number in range(self.count):
            for page in range(1 + number % 2):
                text = f"# Page {page} of {number}\n\n" + f"Sentence about {number}. " * 30
                yield Document(text, metadata={"source": f"document {number}", "page": page, "edition": self.edition})


def run(settings: Settings, engine: str, *, with_splitter: bool) -> list[IngestReport]:
    splitter = RecursiveCharacterTextSplitter(chunk_size=200, chunk_overlap=20) if with_splitter else None
    editions = Pages(30, "first"), Pages(30, "first"), Pages(25, "second")
    return [ingest(loader, settings, engine=engine, splitter=splitter) for loader in editions]  # type: ignore[arg-type]


@pytest.mark.parametrize("with_splitter", [False, True])
def test_the_outcome_is_that_of_the_local_engine(online: Settings, with_splitter: bool) -> None:
    """Added, unchanged, then written again without embedding and pruned: the same reports and rows."""
    local, ray = (online.with_changes(milvus_uri=f"./{name}.db") for name in ("local", "ray"))
    expected = run(local, "local", with_splitter=with_splitter)
    reports = run(ray, "ray", with_splitter=with_splitter)
    assert [report.counts for report in reports] == [report.counts for report in expected]
    assert [report.chunks_embedded for report in reports] == [report.chunks_embedded for report in expected]
    assert (reports[2].counts["changed"], reports[2].counts["removed"], reports[2].chunks_embedded) == (25, 5, 0)
    assert read_store(ray) == read_store(local)

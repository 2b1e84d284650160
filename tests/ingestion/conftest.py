"""A library: a folder of documents, a Milvus Lite of its own and an embedding model with memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rag_chain.documents import find_documents, split_documents
from rag_chain.documents.loading import load_file
from rag_chain.documents.splitting import text_to_embed
from rag_chain.ingestion.plan import Plan, make_plan
from rag_chain.ingestion.preview import preview_plan
from rag_chain.ingestion.reading import Reading, Steps, read_document
from rag_chain.ingestion.run import Progress, run_plan
from rag_chain.pipeline import make_fingerprint
from rag_chain.settings import Settings
from rag_chain.store.collection import Store
from rag_chain.store.links import Address
from rag_chain.store.writing import CollectionWriter
from tests.fake_embeddings import FakeEmbeddings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from langchain_core.documents import Document

    from rag_chain.ingestion.plan import Work
    from rag_chain.ingestion.report import IngestReport
    from rag_chain.store.collection import StoredDocument


class Library:
    """Ingests as the pipeline does, with the fake model in the place of a provider's."""

    def __init__(self, folder: Path, name: str = "documents") -> None:
        self.settings = Settings(provider="local", chunk_tokens=32, chunk_overlap=0, max_file_bytes=200_000)
        self.store = Store(Address(str(folder / "library.db")), name)
        self.embeddings = FakeEmbeddings()
        self.progress: list[Progress] = []

    def plan(self, *places: str | Path, prune: bool = True, rebuild: bool = False, glob: str = "") -> Plan:
        """Return what an ingest of these places would do."""
        exists = self.store.exists()
        if exists:
            self.store.open_for(None if rebuild else self._fingerprint, writing=True)
        found = find_documents(places, self.settings, glob=glob or ())
        held = self.store.catalogue() if exists else {}
        return make_plan(found, held, prune=prune and not glob, rebuild=rebuild)

    def run(self, plan: Plan, *, rebuild: bool = False) -> IngestReport:
        """Do what a plan says."""
        return run_plan(
            plan,
            read=self._read,
            text_of=text_to_embed,
            embeddings=self.embeddings,
            target=CollectionWriter(self.store, self._fingerprint, rebuild=rebuild),
            on_progress=self.progress.append,
        )

    def ingest(self, *places: str | Path, rebuild: bool = False, **options: Any) -> IngestReport:
        """Plan and do it."""
        return self.run(self.plan(*places, rebuild=rebuild, **options), rebuild=rebuild)

    def preview(self, plan: Plan, *, rebuild: bool = False) -> IngestReport:
        """Count what a plan would do."""
        return preview_plan(
            plan,
            read=self._read,
            text_of=text_to_embed,
            held=CollectionWriter(self.store, self._fingerprint, rebuild=rebuild).held,
            count_tokens=self._count,
            batch_size=self.embeddings.batch_size,
        )

    def catalogue(self) -> dict[str, StoredDocument]:
        """Return the complete documents."""
        return self.store.catalogue()

    def rows(self) -> list[dict[str, Any]]:
        """Return all chunks in the store, complete documents' or not."""
        fields = ["id", "source", "text", "version", "position", "chunks"]
        found: list[dict[str, Any]] = self.store.client.query(self.store.name, filter='id != ""', output_fields=fields)
        return sorted(found, key=lambda row: (row["source"], row["position"], row["version"]))

    def texts(self) -> str:
        """Return all that can be found."""
        return "\n".join(row["text"] for row in self.rows())

    def _read(self, works: Iterable[Work]) -> Generator[Reading, None, None]:
        steps = Steps(load_file, self._split)
        yield from (read_document(work, steps) for work in works)

    @property
    def _fingerprint(self) -> dict[str, Any]:
        return make_fingerprint(self.settings, self.embeddings)

    def _split(self, document: Document) -> Iterator[Document]:
        return split_documents([document], self.settings)

    @staticmethod
    def _count(texts: list[str]) -> int:
        counter = FakeEmbeddings()
        counter.embed_documents(texts)
        return counter.usage.tokens


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """A library in which there is nothing yet."""
    library = Library(tmp_path)
    yield library
    library.store.close()


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder with three documents, the longest of several chunks."""
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "bears.md").write_text("# Bears\n\nBrown bears sleep in winter.\n", "utf-8")
    (folder / "sub" / "tides.txt").write_text("The moon pulls the ocean.\n", "utf-8")
    (folder / "long.txt").write_text(long_text("salmon"), "utf-8")
    return folder


def long_text(word: str, sentences: int = 12) -> str:
    """Return a text of several chunks."""
    return " ".join(f"Sentence {number} is about {word} and its river." for number in range(sentences)) + "\n"

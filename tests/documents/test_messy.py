"""Real documents from the test suites of parsers; they are not part of the repository."""

import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from langchain_core.documents import Document

from rag_chain.documents import load_or_reason, split_documents
from rag_chain.documents.finding import FoundFile, Limits, find_files
from rag_chain.documents.loading.file_loader import LoadOptions
from rag_chain.errors import DocumentError
from rag_chain.settings import Settings
from rag_chain.workers import Bounds, Workers

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "messy"
SECONDS = 30
NOT_YET: dict[str, str] = {}

Readers = Workers[FoundFile, Document | str]


@dataclass(frozen=True)
class Row:
    file: str
    expect: str
    password: str | None
    must_find: tuple[str, ...]


def read_manifest() -> Iterator[Row]:
    manifest = FOLDER / "MANIFEST.tsv"
    for line in manifest.read_text("utf-8").splitlines()[1:] if manifest.exists() else ():
        file, _, _, _, _, expect, _, must_find, *_ = line.split("\t")
        kind, colon, password = expect.partition(":")
        yield Row(file, kind, password if colon else None, tuple(filter(None, must_find.split(" || "))))


def fold(text: str) -> str:
    """Return a text without what extractors may differ in: case, forms, white space and invisible marks."""
    letters = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in letters if not letter.isspace() and unicodedata.category(letter) != "Cf")


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    with Readers(partial(load_or_reason, options=LoadOptions()), str, bounds=Bounds(SECONDS)) as readers:
        yield readers


def load(path: Path, readers: Readers) -> tuple[list[Document], str]:
    """Return the documents in a file or archive, and why something in it was refused."""
    reasons = []
    files = []
    try:
        for finding in find_files(path, limits=Limits(10**8, 2 * 10**9)):
            if isinstance(finding, FoundFile):
                files.append(finding)
            else:
                reasons.append(finding.reason)
    except DocumentError as error:
        reasons.append(str(error))
    loaded = list(readers.map(files))
    reasons += [reason for reason in loaded if isinstance(reason, str)]
    return [document for document in loaded if isinstance(document, Document)], "\n".join(reasons)


def holds(row: Row, documents: list[Document]) -> bool:
    text = fold("\n".join(document.page_content for document in documents))
    return all(fold(part) in text for part in row.must_find) and bool(text) is (row.expect not in NO_TEXT)


NO_TEXT = {"empty", "password-empty"}


def meets(row: Row, documents: list[Document], reason: str) -> bool:
    if row.expect in {"text", "empty"}:
        return not reason and holds(row, documents)
    if row.expect.startswith("password"):
        return reason.startswith("encrypted: ")
    return bool(reason) or row.expect == "text-or-refuse"


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no {FOLDER.name} folder of real documents beside the repository")
@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.file) for row in [*read_manifest()] or [Row("none", "", None, ())]]
)
def test_real_documents_are_read_or_refused_as_they_should(
    row: Row, readers: Readers, request: pytest.FixtureRequest
) -> None:
    """The text holds what a person sees in the document, or a reason says in time why there is none.

    Every chunk of it is a slice of the text, and nothing but white space lies between them.
    """
    if not (FOLDER / row.file).exists():
        pytest.skip("listed, but not in the folder")
    if row.file in NOT_YET:
        request.applymarker(pytest.mark.xfail(reason=NOT_YET[row.file], strict=True))
    started = time.monotonic()
    documents, reason = load(FOLDER / row.file, readers)
    assert time.monotonic() - started < SECONDS
    assert meets(row, documents, reason), reason or [document.page_content[:500] for document in documents]
    if row.password is not None:
        with Readers(partial(load_or_reason, options=LoadOptions(row.password)), str, count=0) as unlocked:
            documents, reason = load(FOLDER / row.file, unlocked)
        assert not reason
        assert holds(row, documents)
    for document in documents:
        check_chunks(document)


def check_chunks(document: Document) -> None:
    text, covered = document.page_content, 0
    for chunk in split_documents([document], Settings(provider="local", chunk_overlap=0)):
        start, end = chunk.metadata["start"], chunk.metadata["end"]
        assert text[start:end] == chunk.page_content
        assert not text[covered:start].strip()
        covered = end
    assert not text[covered:].strip()

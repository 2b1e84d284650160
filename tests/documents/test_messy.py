"""Real documents from the test suites of parsers; they are not part of the repository."""

import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rag_chain.documents.finding import FoundFile, find_files
from rag_chain.documents.loading import SUPPORTED_SUFFIXES, load_file
from rag_chain.errors import DocumentError

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "messy"
SUFFIXES = SUPPORTED_SUFFIXES | {".zip"}
SECONDS = 30
NOT_YET = {
    "pdf/imagemagick-images.pdf": "a word is drawn under its images, so the text is not empty",
    "pdf/issue16538.pdf": "pypdf does not know the font's encoding",
    "pdf/issue13147.pdf": "pypdf does not know the font's encoding",
    "pdf/issue20232.pdf": "pypdf takes the font's UTF-8 for Latin letters",
    "pdf/noembed-eucjp.pdf": "pypdf has no table for EUC-JP fonts",
    "pdf/vertical.pdf": "pypdf does not know the font's encoding",
    "pdf/Pages-tree-refs.pdf": "pypdf refuses a loop in the page tree",
    "html/big-preamble.html": "the phrase stands in the title only, and the page has a heading",
}


@dataclass(frozen=True)
class Row:
    file: str
    expect: str
    must_find: tuple[str, ...]


def read_manifest() -> Iterator[Row]:
    manifest = FOLDER / "MANIFEST.tsv"
    for line in manifest.read_text("utf-8").splitlines()[1:] if manifest.exists() else ():
        file, _, _, _, _, expect, _, must_find, *_ = line.split("\t")
        if Path(file).suffix in SUFFIXES:
            yield Row(file, expect.partition(":")[0], tuple(filter(None, must_find.split(" || "))))


def fold(text: str) -> str:
    """Return a text without what extractors may differ in: case, forms, white space and invisible marks."""
    letters = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in letters if not letter.isspace() and unicodedata.category(letter) != "Cf")


def load(path: Path) -> tuple[str, str]:
    """Return the text of a document or archive, and why something in it was refused."""
    texts, reasons = [], []
    try:
        for finding in find_files(path, max_file_bytes=10**8, max_archive_bytes=2 * 10**9):
            if isinstance(finding, FoundFile):
                texts.append(load_file(finding).page_content)
            else:
                reasons.append(finding.reason)
    except DocumentError as error:
        reasons.append(str(error))
    return "\n".join(texts), "\n".join(reasons)


def meets(row: Row, text: str, reason: str) -> bool:
    if row.expect == "text":
        return not reason and bool(text.strip()) and all(fold(part) in fold(text) for part in row.must_find)
    if row.expect == "empty":
        return not reason and not text.strip()
    return bool(reason) or row.expect == "text-or-refuse"


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no {FOLDER.name} folder of real documents beside the repository")
@pytest.mark.parametrize("row", [pytest.param(row, id=row.file) for row in [*read_manifest()] or [Row("none", "", ())]])
def test_real_documents_are_read_or_refused_as_they_should(row: Row, request: pytest.FixtureRequest) -> None:
    """The text holds what a person sees in the document, or a reason says in time why there is none."""
    if not (FOLDER / row.file).exists():
        pytest.skip("listed, but not in the folder")
    if row.file in NOT_YET:
        request.applymarker(pytest.mark.xfail(reason=NOT_YET[row.file], strict=True))
    started = time.monotonic()
    text, reason = load(FOLDER / row.file)
    assert time.monotonic() - started < SECONDS
    assert meets(row, text, reason), reason or text[:500]

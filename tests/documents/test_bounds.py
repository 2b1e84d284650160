"""Bombs and endless files: each is refused in seconds, with a reason, and the documents beside it are read."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import time
import zlib
from typing import TYPE_CHECKING

import pytest

from rag_chain.documents import load_documents
from rag_chain.errors import DocumentError
from rag_chain.settings import Settings
from tests.documents.samples import build_overlapping_zip, build_pdf, build_zip, number_objects

if TYPE_CHECKING:
    from pathlib import Path

    from rag_chain.documents import Refusal

SECONDS = 30
GIGABYTE = 10**9


def read(folder: Path, **settings: int) -> tuple[list[str], dict[str, str]]:
    """Return the texts of all documents, and the reasons of the others by their source."""
    refused: list[Refusal] = []
    started = time.monotonic()
    documents = load_documents(folder, Settings(provider="local", **settings), on_refused=refused.append)
    texts = [document.page_content for document in documents]
    assert time.monotonic() - started < SECONDS
    return texts, {refusal.source: refusal.reason for refusal in refused}


def build_pdf_bomb(filters: int) -> bytes:
    """Return a PDF whose page inflates to a gigabyte, in a few megabytes or, deflated again, a few kilobytes."""
    packer = zlib.compressobj(9)
    content = b"".join(packer.compress(b" " * 10**7) for _ in range(100)) + packer.flush()
    for _ in range(filters - 1):
        content = zlib.compress(content, 9)
    names = "/FlateDecode " * filters
    return number_objects(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R >>",
            f"<< /Length {len(content)} /Filter [{names}] >>\nstream\n".encode() + content + b"\nendstream",
        ],
        "/Root 1 0 R",
    )


def build_tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="bounds memory as Linux does")
@pytest.mark.slow
@pytest.mark.parametrize("filters", [1, 2])
def test_a_page_that_inflates_to_a_gigabyte_is_refused(
    tmp_path: Path, filters: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """The parser may take so much memory and no more; it dies in silence."""
    (tmp_path / "a.md").write_text("before", "utf-8")
    (tmp_path / "bomb.pdf").write_bytes(build_pdf_bomb(filters))
    (tmp_path / "z.md").write_text("after", "utf-8")
    texts, refused = read(tmp_path)
    assert texts == ["before", "after"]
    assert "RAG_DOCUMENT_MEGABYTES" in refused["bomb.pdf"]
    assert capfd.readouterr() == ("", "")


def test_one_line_of_a_gigabyte_is_refused(tmp_path: Path) -> None:
    """It is not even opened."""
    with (tmp_path / "line.txt").open("wb") as file:
        file.truncate(GIGABYTE)
    assert "over the limit" in read(tmp_path)[1]["line.txt"]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
def test_tar_archives_are_read(tmp_path: Path, mode: str) -> None:
    """Compressed or not; links, and paths that lead out of it, are not followed."""
    archive = build_tar({"./docs/a.md": b"eins", "../out.md": b"x", "c.bin": b"x"}, mode)
    path = tmp_path / "docs.tar"
    path.write_bytes(archive)
    assert read(path) == (["eins"], {"../out.md": "its path leads out of the archive"})


def test_a_compressed_tar_bomb_is_refused(tmp_path: Path) -> None:
    """It is unpacked to two hundred times its size, and no further."""
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(build_tar({"zeros.txt": bytes(5 * 10**7)})))
    with pytest.raises(DocumentError, match=r"unpacks to over .* bytes, like a bomb"):
        read(path)


def test_archives_in_archives_count_together(tmp_path: Path) -> None:
    """One inside another is opened, a third is not; all their documents share one limit."""
    third = build_zip({"c.md": "drei"})
    inner = build_zip({"b.md": "zwei " * 200, "third.zip": third})
    path = tmp_path / "docs.zip"
    path.write_bytes(build_zip({"a.md": "eins", "inner.zip": inner, "in.tar.gz": build_tar({"d.md": b"vier"}, "w:gz")}))
    texts, refused = read(path)
    assert (texts, refused) == (["eins", "zwei " * 200, "vier"], {})
    texts, refused = read(path, max_archive_bytes=1200)
    assert texts == ["eins"]
    assert all("RAG_MAX_ARCHIVE_BYTES" in reason for reason in refused.values())


def test_overlapping_entries_in_an_inner_archive_are_refused(tmp_path: Path) -> None:
    """As in an outer one."""
    path = tmp_path / "docs.zip"
    path.write_bytes(build_zip({"bomb.zip": build_overlapping_zip(50), "a.md": "eins"}))
    texts, refused = read(path)
    assert texts == ["eins"]
    assert "overlap" in refused["bomb.zip"]


def test_what_a_file_is_counts_more_than_its_name(tmp_path: Path) -> None:
    """A PDF and a Rich Text that are named as text are read as what they are."""
    (tmp_path / "a.txt").write_bytes(build_pdf(["A page"]))
    (tmp_path / "b.md").write_bytes(rb"{\rtf1 Rich\par}")
    (tmp_path / "c.txt").write_text("%PDF is a format", "utf-8")
    assert read(tmp_path) == (["A page", "Rich", "%PDF is a format"], {})


def test_json_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    """A folder's settings and menus are no documents; who names such a file is told why it is none."""
    (tmp_path / "menu.json").write_text('{"label": "Home", "text": "Go home"}', "utf-8")
    (tmp_path / "home.json").write_text('{"blog": {"abstract": "Something about a post that is elsewhere."}}', "utf-8")
    (tmp_path / "posts.json").write_text('[{"text": "A post of some length, as those of people are."}]', "utf-8")
    assert read(tmp_path) == (["A post of some length, as those of people are."], {})
    (tmp_path / "data.json").write_text('{"size": 1}', "utf-8")
    assert "text field" in read(tmp_path / "data.json")[1]["data.json"]

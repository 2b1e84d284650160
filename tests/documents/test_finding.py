"""Files, folders, glob patterns, zip archives and addresses, and what is refused among them."""

import gc
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_STORED

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_chain.documents.finding import FoundFile, Limits, Refusal, Skipped, find_files
from rag_chain.documents.finding.patterns import build_matcher
from rag_chain.errors import DocumentError
from tests.documents.samples import build_overlapping_zip, build_zip, declare_size, mark_encrypted

Finding = FoundFile | Refusal | Skipped


def find(
    *paths: str | Path, globs: Sequence[str] = (), file_limit: int = 10_000, archive_limit: int = 100_000
) -> list[Finding]:
    return list(find_files(paths, globs=globs, limits=Limits(file_limit, archive_limit)))


def sources(findings: list[Finding], kind: type[Finding] = FoundFile) -> list[str]:
    return [finding.source for finding in findings if isinstance(finding, kind)]


def only_file(findings: list[Finding]) -> FoundFile:
    (finding,) = findings
    assert isinstance(finding, FoundFile)
    return finding


def only_reason(findings: list[Finding]) -> str:
    (finding,) = findings
    assert isinstance(finding, Refusal)
    assert "\n" not in finding.reason
    return finding.reason


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    for name in ["b.md", "a.md", "faq/two.md", "faq/one.txt", "faq/old/three.md", ".git/x.md", ".y.md", "faq/z.exe"]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    return folder


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


class TestFiles:
    def test_a_named_file_goes_by_its_name(self, docs: Path) -> None:
        """A named file's source is its name, and it is its own root."""
        path = docs / "faq/two.md"
        file = only_file(find(path))
        assert (file.source, file.uri, file.root) == ("two.md", path.as_uri(), path.as_uri())
        assert (file.size, file.modified) == (path.stat().st_size, path.stat().st_mtime)
        assert file.read() == b"text of faq/two.md"

    def test_a_missing_place_is_an_error_before_anything_is_found(self, docs: Path) -> None:
        """A misspelt place is told at once, not after the places before it have been read."""
        with pytest.raises(DocumentError, match=r"^no such file or folder: .*nowhere$"):
            find_files([docs, docs / "nowhere"], limits=Limits(1, 1))

    @pytest.mark.parametrize("place", ["", "nowhere/*.md", "a\0b"])
    def test_places_that_cannot_exist_are_errors(self, place: str) -> None:
        """Neither an empty name nor a pattern below nothing means the current folder."""
        with pytest.raises(DocumentError):
            find(place)

    def test_a_named_file_of_unknown_type_is_refused(self, docs: Path) -> None:
        """Who names a file wants to know why it can't be read, and what can."""
        assert only_reason(find(docs / "faq/z.exe")).startswith("no loader for .exe files; there is one for .adoc .csv")

    def test_a_large_file_is_refused(self, docs: Path) -> None:
        """The refusal tells the size and the setting that raises the limit."""
        path = write(docs / "big.md", b"x" * 20_000)
        assert only_reason(find(path)) == "20,000 bytes are over the limit of 10,000; RAG_MAX_FILE_BYTES raises it"

    def test_a_file_that_is_gone_when_it_is_read_is_an_error(self, docs: Path) -> None:
        """Reading after the file was removed raises a DocumentError."""
        file = only_file(find(docs / "a.md"))
        (docs / "a.md").unlink()
        with pytest.raises(DocumentError, match="can't be read"):
            file.read()

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
    def test_a_pipe_is_refused(self, tmp_path: Path) -> None:
        """A pipe is not opened: that would wait for a writer."""
        os.mkfifo(tmp_path / "pipe.md")
        assert only_reason(find(tmp_path)) == "not a regular file"


class TestFolders:
    def test_a_folder_is_walked_in_order(self, docs: Path) -> None:
        """Files come sorted by path; hidden ones are left out, unknown types are named as skipped."""
        found = find(docs)
        assert sources(found) == ["a.md", "b.md", "faq/old/three.md", "faq/one.txt", "faq/two.md"]
        assert [f for f in found if isinstance(f, Skipped)] == [Skipped("faq/z.exe", "no loader for .exe files")]
        assert {file.root for file in found if isinstance(file, FoundFile)} == {docs.as_uri()}

    def test_globs_filter_the_relative_path(self, docs: Path) -> None:
        """``*`` stays inside a folder and ``**`` does not."""
        assert sources(find(docs, globs=["faq/*.md"])) == ["faq/two.md"]
        assert sources(find(docs, globs=["**/*.md"])) == ["a.md", "b.md", "faq/old/three.md", "faq/two.md"]

    def test_overlapping_places_yield_a_file_once(self, docs: Path) -> None:
        """The first place that holds a file counts."""
        assert sources(find(docs / "faq", docs, docs / "a.md")).count("two.md") == 1
        assert len(sources(find(docs / "faq", docs, docs / "a.md"))) == 5

    def test_links_are_followed_once(self, docs: Path) -> None:
        """A link back up does not make the walk endless, and a linked file is one file."""
        (docs / "faq/up").symlink_to(docs, target_is_directory=True)
        (docs / "c.md").symlink_to(docs / "a.md")
        (docs / "loop.md").symlink_to(docs / "loop.md")
        found = find(docs)
        assert len(sources(found)) == 5
        assert sources(found, Refusal) == ["loop.md"]

    def test_a_dangling_link_is_refused(self, tmp_path: Path) -> None:
        """A link to nothing is named with the reason."""
        (tmp_path / "gone.md").symlink_to(tmp_path / "nothing")
        assert only_reason(find(tmp_path)) == "can't be read: No such file or directory"

    def test_an_empty_folder_yields_nothing(self, tmp_path: Path) -> None:
        """That nothing was found is for the caller to tell."""
        assert find(tmp_path) == []

    def test_archives_in_folders_are_named(self, docs: Path) -> None:
        """An archive in a folder is skipped, and the reason says how to read it."""
        write(docs / "old.zip", build_zip({"a.md": "x"}))
        assert Skipped("old.zip", "an archive inside a folder is not opened; name it to read it") in find(docs)

    @pytest.mark.skipif(sys.platform != "linux", reason="file names are text here")
    def test_a_file_name_that_is_no_text_can_be_stored(self, tmp_path: Path) -> None:
        """Bytes that are not UTF-8 are spelt out in the source, and the file can be read."""
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_text("x")
        file = only_file(find(tmp_path))
        assert (file.source, file.read()) == ("caf\\xe9.md", b"x")
        assert file.uri.endswith("/caf%E9.md")


class TestPatterns:
    def test_a_pattern_starts_at_its_fixed_folder(self, docs: Path) -> None:
        """The root of a pattern is the folder before its first wildcard."""
        found = find(f"{docs}/faq/*.md")
        assert sources(found) == ["two.md"]
        assert only_file(found).root == (docs / "faq").as_uri()

    def test_a_pattern_without_matches_yields_nothing(self, docs: Path) -> None:
        """A pattern is a question, and no file is an answer."""
        assert find(f"{docs}/*.rst") == []

    def test_two_stars_cross_folders(self, docs: Path) -> None:
        """``**`` stands for any number of folders, also for none."""
        assert sources(find(f"{docs}/**/t*.md")) == ["faq/old/three.md", "faq/two.md"]

    def test_an_existing_name_is_no_pattern(self, docs: Path) -> None:
        """A file whose name has brackets is found by its name."""
        assert only_file(find(write(docs / "a[1].md", "x"))).source == "a[1].md"

    def test_a_pattern_can_name_archives(self, docs: Path) -> None:
        """A pattern that ends in .zip means what is in the archives."""
        write(docs / "old.zip", build_zip({"inside.md": "x"}))
        assert sources(find(f"{docs}/*.zip")) == ["inside.md"]

    @pytest.mark.parametrize(
        ("glob", "path", "expected"),
        [
            ("*.md", "a.md", True),
            ("*.md", "b/a.md", False),
            ("**/*.md", "a.md", True),
            ("en/**", "en/b/a.md", True),
            ("en/**/a.md", "en/a.md", True),
            ("a?.md", "a/.md", False),
            ("[ab].md", "b.md", True),
            ("[!ab].md", "b.md", False),
            ("[a-c].md", "b.md", True),
            ("[c-a].md", "b.md", False),
            ("[!c-a].md", "b.md", True),
            ("[a-].md", "-.md", True),
            ("[!].md", "!.md", True),
            ("[.md", "[.md", True),
            ("./a.md", "a.md", True),
        ],
    )
    def test_globs_mean_what_shells_mean(self, glob: str, path: str, expected: bool) -> None:
        """Wildcards never match a separator, save for ``**``."""
        assert build_matcher([glob])(path) is expected

    @settings(max_examples=500)
    @given(st.text(alphabet="ab/*?[]!-.\\^", max_size=20), st.text(alphabet="ab/.[", max_size=10))
    def test_any_text_is_a_glob(self, glob: str, path: str) -> None:
        """No pattern makes the matcher fail."""
        assert build_matcher([glob])(path) in {True, False}


class TestArchives:
    def test_members_are_found_and_read(self, tmp_path: Path) -> None:
        """A member has the archive as its root and its own address in it."""
        path = write(
            tmp_path / "docs.zip", build_zip({"en/faq/a.md": "eins", "b.bin": "", "in.zip": "", "c.txt": "zwei"})
        )
        found = find(path)
        first, second = (finding for finding in found if isinstance(finding, FoundFile))
        assert (first.source, first.uri, first.root) == ("en/faq/a.md", f"{path.as_uri()}!/en/faq/a.md", path.as_uri())
        assert (first.read(), second.read(), first.size) == (b"eins", b"zwei", 4)
        assert (sources(found, Skipped), sources(found, Refusal)) == (["b.bin"], ["in.zip"])

    def test_globs_and_noise(self, tmp_path: Path) -> None:
        """Globs filter members; hidden ones and those that macOS adds are left out."""
        names = ["en/a.md", "de/a.md", "__MACOSX/en/a.md", ".x/a.md", "en/.b.md"]
        path = write(tmp_path / "docs.zip", build_zip(dict.fromkeys(names, "x")))
        assert sources(find(path)) == ["en/a.md", "de/a.md"]
        assert sources(find(path, globs=["en/**"])) == ["en/a.md"]

    def test_a_member_is_readable_after_the_search(self, tmp_path: Path) -> None:
        """The archive stays open as long as one of its files is in use, and closes without a warning."""
        path = write(tmp_path / "docs.zip", build_zip({"a.md": "x", "b.md": "y"}))
        searching = find_files(path, limits=Limits(10, 10))
        file = next(searching)
        assert isinstance(file, FoundFile)
        del searching
        gc.collect()
        assert file.read() == b"x"
        del file
        gc.collect()

    def test_names_in_utf_8_are_read_as_such(self, tmp_path: Path) -> None:
        """Names keep their letters, flagged as UTF-8 or not."""
        flagged = build_zip({"größe.md": "x"})
        unflagged = flagged.replace(b"\x00\x08\x00\x00", b"\x00\x00\x00\x00")
        assert only_file(find(write(tmp_path / "a.zip", flagged))).source == "größe.md"
        assert only_file(find(write(tmp_path / "b.zip", unflagged))).source == "größe.md"

    @pytest.mark.parametrize("name", ["../a.md", "/a.md", "x/../../a.md", "C:/a.md", "..\\a.md"])
    def test_paths_out_of_the_archive_are_refused(self, tmp_path: Path, name: str) -> None:
        """A member does not get a name that leads elsewhere."""
        path = write(tmp_path / "docs.zip", build_zip({name: "x"}))
        assert only_reason(find(path)) == "its path leads out of the archive"

    def test_encrypted_members_are_refused(self, tmp_path: Path) -> None:
        """The reason says what mends it."""
        path = write(tmp_path / "docs.zip", mark_encrypted(build_zip({"a.md": "x"})))
        assert only_reason(find(path)) == (
            "encrypted: set RAG_DOCUMENT_PASSWORD to its password, or pack it again without one"
        )

    def test_large_members_are_refused(self, tmp_path: Path) -> None:
        """A member is held to the limit of files."""
        path = write(tmp_path / "docs.zip", build_zip({"a.md": "x" * 10_001}))
        assert "RAG_MAX_FILE_BYTES" in only_reason(find(path))

    def test_members_that_lie_about_their_size_are_not_unpacked(self, tmp_path: Path) -> None:
        """Reading ends at the declared size, and what is longer is damaged."""
        path = write(tmp_path / "docs.zip", declare_size(build_zip({"a.md": "x" * 1_000_000}), 100))
        with pytest.raises(DocumentError, match="damaged in its archive"):
            only_file(find(path)).read()

    def test_all_members_together_are_limited(self, tmp_path: Path) -> None:
        """What is over the limit of archives is refused, what came before it is not."""
        path = write(tmp_path / "docs.zip", build_zip({f"{n}.md": "x" * 9_000 for n in range(4)}, ZIP_STORED))
        found = find(path, archive_limit=20_000)
        assert (sources(found), sources(found, Refusal)) == (["0.md", "1.md"], ["2.md", "3.md"])

    def test_a_member_that_expands_without_measure_is_refused(self, tmp_path: Path) -> None:
        """Megabytes out of next to nothing are a bomb, whatever the limits are."""
        path = write(tmp_path / "docs.zip", build_zip({"a.md": bytes(3_000_000)}))
        assert "like a zip bomb" in only_reason(find(path, file_limit=10**9, archive_limit=10**9))

    def test_unusual_compression_is_refused(self, tmp_path: Path) -> None:
        """Only methods whose output can be bounded are unpacked."""
        path = write(tmp_path / "docs.zip", build_zip({"a.md": "x"}, ZIP_BZIP2))
        assert "pack it again as an ordinary zip" in only_reason(find(path))

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"no zip", "not a readable zip archive"),
            (build_zip({"a.md": "x"})[:-30], "not a readable zip archive"),
            (build_overlapping_zip(3), "its entries overlap, as in a zip bomb"),
        ],
    )
    def test_a_broken_archive_fails_alone_and_is_refused_in_company(
        self, tmp_path: Path, docs: Path, data: bytes, reason: str
    ) -> None:
        """The only place is an error, one of several is left out by name."""
        path = write(tmp_path / "bad.zip", data)
        with pytest.raises(DocumentError, match=reason) as caught:
            find(path)
        assert "\n" not in str(caught.value)
        found = find(path, docs / "a.md")
        assert (sources(found), sources(found, Refusal)) == (["a.md"], ["bad.zip"])

    @given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
    def test_a_damaged_archive_raises_nothing_else(self, noise: bytes, position: int, byte: int) -> None:
        """Whatever is in the bytes, the outcome is a file, a refusal or a DocumentError."""
        good = bytearray(build_zip({"a.md": "text", "b.md": "x" * 2_000}))
        good[position % len(good)] = byte
        with tempfile.TemporaryDirectory() as folder:
            for data in (noise, bytes(good)):
                path = write(Path(folder) / "x.zip", data)
                try:
                    for finding in find(path):
                        if isinstance(finding, FoundFile):
                            finding.read()
                except DocumentError as error:
                    assert "\n" not in str(error)

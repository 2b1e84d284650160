"""The loaders: what text, title and markup comes out of each kind of file, and what is refused."""

import hashlib
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.documents.base import Blob

from rag_chain.documents.finding import FoundFile
from rag_chain.documents.loading import SUPPORTED_SUFFIXES, load_file
from rag_chain.documents.loading.decoding import clean_text, decode
from rag_chain.documents.loading.pdf import _mend_letters
from rag_chain.documents.loading.table import find_loader
from rag_chain.errors import DocumentError
from tests.documents.samples import build_docx, build_notebook, build_pdf, build_zip, paragraph

TEXT_SUFFIXES = sorted(set(".md .txt .rst .log .srt .html .csv .tsv .eml .mht".split()))


CONTAINER_SUFFIXES = set(".pdf .docx .pptx .xlsx .xls .ods .odt .odp .rtf .epub .xml .json .jsonl .ipynb".split())


def load(name: str, content: bytes | str) -> Document:
    data = content.encode() if isinstance(content, str) else content
    (document,) = find_loader(Path(name).suffix)(Blob(data=data, path=name)).load()
    return document


def text_of(name: str, content: bytes | str) -> str:
    return load(name, content).page_content


def reason_of(name: str, content: bytes | str) -> str:
    with pytest.raises(DocumentError) as caught:
        load(name, content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestAllLoaders:
    @pytest.mark.parametrize("suffix", sorted(SUPPORTED_SUFFIXES))
    def test_every_row_of_the_table_is_a_langchain_loader(self, suffix: str) -> None:
        """Each suffix leads to a ``BaseLoader``, in capitals too."""
        assert issubclass(find_loader(suffix.upper()), BaseLoader)

    def test_a_suffix_without_a_loader_is_an_error(self) -> None:
        """What the table does not have is named."""
        with pytest.raises(DocumentError, match=r"no loader for \.exe files"):
            find_loader(".exe")

    def test_the_table_imports_no_loader(self) -> None:
        """Importing the package costs neither the parsers nor LangChain."""
        code = (
            "import sys, rag_chain.documents.loading, rag_chain.documents.finding; "
            "names = ('bs4', 'mammoth', 'pypdfium2', 'pptx', 'yaml', 'langchain_community', 'httpx'); "
            "print([name for name in names if name in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == "[]"

    def test_a_path_will_do(self, tmp_path: Path) -> None:
        """A loader takes a path like any other LangChain loader, and names it as the source."""
        path = tmp_path / "x.md"
        path.write_text("# Title\n\ntext")
        (document,) = find_loader(".md")(path).load()
        assert document.metadata == {"source": str(path), "title": "Title", "markup": "markdown"}
        with pytest.raises(DocumentError, match="can't be read: No such file"):
            find_loader(".md")(tmp_path / "y.md").load()

    def test_a_found_file_keeps_where_it_came_from(self) -> None:
        """The metadata has the file's addresses and the digest of its bytes beside what the loader knows."""
        file = FoundFile("faq/a.md", "file:///d/faq/a.md", "file:///d", 12.75, 5, lambda: b"# A\r\nb")
        document = load_file(file)
        assert document.page_content == "# A\nb"
        assert document.metadata == {
            "source": "faq/a.md",
            "title": "A",
            "markup": "markdown",
            "uri": "file:///d/faq/a.md",
            "root": "file:///d",
            "modified": 12,
            "content_hash": hashlib.sha256(b"# A\r\nb").hexdigest(),
        }

    @pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
    def test_an_empty_file_has_empty_text(self, suffix: str) -> None:
        """Nothing in, nothing out."""
        assert text_of(f"x{suffix}", b"") == ""

    @pytest.mark.parametrize("suffix", sorted(CONTAINER_SUFFIXES))
    def test_an_empty_file_of_another_format_is_refused(self, suffix: str) -> None:
        """The reason says what it should be."""
        assert re.match(r"not (a )?(readable|notebook)|it has no text field", reason_of(f"x{suffix}", b""))

    @pytest.mark.parametrize("suffix", sorted(SUPPORTED_SUFFIXES))
    @given(data=st.binary(max_size=300))
    @settings(max_examples=40, deadline=None)
    def test_any_bytes_are_a_document_or_an_error(self, suffix: str, data: bytes) -> None:
        """No loader raises anything but DocumentError, and what it returns is clean."""
        check_total(f"x{suffix}", data)

    @pytest.mark.parametrize("suffix", [".md", ".csv", ".html", ".ipynb"])
    @given(text=st.text(alphabet="-+#=`~<>!|[]()*\"',:;&\\ \t\n\r\f\ufeff{}0aTOC", max_size=200))
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_any_marks_are_a_document_or_an_error(self, suffix: str, text: str) -> None:
        """Not even marks in wild order make a loader fail."""
        check_total(f"x{suffix}", text.encode())
        check_total(f"x{suffix}", f"---\ntitle: {text}\n---\n<p>{text}</p>".encode())

    @pytest.mark.parametrize(
        ("suffix", "piece"),
        [
            *(
                (".md", piece)
                for piece in ("<!--", "<!-- toc -->\n", "![x](data:", "`", "# ", "```\n", "[", "<h1 ", "> ")
            ),
            *((".html", piece) for piece in ("<", "<a ", "<!--", "</", "<li>x", "&#", '<a b="')),
            *(pytest.param(".html", piece, marks=pytest.mark.slow) for piece in ("<td>x", "<tr><td>x")),
            *((".csv", piece) for piece in ('"', '",', "a,")),
            *((".ipynb", piece) for piece in ("[", '{"a":')),
            *((".txt", piece) for piece in ("\x1b$B", "\x00", "é".encode("latin-1").decode("latin-1"))),
        ],
    )
    def test_endless_marks_take_no_endless_time(self, suffix: str, piece: str) -> None:
        """A hundred thousand characters of what a parser may stumble over are done in seconds."""
        check_total(f"x{suffix}", (piece * (100_000 // len(piece))).encode())


def check_total(name: str, data: bytes) -> None:
    try:
        document = load(name, data)
    except DocumentError as error:
        assert "\n" not in str(error)
        return
    text = document.page_content
    assert not text.startswith("\ufeff")
    assert "\r" not in text
    assert "\x00" not in text
    assert text.encode().decode() == text
    assert document.metadata["title"] == " ".join(document.metadata["title"].split()) != ""


class TestDecoding:
    @pytest.mark.parametrize(
        "charset", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "iso2022_kr"]
    )
    def test_charsets_are_found(self, charset: str) -> None:
        """Marks, zero bytes, escape sequences or the letters themselves tell the charset."""
        text = "안녕하세요 세계" if charset == "iso2022_kr" else "Ein Gruß an die Köche: Äpfel über alles schälen."
        assert text_of("x.txt", text.encode(charset)) == text

    @pytest.mark.parametrize(
        ("charset", "text"),
        [
            ("koi8-r", "В городе открылась новая библиотека; в ней можно читать книги и учиться каждый день."),
            ("cp1251", "В городе открылась новая библиотека; в ней можно читать книги и учиться каждый день."),
            ("euc_jp", "これは日本語の文章です。文字コードを調べます。"),
            ("gb18030", "这是一个中文句子，用来测试字符编码的检测。"),
        ],
    )
    def test_letters_tell_the_charset(self, charset: str, text: str) -> None:
        """Without any sign the most plausible reading wins."""
        assert text_of("x.txt", text.encode(charset)) == text

    def test_damaged_utf_8_stays_utf_8(self) -> None:
        """One bad byte in much UTF-8 is replaced, and does not turn the rest into another charset."""
        assert decode("Größe ".encode() * 20 + b"\xff") == "Größe " * 20 + "\ufffd"

    def test_binary_data_is_refused(self) -> None:
        """What is no text in any charset is not indexed as noise."""
        assert reason_of("x.txt", bytes(range(32)) * 20) == "not a text file: its bytes are binary data"

    @given(st.text(st.characters(codec=None), max_size=100))
    def test_clean_text_is_clean_and_stays_so(self, text: str) -> None:
        """Cleaning leaves text that UTF-8 can hold, and cleaning again changes nothing."""
        cleaned = clean_text(text)
        assert cleaned == cleaned.encode().decode() == clean_text(cleaned)
        assert not set("\r\x00") & set(cleaned)

    def test_surrogate_halves_that_belong_together_are_joined(self) -> None:
        """A pair of halves is the character that it means, a single half is replaced."""
        assert clean_text("\ud83d\ude00 \ud83d") == "😀 \ufffd"


MARKDOWN = """\
---
title: "Operational: FAQ"
lang: en
id: faq.md
---

# Heading

<!-- TOC -->
- [One](#one)
<!-- /TOC -->

One <!-- hidden
comment --> word.

```html
<!-- kept -->
[TOC]
```

Use `<!-- this -->` too.
"""


class TestMarkdown:
    def test_front_matter_comments_and_contents_are_left_out(self) -> None:
        """The text keeps its code; title and language come from the front matter."""
        document = load("x.md", MARKDOWN)
        assert document.metadata == {
            "source": "x.md",
            "title": "Operational: FAQ",
            "markup": "markdown",
            "language": "en",
            "lang": "en",
            "id": "faq.md",
        }
        assert document.page_content == (
            "# Heading\n\n\nOne  word.\n\n```html\n<!-- kept -->\n[TOC]\n```\n\nUse `<!-- this -->` too."
        )

    def test_front_matter_becomes_metadata(self) -> None:
        """Texts and lists of texts; what the loader itself knows is not overwritten, long ones are left out."""
        front = f"author: Ann\ntags: [a, b]\nsource: elsewhere\nnested: {{a: b}}\nabstract: {'x' * 600}\n"
        metadata = load("x.md", f"---\n{front}---\n# H\n\ntext").metadata
        own = {"source": "x.md", "title": "H", "markup": "markdown"}
        assert metadata == own | {"author": "Ann", "tags": ["a", "b"]}

    @pytest.mark.parametrize(
        ("front", "title"),
        [
            ("---\ntitle: 2024-01-01\n---\n", "2024-01-01"),
            ("---\ntitle: no\n...\n", "no"),
            ('+++\ntitle = "In TOML"\ndraft = true\n+++\n', "In TOML"),
            ("---\ntitle: a: b: [\n---\n", "H"),
            ("---\n---\n", "H"),
            ("\ufeff---\r\ntitle: T\r\n---\r\n", "T"),
        ],
    )
    def test_front_matter_never_stays_in_the_text(self, front: str, title: str) -> None:
        """Titles stay as they are written; broken front matter is dropped, and the first heading counts."""
        document = load("x.md", front + "# H\n\ntext")
        assert (document.page_content, document.metadata["title"]) == ("# H\n\ntext", title)

    @pytest.mark.parametrize("text", ["---\n\nText between rules\n\n---\n\nmore", "---\n# Only a heading\n---\nx"])
    def test_text_between_rules_is_no_front_matter(self, text: str) -> None:
        """A horizontal rule at the start does not cost the text up to the next one."""
        assert text_of("x.md", text) == text

    @pytest.mark.parametrize("heading", ["## Table of Contents", "# Contents:", "**Contents**"])
    def test_lists_of_contents_are_left_out(self, heading: str) -> None:
        """A list of links to sections goes with its heading."""
        contents = f"{heading}\n\n- [One](#one)\n  1. [Two `x`](#two)\n\n"
        assert text_of("x.md", f"# T\n\n{contents}# One\n\nx") == "# T\n\n# One\n\nx"

    def test_a_list_with_more_than_links_stays(self) -> None:
        """One item with words of its own makes the list part of the text."""
        text = "## Contents\n\n- [One](#one)\n- 2 kg of flour"
        assert text_of("x.md", text) == text

    @pytest.mark.parametrize("mark", ["[TOC]", "[[_TOC_]]", "[[toc]]"])
    def test_marks_for_contents_are_left_out(self, mark: str) -> None:
        """What a renderer would replace is no text."""
        assert text_of("x.md", f"a\n{mark}\nb") == "a\nb"

    def test_a_comment_without_end_is_text(self) -> None:
        """Nothing is lost to a comment that is never closed."""
        assert text_of("x.md", "a <!-- b\n\nc") == "a <!-- b\n\nc"

    def test_embedded_images_are_left_out(self) -> None:
        """Images as data keep their description."""
        assert text_of("x.md", "See ![a chart](data:image/png;base64,iVBORw0KGgo=) here.") == "See a chart here."

    @pytest.mark.parametrize(
        ("text", "title", "markup"),
        [
            ("# A *b* `c` [d](e) #", "A b c d", "markdown"),
            ("Title\n=====\n\nx", "Title", "markdown"),
            ('<h1 align="center"><b>Big</b></h1>\n\nx', "Big", "plain"),
            ("## Only second\n", "x", "markdown"),
            ("```\n# comment\n```\n", "x", "plain"),
            ("- ```\n  # comment\n  ```\n# C#", "C#", "markdown"),
            ("no heading", "x", "plain"),
        ],
    )
    def test_titles_and_markup(self, text: str, title: str, markup: str) -> None:
        """The first heading of depth 1 outside of code is the title, else the file's name."""
        metadata = load("x.md", text).metadata
        assert (metadata["title"], metadata["markup"]) == (title, markup)


PAGE = """\
<!DOCTYPE html><html lang="de"><head><meta charset="{charset}"><title>Seite | Firma</title>
<style>p {{}}</style></head><body>
<header><h1>Firma</h1></header><nav><a href="/">Start</a></nav>
<main><header><h1>Größe &amp; Maß</h1></header><p>Ein <b>fet</b>ter <a href="/x">Verweis</a>,
zwei<br>Zeilen<img src="x.png" alt="Bild">.</p><div>links</div><div>rechts</div>
<pre><code class="language-python">x = 1  # eins
if x:
    y()</code></pre><table><tr><th>a<th>b<tr><td>1<td>2</table><ul><li>eins<li>zwei</ul>
<script>alert(1)</script></main><aside>Werbung</aside><footer>Impressum</footer></body></html>"""


class TestHtml:
    @pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252", "no-such-charset"])
    def test_a_page_becomes_markdown(self, charset: str) -> None:
        """The main part is kept with headings, code, tables and lists, in the declared charset."""
        data = PAGE.format(charset=charset).encode("utf-8" if charset == "no-such-charset" else charset)
        document = load("x.html", data)
        assert document.metadata == {
            "source": "x.html",
            "title": "Größe & Maß",
            "markup": "markdown",
            "language": "de",
        }
        assert document.page_content == (
            "# Größe & Maß\n\nEin fetter Verweis, zwei\nZeilen.\n\nlinks\n\nrechts\n\n"
            "```python\nx = 1  # eins\nif x:\n    y()\n```\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n- eins\n- zwei"
        )

    def test_a_page_without_heading_gets_its_title(self) -> None:
        """The subject of a page may stand in its title only."""
        assert text_of("x.html", "<title>Prices</title><p>5 euros") == "# Prices\n\n5 euros"

    def test_a_page_that_is_one_form_is_kept(self) -> None:
        """What is usually around the content may be all of it."""
        assert text_of("x.html", "<form><p>all of the text</p></form>") == "all of the text"

    def test_layout_tables_become_paragraphs(self) -> None:
        """A table in a table, or with one column, is no table of data."""
        page = "<table><tr><td>menu<td><table><tr><th>k<th>v<tr><td>a<td>1</table></table><table><tr><td>x</table>"
        assert text_of("x.html", page) == "menu\n\n| k | v |\n| --- | --- |\n| a | 1 |\n\nx"

    def test_paragraphs_without_end_tags_do_not_nest(self) -> None:
        """Old pages leave out end tags by the thousand."""
        page = "<ol start=7>" + "<li>item" * 1_500 + "</ol>" + "<p>text" * 1_500
        text = text_of("x.html", page)
        assert text.startswith("7. item\n8. item\n")
        assert text.count("\n\ntext") == 1_500

    def test_deep_nesting_keeps_the_words(self) -> None:
        """Where the form is too deep to follow, the words stay."""
        assert text_of("x.html", "<div>" * 5_000 + "words") == "words"

    def test_xhtml_is_read(self) -> None:
        """An XML declaration names the charset and leads to no warning."""
        page = '<?xml version="1.0" encoding="iso-8859-2"?><html><body><p>Zażółć gęślą jaźń</p></body></html>'
        assert text_of("x.xhtml", page.encode("iso-8859-2")) == "Zażółć gęślą jaźń"


class TestWord:
    def test_headings_tables_and_title(self) -> None:
        """Styles become headings, and the document's title style its title."""
        table = "".join(
            f"<w:tr>{''.join(f'<w:tc>{paragraph(cell)}</w:tc>' for cell in row)}</w:tr>" for row in ("ab", "12")
        )
        body = paragraph("Report", "Title") + paragraph("Part", "heading1") + paragraph("Text & more")
        document = load("x.docx", build_docx(f"{body}<w:tbl>{table}</w:tbl>"))
        assert document.metadata == {"source": "x.docx", "title": "Report", "markup": "markdown"}
        assert document.page_content == "# Report\n\n# Part\n\nText & more\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"

    def test_properties_give_a_title(self) -> None:
        """Without a heading the title of the properties counts."""
        core = {"docProps/core.xml": "<cp:coreProperties><dc:title>A &amp; B</dc:title></cp:coreProperties>"}
        assert load("x.docx", build_docx(paragraph("text"), core)).metadata["title"] == "A & B"

    def test_equations_and_charts_become_words(self) -> None:
        """What stands in other parts of the file, or in a notation of its own, can be searched."""
        fraction = "<m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f>"
        body = f"{paragraph('x')}<w:p><m:oMath><m:r><m:t>y=</m:t></m:r>{fraction}</m:oMath></w:p>"
        chart = "<c:chart><a:t>Sales</a:t><c:strCache><c:pt><c:v>May</c:v></c:pt></c:strCache></c:chart>"
        parts = {"word/charts/chart1.xml": chart}
        assert text_of("x.docx", build_docx(body, parts)) == "x\n\ny=a/b\n\nSales, May"

    @pytest.mark.parametrize(
        "data",
        [
            b"no zip",
            build_zip({"a.txt": "not a document"}),
            build_docx("<w:p><broken")[:-1],
            build_docx("<w:p><broken"),
            build_docx("<w:sdt><w:sdtContent>" * 3_000 + "</w:sdtContent></w:sdt>" * 3_000),
        ],
    )
    def test_broken_documents_are_errors(self, data: bytes) -> None:
        """Whatever is wrong, it is one line."""
        assert reason_of("x.docx", data).startswith("not a readable Word document")

    def test_a_container_that_expands_without_measure_is_refused(self) -> None:
        """The declared sizes are looked at before anything is unpacked."""
        data = build_docx(paragraph("x"), {"word/comments.xml": " " * 50_000_001})
        assert "too many for a Word document" in reason_of("x.docx", data)


class TestPdf:
    def test_pages_are_told_apart(self) -> None:
        """``pages`` says where each page starts in the text."""
        document = load("x.pdf", build_pdf(["First page", "Second", "", "Last"]))
        text = document.page_content
        assert text == "First page\fSecond\f\fLast"
        assert document.metadata == {"source": "x.pdf", "title": "x", "markup": "plain", "pages": [0, 11, 18, 19]}

    @pytest.mark.parametrize(
        ("given_title", "title"),
        [("Annual Report 2024", "Annual Report 2024"), ("Microsoft Word - a.doc", "x"), ("untitled", "x"), ("", "x")],
    )
    def test_sensible_titles_are_used(self, given_title: str, title: str) -> None:
        """What programs write by themselves is no title."""
        assert load("x.pdf", build_pdf(["text"], given_title)).metadata["title"] == title

    def test_scans_have_no_text(self) -> None:
        """Pages without a text layer give empty text."""
        assert text_of("x.pdf", build_pdf(["", ""])) == ""

    def test_encrypted_documents_are_refused(self) -> None:
        """The reason starts with the word encrypted."""
        assert reason_of("x.pdf", build_pdf(["secret"], encrypt=True)).startswith("encrypted: ")

    @pytest.mark.parametrize("data", [b"%PDF-1.4", b"", b"no pdf", build_pdf(["x"])[:200]])
    def test_broken_documents_are_errors(self, data: bytes) -> None:
        """Whatever is wrong, it is one line."""
        assert reason_of("x.pdf", data).startswith("not a readable PDF")

    def test_a_damaged_file_that_can_be_read_is_read(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Without a word on stderr."""
        damaged = build_pdf(["text"]).replace(b"startxref\n", b"startxref\n9")
        assert text_of("x.pdf", damaged) == "text"
        assert capfd.readouterr() == ("", "")

    def test_a_page_that_cannot_be_read_is_left_empty(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log says which; the other pages are there."""
        damaged = build_pdf(["One", "Two"]).replace(b"7 0 R] /Count 2", b"1 0 R] /Count 2")
        assert text_of("x.pdf", damaged) == "One\f"
        assert "page 2 of 'x.pdf' can't be read" in caplog.text

    def test_letters_that_were_read_by_the_wrong_table_are_mended(self) -> None:
        """UTF-8 where UTF-16 belongs looks Korean; true Korean stays."""
        russian = "Подп. и дата, справ. №, лист"
        misread = "".join(
            letter.encode().decode("utf-16-be") if len(letter.encode()) == 2 else letter for letter in russian
        )
        assert _mend_letters(misread) == russian
        korean = "아비, 살아가고 있다 히트 자축 구라치다 걸리면"
        assert _mend_letters(korean) == korean

    @given(position=st.integers(0, 2_000), byte=st.integers(0, 255))
    @settings(max_examples=100, deadline=None)
    def test_damaged_documents_are_read_or_refused(self, position: int, byte: int) -> None:
        """One wrong byte anywhere leads to text or to a DocumentError."""
        data = bytearray(build_pdf(["One", "Two"]))
        data[position % len(data)] = byte
        check_total("x.pdf", bytes(data))


class TestCsv:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_rows_become_lines_of_column_and_value(self, delimiter: str) -> None:
        """The delimiter is found; empty cells are left out; a cell may have several lines."""
        rows = [["name", "price", ""], ['"A; B, C"', "1", "extra"], ['"x\ny"', "", ""]]
        text = "\n".join(delimiter.join(row) for row in rows)
        assert text_of("x.csv", text) == "name: A; B, C\nprice: 1\nextra\n\nname: x y"

    def test_prose_in_cells_does_not_hide_the_delimiter(self) -> None:
        """The delimiter that cuts all rows alike wins over the frequent one."""
        text = "id\ttext\n1\ta, b, c, d\n2\te\n3\tf, g, h, i"
        assert text_of("x.tsv", text).startswith("id: 1\ntext: a, b, c, d\n\n")

    def test_a_header_alone_is_kept(self) -> None:
        """With one row there are no columns to name."""
        assert text_of("x.csv", "a,b\n") == "a\nb"

    def test_long_cells_are_read(self) -> None:
        """A cell may hold a whole article; one without end is an error."""
        assert text_of("x.csv", f"a,b\n1,{'x' * 200_000}").endswith("x" * 200_000)
        assert "not a readable table" in reason_of("x.csv", f"a,b\n1,{'x' * 10_000_001}")

    @given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=4), min_size=1, max_size=5))
    def test_any_table_is_read(self, rows: list[list[str]]) -> None:
        """Cells of any text make a document."""
        check_total("x.csv", "\n".join(",".join(json.dumps(cell) for cell in row) for row in rows).encode())


class TestNotebook:
    def test_cells_become_markdown(self) -> None:
        """Markdown stays, code and text output stand between fences, terminal colours go."""
        cells: list[dict[str, object]] = [
            {"cell_type": "markdown", "source": ["# Title\n", "words"]},
            {
                "cell_type": "code",
                "source": "print('```')",
                "outputs": [
                    {"output_type": "stream", "text": ["one\n"]},
                    {"output_type": "execute_result", "data": {"text/plain": "x" * 3_000, "image/png": "AAAA"}},
                    {"output_type": "error", "traceback": ["\x1b[31mBad\x1b[0m"]},
                ],
            },
            {"cell_type": "raw", "source": "raw"},
        ]
        document = load("x.ipynb", build_notebook(cells, {"language_info": {"name": "julia"}}))
        assert (document.metadata["title"], document.metadata["markup"]) == ("Title", "markdown")
        assert document.page_content == (
            "# Title\nwords\n\n````julia\nprint('```')\n````\n\n```text\none\n```\n\n"
            f"```text\n{'x' * 2_000}\n```\n\n```text\nBad\n```\n\nraw"
        )

    def test_format_3_is_read(self) -> None:
        """Old notebooks have worksheets, headings as cells, and input in place of source."""
        cells = [
            {"cell_type": "heading", "level": 2, "source": "Old"},
            {"cell_type": "code", "input": "1", "outputs": []},
        ]
        notebook = json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]})
        assert text_of("x.ipynb", notebook) == "## Old\n\n```python\n1\n```"

    @pytest.mark.parametrize("text", ["", "no json", "[]", "{", "[" * 100_000])
    def test_what_is_no_notebook_is_an_error(self, text: str) -> None:
        """Broken JSON, and JSON of something else, are refused."""
        assert reason_of("x.ipynb", text).startswith("not a notebook")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["cells", "worksheets", "cell_type", "source", "outputs", "text", "data", "metadata", "level"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        )
    )
    def test_invalid_notebooks_are_read_or_refused(self, notebook: object) -> None:
        """Any value may stand anywhere."""
        check_total("x.ipynb", json.dumps(notebook).encode())


def test_the_loaders_are_imported_by_their_names() -> None:
    """The classes can be used by themselves, as any LangChain loader."""
    module = importlib.import_module("rag_chain.documents.loading.markdown")
    assert module.MarkdownLoader is find_loader(".md")


def test_a_list_of_links_to_sections_is_a_table_of_contents(tmp_path: Path) -> None:
    """It is left out without a heading that says so; other lists, and a single link, stay."""
    path = tmp_path / "page.md"
    path.write_text(
        "# Page\n\nIntro:\n\n- [One](#one)\n- [Two](#two)\n\n## One\n\n- [only](#two)\n\n## Two\n\n- [a](#one)\n- b\n",
        "utf-8",
    )
    text = find_loader(".md")(path).load()[0].page_content
    assert text == "# Page\n\nIntro:\n\n## One\n\n- [only](#two)\n\n## Two\n\n- [a](#one)\n- b"

"""Office documents, e-books, mails, JSON and XML: their text with its form; damage and bombs are refused."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
import xlsxwriter
from pptx import Presentation
from pptx.util import Inches

from rag_chain.documents.loading.file_loader import LoadOptions
from tests.documents.samples import build_docx, build_pdf, build_zip, paragraph
from tests.documents.test_loading import load, reason_of, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OPEN_DOCUMENT = (
    '<o:document-content xmlns:o="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"><o:body><o:text>{}</o:text></o:body>'
    "</o:document-content>"
)
_BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
_AWAY = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


def build_sheets(sheets: Mapping[str, Sequence[Sequence[object]]]) -> bytes:
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for row, cells in enumerate(rows):
                for column, cell in enumerate(cells):
                    sheet.write(row, column, cell, *([day] if column == 2 and row else []))
    return buffer.getvalue()


def build_slides() -> bytes:
    slides = Presentation()
    slides.core_properties.title = "Quarter"
    slide = slides.slides.add_slide(slides.slide_layouts[1])
    slide.shapes.title.text = "Results"
    slide.placeholders[1].text = "Sales grew"
    inner = slide.placeholders[1].text_frame.add_paragraph()
    inner.text, inner.level = "in the north", 1
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    second = slides.slides.add_slide(slides.slide_layouts[6])
    table = second.shapes.add_table(2, 2, *map(Inches, (1, 1, 4, 1))).table
    for number, text in enumerate(("Region", "Sales", "North", "5|6")):
        table.cell(number // 2, number % 2).text = text
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(*map(Inches, (1, 3, 2, 1))).text_frame.text = "In a group"
    buffer = io.BytesIO()
    slides.save(buffer)
    return buffer.getvalue()


def build_odt(body: str, declaration: str = "") -> bytes:
    return build_zip({"mimetype": "application/vnd.oasis", "content.xml": declaration + _OPEN_DOCUMENT.format(body)})


def build_epub(chapters: Mapping[str, str]) -> bytes:
    items = "".join(f'<item id="{name}" href="text/{name}.xhtml"/>' for name in chapters)
    order = "".join(f'<itemref idref="{name}"/>' for name in reversed([*chapters]))
    return build_zip(
        {
            "META-INF/container.xml": '<container><rootfile full-path="book/b.opf"/></container>',
            "book/b.opf": f'<package xmlns:dc="d"><metadata><dc:title>The Book</dc:title><dc:language>en</dc:language>'
            f"</metadata><manifest>{items}</manifest><spine>{order}</spine></package>",
            **{f"book/text/{name}.xhtml": f"<html><body>{text}</body></html>" for name, text in chapters.items()},
        }
    )


def test_a_spreadsheet_becomes_rows() -> None:
    """A section for each sheet, a paragraph for each row; numbers and dates as a person reads them."""
    data = build_sheets({"Prices": [["item", "price", "since"], ["tea", 5.0, 45000], ["", 2.5, ""]], "Empty": []})
    assert text_of("x.xlsx", data) == "## Prices\n\nitem: tea\nprice: 5\nsince: 2023-03-15 00:00:00\n\nprice: 2.5" or (
        text_of("x.xlsx", data) == "## Prices\n\nitem: tea\nprice: 5\nsince: 2023-03-15\n\nprice: 2.5"
    )


def test_slides_become_sections() -> None:
    """Title, text with levels, notes, tables and groups; a slide without a title has its number."""
    document = load("x.pptx", build_slides())
    assert document.metadata["title"] == "Quarter"
    assert document.page_content == (
        "## Results\n\nSales grew\n  - in the north\n\nNotes: Say it slowly.\n\n"
        "## Slide 2\n\n| Region | Sales |\n| --- | --- |\n| North | 5\\|6 |\n\nIn a group"
    )


def test_an_open_document_becomes_markdown() -> None:
    """Headings, lists, tables, text boxes and notes; what was deleted is not there."""
    body = (
        "<text:tracked-changes><text:p>Deleted</text:p></text:tracked-changes>"
        '<text:h text:outline-level="2">Part <text:span>one</text:span></text:h>'
        '<text:p>Two<text:s text:c="2"/>words<text:tab/>here<draw:frame><draw:text-box><text:p>In a box</text:p>'
        "</draw:text-box></draw:frame></text:p>"
        "<text:list><text:list-item><text:p>first</text:p><text:list><text:list-item><text:p>below</text:p>"
        "</text:list-item></text:list></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>"
        '<table:table-cell table:number-columns-repeated="1000000"/></table:table-row></table:table>'
    )
    assert text_of("x.odt", build_odt(body)) == (
        "## Part one\n\nTwo  words\there\n\nIn a box\n\n- first\n  - below\n\n| a |  |\n| --- | --- |"
    )


def test_rich_text_is_read() -> None:
    """With its header, letters of other alphabets, and without what is embedded."""
    data = (
        rb"{\rtf1\ansi\ansicpg1252{\info{\title A Letter}}{\header Top}{\pict 00ff00ff}"
        rb"\par D\'fcsseldorf, \u26085?\u26412?\par \u-10180?\u-8398?\par}"
    )
    document = load("x.rtf", data)
    assert document.metadata["title"] == "A Letter"
    assert document.page_content.split() == ["Top", "Düsseldorf,", "日本", "\U0001f332"]


def test_an_e_book_is_read_in_its_own_order() -> None:
    """The order of the spine, not of the files."""
    document = load("x.epub", build_epub({"two": "<h1>Two</h1><p>later</p>", "one": "<h1>One</h1><p>first</p>"}))
    assert document.page_content == "# One\n\nfirst\n\n# Two\n\nlater"
    assert (document.metadata["title"], document.metadata["language"]) == ("The Book", "en")


def test_a_mail_is_read() -> None:
    """Who wrote what to whom when; attachments are named."""
    mail = (
        "From: =?utf-8?q?J=C3=B6rg?= <j@example.com>\r\nTo: a@example.com\r\nSubject: Tea\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n'
        "Content-Type: text/html; charset=utf-8\r\n\r\n<p>At <b>five</b>?</p>\r\n--x\r\n"
        'Content-Type: text/plain\r\nContent-Disposition: attachment; filename="menu.txt"\r\n\r\ncake\r\n--x--\r\n'
    )
    document = load("x.eml", mail)
    assert document.metadata["title"] == "Tea"
    assert document.page_content == (
        "# Tea\n\nFrom: Jörg <j@example.com>\nTo: a@example.com\n\nAt five?\n\nAttachment: menu.txt"
    )


def test_a_saved_page_is_read() -> None:
    """The page in the archive, and where it was."""
    archive = (
        "Snapshot-Content-Location: https://example.com/a\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/related; boundary="x"\r\n\r\n--x\r\nContent-Type: text/html\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n<h1>Caf=C3=A9</h1><p>open</p>\r\n--x--\r\n"
    )
    assert text_of("x.mhtml", archive) == "# Café\n\nopen\n\nSource: https://example.com/a"


def test_json_is_read_by_its_text_fields() -> None:
    """Records at any depth, each with its title and other short values."""
    first = {"title": "One", "text": "First words.", "year": 2024, "tags": ["x"]}
    records = {"data": [first, {"Body": "More."}, {"n": 1}]}
    assert text_of("x.json", json.dumps(records)) == "## One\n\nFirst words.\n\nyear: 2024\n\nMore."
    assert text_of("x.jsonl", '{"text": "a"}\n\n{"text": "b"}\n') == "a\n\nb"
    assert reason_of("x.json", '{"label": "x"}').startswith("it has no text field: one of text, ")
    assert reason_of("x.jsonl", '{"text": "a"}\n{').startswith("not readable as JSON")


def test_xml_is_read_in_paragraphs() -> None:
    """Every element with words of its own is one; East Asian charsets are known."""
    assert (
        text_of("x.xml", "<a><title>T</title><b>one <i>two</i></b><c><d>three</d></c></a>") == "T\n\none two\n\nthree"
    )
    korean = '<?xml version="1.0" encoding="euc-kr"?><a>아비, 살아가고 있다</a>'.encode("euc-kr")
    assert text_of("x.xml", korean) == "아비, 살아가고 있다"


@pytest.mark.parametrize("declaration", [_BOMB, _AWAY])
def test_entities_are_refused(declaration: str) -> None:
    """Neither expanded nor fetched."""
    assert "entities" in reason_of("x.xml", f"{declaration}<a>&b;</a>")
    assert "entities" in reason_of("x.odt", build_odt("<text:p>&b;</text:p>", declaration))


@pytest.mark.parametrize("suffix", [".xlsx", ".pptx", ".odt", ".epub", ".docx"])
def test_containers_that_expand_without_measure_are_refused(suffix: str) -> None:
    """The declared sizes are looked at before anything is unpacked."""
    assert "too many for a" in reason_of(f"x{suffix}", build_zip({"content.xml": " " * 50_000_001}))


def test_encrypted_documents_name_the_setting() -> None:
    """With a wrong password that is said, too."""
    assert "RAG_DOCUMENT_PASSWORD" in reason_of("x.pdf", build_pdf(["secret"], encrypt=True))
    assert LoadOptions("wrong").ask_for_password() == "encrypted: RAG_DOCUMENT_PASSWORD is not its password"


def test_too_many_pages_are_refused() -> None:
    """The reason tells how many there are and the setting that raises the limit."""
    from langchain_core.documents.base import Blob

    from rag_chain.documents.loading.pdf import PdfLoader
    from rag_chain.errors import DocumentError

    with pytest.raises(DocumentError, match="has 3 pages, over the limit of 2; RAG_MAX_PAGES raises it"):
        PdfLoader(Blob(data=build_pdf(["a", "b", "c"])), LoadOptions(max_pages=2)).load()


def test_headers_and_footers_of_word_documents_are_read() -> None:
    """Each once, before and behind the body; page numbers are not."""
    header = '<w:hdr xmlns:w="x"><w:p><w:r><w:t>Annual &amp; </w:t></w:r><w:r><w:t>Report</w:t></w:r></w:p></w:hdr>'
    footer = '<w:ftr><w:p a="b"><w:r><w:t xml:space="preserve">Ann</w:t></w:r></w:p><w:p><w:t>12</w:t></w:p></w:ftr>'
    parts = {"word/header1.xml": header, "word/header2.xml": header, "word/footer1.xml": footer}
    assert text_of("x.docx", build_docx(paragraph("The body."), parts)) == "Annual & Report\n\nThe body.\n\nAnn"


@pytest.mark.parametrize("suffix", [".docx", ".pptx"])
def test_encrypted_office_documents_are_told_from_broken_ones(suffix: str) -> None:
    """They come in the container of old ones."""
    assert reason_of(f"x{suffix}", b"\xd0\xcf\x11\xe0" + bytes(600)).startswith("encrypted, or of an older version")

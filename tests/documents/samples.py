"""Small documents of every kind, built by hand so that each byte is known."""

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"


def build_zip(entries: Mapping[str, bytes | str], compression: int = ZIP_DEFLATED) -> bytes:
    """Return a zip archive with the given entries, in order; always the same bytes for the same entries."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(ZipInfo(name, (2024, 5, 6, 7, 8, 10)), content, compression)
    return buffer.getvalue()


def build_overlapping_zip(copies: int) -> bytes:
    """Return a zip archive in which all entries share the bytes of the first one."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        archive.writestr("0.txt", b"bomb " * 1_000)
        first = archive.getinfo("0.txt")
        for number in range(1, copies):
            copy = type(first)(f"{number}.txt", first.date_time)
            for field in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(copy, field, getattr(first, field))
            archive.filelist.append(copy)
    return buffer.getvalue()


def mark_encrypted(archive: bytes) -> bytes:
    """Return a zip archive of one entry that claims to be encrypted."""
    return _set_byte(_set_byte(archive, b"PK\x03\x04", 6, 0x1), b"PK\x01\x02", 8, 0x1)


def declare_size(archive: bytes, size: int) -> bytes:
    """Return a zip archive of one entry whose directory tells another size."""
    at = archive.index(b"PK\x01\x02") + 24
    return archive[:at] + size.to_bytes(4, "little") + archive[at + 4 :]


def _set_byte(data: bytes, signature: bytes, offset: int, bits: int) -> bytes:
    at = data.index(signature) + offset
    return data[:at] + bytes([data[at] | bits]) + data[at + 1 :]


def paragraph(text: str, style: str = "") -> str:
    """Return a paragraph of a Word document."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'


def build_docx(body: str, parts: Mapping[str, str] | None = None) -> bytes:
    """Return a Word document around the XML of its body, with further parts."""
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{name.replace(" ", "")}"><w:name w:val="{name}"/></w:style>'
        for name in ("Title", "heading 1", "heading 2")
    )
    return build_zip(
        {
            "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
            f'<Override PartName="/word/document.xml" ContentType="{_MAIN_TYPE}"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
            f'Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>',
            "word/styles.xml": f'<w:styles xmlns:w="{_WORD}">{styles}</w:styles>',
            "word/document.xml": f'<w:document xmlns:w="{_WORD}" xmlns:m="{_MATH}">'
            f"<w:body>{body}</w:body></w:document>",
            **(parts or {}),
        }
    )


def build_pdf(pages: Sequence[str], title: str = "", encrypt: bool = False) -> bytes:
    """Return a PDF with one line of ASCII text on each page; empty text makes a page without any."""
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Title ({title}) >>".encode(),
    ]
    for number, text in enumerate(pages):
        content = zlib.compress(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b"")
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {6 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode(),
            f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n".encode() + content + b"\nendstream",
        ]
    key = f"<{'00' * 32}>"
    # A handler with this key opens with no password that anyone could guess.
    lock = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O {key} /U {key} /P -4 >> /ID [<00> <00>]" if encrypt else ""
    return number_objects(objects, f"/Root 1 0 R /Info 4 0 R {lock}")


def number_objects(objects: Sequence[bytes], trailer: str) -> bytes:
    """Return a PDF of these objects."""
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} {trailer} >>\n"
    return data + f"{end}startxref\n{len(data)}\n%%EOF\n".encode()


def build_notebook(cells: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any] | None = None) -> bytes:
    """Return a notebook of format 4."""
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata or {}, "cells": cells}).encode()

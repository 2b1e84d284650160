"""Look into the container of a Word document: its title, and text that mammoth passes over."""

import io
import re
from collections.abc import Iterable
from html import escape, unescape
from zipfile import ZIP_DEFLATED, ZipFile

_PROPERTIES = "docProps/core.xml"
_MAIN_PART = "word/document.xml"
_CHART = re.compile(r"word/charts/chart\d*\.xml")
_AROUND = re.compile(r"word/(header|footer)\d*\.xml")
_PARAGRAPH = re.compile(r"<w:p[ >].*?</w:p>", re.DOTALL)
_WORDS = re.compile(r"<w:t(?: [^>]*)?>([^<]*)</w:t>|<w:tab/>")
_TITLE = re.compile(r"<dc:title>([^<]{1,300})</dc:title>")
_BODY = re.compile(rb"<w:body\b[^>]*>")
_NEXT_BODY = re.compile(rb"</w:body>\s*<w:body\b[^>]*>")
_END_OF_EQUATION = b"</m:oMath>"
_EQUATION = re.compile(rb"<m:oMath>.*?</m:oMath>", re.DOTALL)
_EQUATION_TOKEN = re.compile(rb"<m:t\b[^>]*>([^<]*)</m:t>|</m:(num)>|<m:(sup|sub)>")
_EQUATION_SIGNS = {b"num": b"/", b"sup": b"^", b"sub": b"_"}
_CHART_TEXT = re.compile(r"<c:strCache>(.{0,50000}?)</c:strCache>|<a:t>([^<]+)</a:t>", re.DOTALL)
_CHART_VALUE = re.compile(r"<c:v>([^<]+)</c:v>")


def find_title(data: bytes) -> str | None:
    """Return the title in the properties."""
    with ZipFile(io.BytesIO(data)) as container:
        if _PROPERTIES not in container.namelist():
            return None
        found = _TITLE.search(container.read(_PROPERTIES).decode("utf-8", "replace"))
    return unescape(found[1]) if found else None


def add_passed_over(data: bytes) -> bytes:
    """Return the document with its equations, further bodies, charts, headers and footers as ordinary text.

    The same bytes when there are none; else without its media, which nobody reads.
    """
    with ZipFile(io.BytesIO(data)) as container:
        names = [name for name in container.namelist() if not name.startswith("word/media/")]
        if _MAIN_PART not in names:
            return data
        main = container.read(_MAIN_PART)
        charts = [_read_text(container, name) for name in names if _CHART.fullmatch(name)]
        around = [(found[1], _read_text(container, name)) for name in names if (found := _AROUND.fullmatch(name))]
        headers = _lines(xml for kind, xml in around if kind == "header")
        footers = _lines(xml for kind, xml in around if kind == "footer")
        changed = _change_main_part(main, headers, [*filter(None, map(_chart_words, charts)), *footers])
        if changed == main:
            return data
        copy = io.BytesIO()
        with ZipFile(copy, "w", ZIP_DEFLATED) as target:
            for name in dict.fromkeys(names):
                target.writestr(name, changed if name == _MAIN_PART else container.read(name))
    return copy.getvalue()


def _read_text(container: ZipFile, name: str) -> str:
    return container.read(name).decode("utf-8", "replace")


def _lines(parts: Iterable[str]) -> list[str]:
    """Return the paragraphs of headers or footers, each once; those of page numbers only are left out."""
    paragraphs = (paragraph for xml in parts for paragraph in _PARAGRAPH.findall(xml))
    texts = ("".join(words or " " for words in _WORDS.findall(paragraph)).strip() for paragraph in paragraphs)
    return list(dict.fromkeys(unescape(text) for text in texts if any(map(str.isalpha, text))))


def _change_main_part(xml: bytes, before_body: list[str], after_body: list[str]) -> bytes:
    xml = _NEXT_BODY.sub(b"", xml)
    # Up to the last end only: the search for one that never comes would start anew at every equation.
    before, end, after = xml.rpartition(_END_OF_EQUATION)
    xml = _EQUATION.sub(lambda found: _run(_flatten_equation(found[0])), before + end) + after
    xml = xml.replace(b"<m:oMathPara>", b"").replace(b"</m:oMathPara>", b"")
    start = _BODY.search(xml)
    if start is not None and before_body:
        xml = xml[: start.end()] + _paragraphs(before_body) + xml[start.end() :]
    before, end, after = xml.rpartition(b"</w:body>")
    return before + _paragraphs(after_body) + end + after if after_body else xml


def _paragraphs(texts: list[str]) -> bytes:
    return b"".join(b"<w:p>" + _run(escape(text).encode()) + b"</w:p>" for text in texts)


def _run(text: bytes) -> bytes:
    return b'<w:r><w:t xml:space="preserve">' + text + b"</w:t></w:r>"


def _flatten_equation(xml: bytes) -> bytes:
    """Write an equation on one line: ``a/b``, ``x^2``, ``x_i``."""
    tokens = (found[1] or _EQUATION_SIGNS.get(found[2] or found[3], b"") for found in _EQUATION_TOKEN.finditer(xml))
    return b"".join(tokens)


def _chart_words(xml: str) -> str:
    """Return the title and the labels of a chart, each once."""
    words = [
        unescape(word)
        for labels, text in _CHART_TEXT.findall(xml)
        for word in ([text] if text else _CHART_VALUE.findall(labels))
    ]
    return ", ".join(dict.fromkeys(words))

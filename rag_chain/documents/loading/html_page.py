"""Load web pages: the content without the page around it, as Markdown."""

import re
from itertools import takewhile

from bs4 import BeautifulSoup, CData, Tag
from bs4.element import PreformattedString

from rag_chain.documents.loading.decoding import decode, decode_as
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.documents.loading.html_markdown import to_markdown
from rag_chain.documents.loading.html_parsing import parse_html

_CHARSET = re.compile(
    rb"""<(?:meta\b[^>]{0,300}?charset|\?xml\b[^>]{0,100}?encoding)\s{0,9}=\s{0,9}["']?([\w.:-]{1,40})""",
    re.IGNORECASE,
)
# What browsers take these names for. A page whose declaration can be read byte by byte is not UTF-16.
_MEANT = {
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "utf-16": "utf-8",
    "unicode": "utf-8",
}
_BETWEEN_TITLES = re.compile(r"\s[|·•»:–—-]+\s|:\s")
_WORDS_OF_A_SUBJECT = 3
_INVISIBLE = ("script", "style", "noscript", "template", "svg", "iframe")
_AROUND = ("nav", "header", "footer", "aside", "form")
_CONTENT = ("main", "article")


class HtmlLoader(FileLoader):
    """Loader of web pages; navigation, headers, footers, forms, scripts and images are left out."""

    def extract(self, data: bytes) -> Extract:
        """Decode the bytes as the page declares it, and turn its content into Markdown."""
        return convert_html(decode_page(data))


def convert_html(html: str) -> Extract:
    """Turn HTML into Markdown with title and language."""
    page = parse_html(html)
    title, language = _take_title(page), _language_of(page)
    for element in page(_INVISIBLE):
        element.decompose()
    for note in page.find_all(string=lambda text: isinstance(text, PreformattedString) and not isinstance(text, CData)):
        note.extract()
    content = _find_content(page)
    heading, text = content.find("h1"), to_markdown(content)
    if isinstance(heading, Tag):
        text = _keep_title(title, text)
        title = one_line(heading.get_text(" ")) or title
    elif text and title:
        # A page without a heading has its subject in the title only.
        text = f"# {title}\n\n{text}"
    return Extract(text, title or None, "markdown", language)


def _keep_title(title: str, text: str) -> str:
    """Put the title before the text where its longest part, without the site's name, says more than the page."""
    subject = max(_BETWEEN_TITLES.split(title), key=len)
    known = len(subject.split()) < _WORDS_OF_A_SUBJECT or subject.casefold() in text.casefold()
    return text if known else f"{title}\n\n{text}"


def decode_page(data: bytes) -> str:
    r"""Decode by byte order mark, else as declared anywhere in the page, else by guess."""
    declared = _CHARSET.search(data)
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) or declared is None:
        return decode(data)
    charset = declared[1].decode("ascii").lower()
    return decode_as(data, _MEANT.get(charset, charset)) or decode(data)


def _take_title(page: BeautifulSoup) -> str:
    """Take the title out of the page; one that was never closed holds all of the page and stays."""
    element = page.find("title")
    words = element.get_text(" ") if isinstance(element, Tag) else ""
    if element is None or len(words) > 1_000:
        return ""
    element.extract()
    return one_line(words)


def _language_of(page: BeautifulSoup) -> str | None:
    root = page.find("html")
    language = root.get("lang") or root.get("xml:lang") if isinstance(root, Tag) else None
    return one_line(language, 35) or None if isinstance(language, str) else None


def _find_content(page: BeautifulSoup) -> Tag:
    """Return the main part of a page when it holds much of the text, else all but what is around it."""
    everything = _count_words(page)
    for name in _CONTENT:
        largest = max(page(name, limit=50), key=_count_words, default=None)
        if largest is not None and _count_words(largest) >= everything * 0.4:
            _drop_around(largest)
            return largest
    _drop_around(page)
    return page


def _drop_around(content: Tag) -> None:
    """Drop navigation and the like, unless most of the text is in there: some pages are one big form.

    Headers and asides of an article or main part belong to it.
    """
    names, closed = (("nav", "form"), ()) if content.name in _CONTENT else (_AROUND, _CONTENT)
    around = [element for element in content(names) if not _is_within(element, (*names, *closed), content)]
    if sum(map(_count_words, around)) <= _count_words(content) * 0.8:
        for element in around:
            element.decompose()


def _is_within(element: Tag, names: tuple[str, ...], content: Tag) -> bool:
    above = takewhile(lambda parent: parent is not content, element.parents)
    return any(parent.name in names for parent in above)


def _count_words(element: Tag) -> int:
    return sum(len(text.split()) for text in element.strings)

"""Turn parsed HTML into Markdown that is made for search: words first, marks where they carry structure."""

import re
from collections.abc import Sequence
from typing import Any

from bs4 import Tag
from markdownify import ATX, MarkdownConverter

from rag_chain.documents.loading.decoding import clean_text
from rag_chain.documents.loading.headings import outside_fences

# Marks of emphasis and addresses of links would stand between the words that a question asks for.
_UNMARKED = ["a", "b", "strong", "i", "em", "s", "del", "img", "video"]
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight)-(?:source-)?(\w[\w+#-]{0,20})")
_SPACES = {0xA0: " ", 0xAD: None, 0x200B: None}  # no-break space, soft hyphen, zero-width space
_TABLE_PARTS = ("thead", "tbody", "tfoot", "tr", "td", "th", "caption")
_MAX_CELL_CHARACTERS = 1_000
# Wider ones occur in layouts only, and become long rows of bars.
_SPANS = frozenset(map(str, range(2, 13)))
_GAPS = re.compile(r"[ \t]{2,}")
_LIST_ITEM = re.compile(r"(?:-|\d+\.) ")
_BLANK_LINES = re.compile(r"\n{3,}")
_Markdownify: Any = MarkdownConverter  # its types leave out all that is overridden here


def to_markdown(content: Tag) -> str:
    """Return the Markdown of an element; links and emphasis become their words, images nothing."""
    for table in content("table"):
        _simplify_table(table)
    converter = _Converter(
        heading_style=ATX,
        bullets="-",
        strip=_UNMARKED,
        table_infer_header=True,
        wrap=True,
        wrap_width=None,
        escape_asterisks=False,
        escape_underscores=False,
        code_language_callback=_code_language,
    )
    try:
        text = str(converter.process_tag(content, parent_tags=set()))
    except (RecursionError, ValueError):
        # Thousands of nested elements, or numbers in attributes that are none: the words without their form.
        text = content.get_text("\n")
    return _tidy(clean_text(text.translate(_SPACES)))


def _simplify_table(table: Tag) -> None:
    """Turn a table that is there for the layout into blocks, and drop one without words."""
    cells = table(["td", "th"])
    if not table.get_text(strip=True):
        table.clear()
    for cell in cells:
        if cell.get("colspan") not in _SPANS:
            del cell["colspan"]
    if _is_layout(table, cells):
        for part in table(_TABLE_PARTS):
            if part.find_parent("table") is table:
                part.name = "div"
        table.name = "div"


def _is_layout(table: Tag, cells: Sequence[Tag]) -> bool:
    """Whether a table has other tables in it, one column only, or a cell as long as a page."""
    if table.find("table") or table.get("role") == "presentation" or len(cells) <= len(table("tr")):
        return True
    return any(len(cell.get_text()) > _MAX_CELL_CHARACTERS for cell in cells)


def _tidy(text: str) -> str:
    """Collapse spaces and blank lines outside of code; indents stay in lists, elsewhere they would mean code."""
    lines = [line.rstrip() for line in text.split("\n")]
    in_list = False
    for number in outside_fences(lines):
        words = _GAPS.sub(" ", lines[number].lstrip())
        indent = len(lines[number]) - len(lines[number].lstrip())
        if words and not indent:
            in_list = _LIST_ITEM.match(words) is not None
        lines[number] = " " * indent * in_list + words
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


class _Converter(_Markdownify):  # type: ignore[misc]  # a class of Any, see there
    """markdownify, where its results glue words together or take too long."""

    # It knows these as inline elements.
    convert_address = convert_center = convert_details = convert_dialog = _Markdownify.convert_div
    convert_fieldset = convert_figure = convert_header = convert_footer = _Markdownify.convert_div
    convert_hgroup = convert_legend = convert_main = convert_aside = _Markdownify.convert_div
    convert_option = convert_summary = convert_title = convert_button = _Markdownify.convert_div

    def convert_li(self, item: Any, text: str, parent_tags: set[str]) -> str:
        """Return a list item; its number is one more than the last one's."""
        parent = item.parent
        if parent is None or parent.name != "ol" or not text.strip():
            return str(super().convert_li(item, text, parent_tags))
        # Counting all the items before, as the package does, takes minutes in a long list.
        start = str(parent.get("start"))
        number = parent.attrs.get("_next", int(start) if start.isdecimal() and len(start) < 10 else 1)
        parent.attrs["_next"] = number + 1
        bullet = f"{number}. "
        return bullet + ("\n" + " " * len(bullet)).join(text.strip().split("\n")) + "\n"


def _code_language(block: Tag) -> str:
    """Return the language of a code block, which highlighters note as a class like ``language-python``."""
    for element in [block, *block("code", limit=1), *([block.parent] if block.parent else [])]:
        if found := _LANGUAGE.search(" ".join(element.get_attribute_list("class"))):
            return found[1]
    return ""

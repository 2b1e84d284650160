"""Turn parsed HTML into Markdown that is made for search: words first, marks where they carry structure."""

import re
from collections import Counter
from typing import Any

from bs4 import Tag
from markdownify import ATX, MarkdownConverter

from rag_chain.documents.blocks import lines_outside_fences
from rag_chain.documents.loading.decoding import clean_text

# Marks of emphasis and addresses of links would stand between the words that a question asks for.
_UNMARKED = ["a", "b", "strong", "i", "em", "s", "del", "img", "video"]
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight)-(?:source-)?(\w[\w+#-]{0,20})")
_SPACES = {0xA0: " ", 0xAD: None, 0x200B: None}  # no-break space, soft hyphen, zero-width space
_TABLE_PARTS = ("table", "thead", "tbody", "tfoot", "tr", "td", "th", "caption")
_MAX_CELL_CHARACTERS = 1_000
# Wider ones occur in layouts only, and become long rows of bars.
_SPANS = frozenset(map(str, range(2, 13)))
_GAPS = re.compile(r"[ \t]{2,}")
_LIST_ITEM = re.compile(r"(?:-|\d+\.) ")
_BLANK_LINES = re.compile(r"\n{3,}")
_Markdownify: Any = MarkdownConverter  # its types leave out all that is overridden here


def to_markdown(content: Tag) -> str:
    """Return the Markdown of an element; links and emphasis become their words, images nothing."""
    _simplify_tables(content)
    for cell in content(["td", "th"]):
        if cell.get("colspan") not in _SPANS:
            del cell["colspan"]
    converter = _Converter(
        heading_style=ATX,
        bullets="-",
        strip=_UNMARKED,
        table_infer_header=True,
        strip_pre=None,
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


def _simplify_tables(content: Tag) -> None:
    """Turn tables that are there for the layout into blocks, and drop those without words."""
    parts: dict[int, list[Tag]] = {}
    for part in content(_TABLE_PARTS):
        owner = part.find_parent("table")
        if owner is not None:
            parts.setdefault(id(owner), []).append(part)
    # All tables are judged before the first one is changed: a table inside makes its owner a layout.
    tables = [(table, parts.get(id(table), [])) for table in content("table")]
    layouts = [pair for pair in tables if _is_layout(*pair)]
    for table, own in layouts:
        for element in [table, *(part for part in own if part.name != "table")]:
            element.name = "div"


def _is_layout(table: Tag, parts: list[Tag]) -> bool:
    """Whether a table has other tables in it, one column only, no words, or a cell as long as a page."""
    names = Counter(part.name for part in parts)
    cells = names["td"] + names["th"]
    if names["table"] or table.get("role") == "presentation" or cells <= names["tr"]:
        return True
    lengths = [len(part.get_text(strip=True)) for part in parts if part.name in {"td", "th"}]
    return max(lengths) > _MAX_CELL_CHARACTERS or not any(lengths)


def _tidy(text: str) -> str:
    """Collapse spaces and blank lines outside of code; indents stay in lists only, lest they mean code."""
    lines = [line.rstrip() for line in text.split("\n")]
    in_list = False
    for number in lines_outside_fences(text):
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

    def convert_pre(self, block: Any, text: str, parent_tags: set[str]) -> str:
        """Return a code block."""
        # The package's own way of trimming it is very slow on long runs of spaces.
        return str(super().convert_pre(block, text.strip("\n"), parent_tags))

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

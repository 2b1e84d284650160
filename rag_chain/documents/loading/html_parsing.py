"""Parse HTML as browsers do where it matters: elements whose end tag is left out end where the next one starts."""

import io
import warnings
from typing import Any

from bs4 import BeautifulSoup, ParserRejectedMarkup, Tag, XMLParsedAsHTMLWarning

from rag_chain.documents.loading.file_loader import one_line
from rag_chain.errors import DocumentError

_ENDS_PARAGRAPH = (
    "address article aside blockquote center details div dl fieldset figure footer form h1 h2 h3 h4 h5 h6 "
    "header hr main nav ol p pre section table ul"
)
# A start tag -> the open elements that it ends, and those behind which it does not look for them.
_NOTHING_ENDS: tuple[set[str], set[str]] = (set(), set())
_IMPLIED_ENDS = {
    **dict.fromkeys(_ENDS_PARAGRAPH.split(), ({"p"}, {"table", "td", "th", "caption", "button", "li", "dd"})),
    "li": ({"li"}, {"ul", "ol", "menu", "table"}),
    "dt": ({"dt", "dd"}, {"dl", "table"}),
    "dd": ({"dt", "dd"}, {"dl", "table"}),
    "td": ({"td", "th"}, {"tr", "table"}),
    "th": ({"td", "th"}, {"tr", "table"}),
    "tr": ({"tr"}, {"table"}),
    **dict.fromkeys(("thead", "tbody", "tfoot"), ({"thead", "tbody", "tfoot"}, {"table"})),
    "option": ({"option"}, {"select"}),
}
# Deeper than this nobody leaves out end tags, and looking further would make deep pages slow.
_LOOK_BACK = 50


class _Page(BeautifulSoup):
    """A page whose open elements end as HTML says; ``html.parser`` would nest them without end."""

    def handle_starttag(self, name: str, *args: Any, **kwargs: Any) -> Tag | None:
        ended, barriers = _IMPLIED_ENDS.get(name, _NOTHING_ENDS)
        for element in reversed(self.tagStack[-_LOOK_BACK:]) if ended else ():
            if element.name in barriers:
                break
            if element.name in ended:
                self.handle_endtag(element.name)
                break
        return super().handle_starttag(name, *args, **kwargs)


def parse_html(html: str) -> BeautifulSoup:
    """Return the page; :class:`DocumentError` for what no parser takes."""
    with warnings.catch_warnings():
        # XHTML is read as HTML on purpose.
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        try:
            # html.parser and not lxml where it is there: the same page must give the same text everywhere.
            # As a stream, since a short text without tags would be taken for a file name and warned about.
            return _Page(io.StringIO(_end_last_tag(html)), "html.parser")
        except ParserRejectedMarkup as error:
            raise DocumentError(f"not readable as HTML: {one_line(error)}") from error


def _end_last_tag(html: str) -> str:
    """Make text of tags and comments that never end; the parser would look for each one's end anew."""
    end_of_comments = html.rfind("-->") + 1
    html = html[:end_of_comments] + html[end_of_comments:].replace("<!--", "&lt;!--")
    end_of_tags = html.rfind(">") + 1
    return html[:end_of_tags] + html[end_of_tags:].replace("<", "&lt;")

"""Parse XML without what makes it dangerous: entities, and parts that lie elsewhere."""

import re
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from rag_chain.documents.loading.file_loader import one_line
from rag_chain.documents.loading.html_page import decode_page
from rag_chain.errors import DocumentError

_DECLARED = re.compile(rb"""\s{0,99}<\?xml\b[^>]{0,100}?encoding\s{0,9}=\s{0,9}["']([\w.:-]{1,40})""")
_DECLARATION = re.compile(r"\s*<\?xml[^>]{0,300}\?>")
_KNOWN = {b"utf-8", b"utf-16", b"us-ascii", b"iso-8859-1", b"windows-1252", b"windows-1251", b"koi8-r"}


def parse_xml(data: bytes, kind: str = "XML") -> Element:
    """Return the root element; :class:`DocumentError` says what is wrong, by the name of what it should be."""
    try:
        root: Element = fromstring(_recode(data))
    except DefusedXmlException as error:
        raise DocumentError(f"not a readable {kind}: it defines entities, as XML bombs do") from error
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        raise DocumentError(f"not a readable {kind}: {one_line(error)}") from error
    return root


def _recode(data: bytes) -> bytes | str:
    """Return the text where the parser does not know the charset that is declared: East Asian ones."""
    declared = _DECLARED.match(data)
    if declared is None or declared[1].lower() in _KNOWN:
        return data
    return _DECLARATION.sub("", decode_page(data), count=1).lstrip()


def local_name(element: Element) -> str:
    """Return the name of an element without its namespace; empty for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Element, name: str) -> str:
    """Return an attribute by its name without its namespace; empty when there is none."""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")

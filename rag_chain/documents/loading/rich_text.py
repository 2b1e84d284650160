"""Load Rich Text Format."""

import re
from typing import Any

from striprtf import striprtf

from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.errors import DocumentError

_convert: Any = striprtf.rtf_to_text  # it has no types
# The package passes over headers and footers; as paragraphs they are read.
_AROUND = re.compile(rb"\{\\(?:header|footer)[lrf]?(?![a-z])")
_TITLE = re.compile(rb"\{\\title ([^{}\\]{1,300})\}")
_BLANK_LINES = re.compile(r"\n\s*\n\s*\n+")


class RtfLoader(FileLoader):
    """Loader of Rich Text; fields, pictures and embedded files are left out."""

    def extract(self, data: bytes) -> Extract:
        """Return the text of the document."""
        if not data.lstrip().startswith(b"{\\rtf"):
            raise DocumentError("not readable as Rich Text: it does not start with {\\rtf")
        source = _AROUND.sub(rb"{\\par ", data).decode("latin-1")
        try:
            text = str(_convert(source, encoding="cp1252", errors="replace"))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DocumentError(f"not readable as Rich Text: {one_line(error)}") from error
        # Letters beyond the first 65,536 come as two halves.
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        title = _TITLE.search(data)
        return Extract(_BLANK_LINES.sub("\n\n", whole).strip(), title=title[1].decode("latin-1") if title else None)

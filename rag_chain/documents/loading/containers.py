"""Look into the zip that an office document is, before a parser unpacks it."""

import io
from collections.abc import Mapping
from zipfile import ZipFile

from rag_chain.documents.loading.file_loader import one_line
from rag_chain.documents.zip_errors import BROKEN_ZIP
from rag_chain.errors import DocumentError

# The container of old office documents, and of encrypted new ones.
_OLE = b"\xd0\xcf\x11\xe0"
MAX_EXPANDED_BYTES = 200_000_000
# XML grows about twenty times when it becomes objects.
MAX_XML_BYTES = 50_000_000


def check_container(data: bytes, kind: str) -> None:
    """Refuse a container of the old kind, or one that expands without measure; ``kind`` names it in an error."""
    if data.startswith(_OLE):
        raise DocumentError("encrypted, or of an older version: save it anew, without a password")
    check_expansion(data, kind)


def check_expansion(data: bytes, kind: str) -> None:
    """Refuse a container that expands without measure.

    What is no zip passes: its own parser knows better what it is.
    """
    if not data.startswith(b"PK"):
        return
    try:
        with ZipFile(io.BytesIO(data)) as container:
            entries = container.infolist()
    except BROKEN_ZIP as error:
        raise DocumentError(f"not a readable {kind}: {one_line(error) or type(error).__name__}") from error
    expanded = sum(entry.file_size for entry in entries)
    xml = sum(entry.file_size for entry in entries if entry.filename.endswith((".xml", ".rels", ".vml")))
    if expanded > MAX_EXPANDED_BYTES or xml > MAX_XML_BYTES:
        raise DocumentError(f"expands to {expanded:,} bytes, too many for a {kind}")


def read_parts(data: bytes, kind: str, suffixes: tuple[str, ...]) -> Mapping[str, bytes]:
    """Return the parts of a container whose names end so; ``kind`` names the document in an error."""
    check_container(data, kind)
    try:
        with ZipFile(io.BytesIO(data)) as container:
            return {name: container.read(name) for name in container.namelist() if name.lower().endswith(suffixes)}
    except BROKEN_ZIP as error:
        raise DocumentError(f"not a readable {kind}: {one_line(error) or type(error).__name__}") from error

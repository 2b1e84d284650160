"""Source names: what a document is called in the store, and whether the one of that name still exists."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rag_chain.ingestion.types import File, Stored


class SourceNames:
    """Gives every document a source name that no other document in the store has.

    A document keeps the name it has. A new one is named by its path relative to its root; where a
    document of another root has that name and still exists, the root's own name is put before it.
    """

    def __init__(self, catalogue: Mapping[str, Stored]) -> None:
        self._catalogue = catalogue
        self._by_uri = {stored.uri: stored.source for stored in catalogue.values()}
        self.taken: dict[str, str] = {}

    def name(self, file: File) -> str:
        """Return the document's source name, and keep it for this document."""
        source = self._by_uri.get(file.uri) or next(name for name in _candidates(file) if self._is_free(name, file))
        self.taken[source] = file.uri
        return source

    def _is_free(self, name: str, file: File) -> bool:
        if name in self.taken:
            return self.taken[name] == file.uri
        stored = self._catalogue.get(name)
        return stored is None or stored.uri == file.uri or not still_exists(stored.uri)


def _candidates(file: File) -> Iterable[str]:
    root = unquote(file.root.rstrip("/").rpartition("/")[2])
    yield file.source
    yield f"{root}/{file.source}"
    yield f"{root}-{hashlib.sha256(file.root.encode()).hexdigest()[:8]}/{file.source}"


def still_exists(uri: str) -> bool:
    """Return whether a local file, or the archive that held it, is still there; remote ones are taken to be."""
    parts = urlsplit(uri.partition("!/")[0])
    try:
        return parts.scheme != "file" or Path(url2pathname(parts.path)).is_file()
    except OSError:  # a folder that may not be entered hides what is in it
        return True

"""Take what LangChain loaders give, and documents that were given themselves, as if each were a file in an archive."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.documents import Document

from rag_chain.documents.failures import Failures
from rag_chain.documents.finding.found import Finding, FoundFile, Refusal
from rag_chain.documents.finding.scopes import address_of
from rag_chain.documents.loading.loaded import time_of, write_part
from rag_chain.documents.loading.metadata import Notes, clean
from rag_chain.documents.loading.table import LOADED
from rag_chain.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.document_loaders import BaseLoader

    from rag_chain.documents.finding.spool import Spool

# Metadata by which a document is known, the first that there is; then its ``id``.
IDENTITIES = ("source", "url", "id", "path")
# Of documents with one source these tell files of one name in several folders apart.
_PATHS = ("path", "file_path")
# No key of the metadata: a document that nothing names is known by its text.
_BY_TEXT = "\0text"


@dataclass
class _Entry:
    """The documents of one source, by the digest of each, where the spool has them."""

    places: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    modified: float = 0.0


class Scope:
    """The documents of one loader, or those given themselves, on their way to be found.

    Documents of one source are one document, also where others come between them.
    """

    def __init__(
        self, name: str, spool: Spool, source_key: str | None = None, loader: BaseLoader | None = None
    ) -> None:
        self.name = name
        self.count = 0
        self.notes = Notes()
        self.complete = True
        self._spool = spool
        self._key = source_key
        self._loader = loader
        self._entries: dict[str, dict[str, _Entry]] = {}
        self._refusals: list[Refusal] = []

    @property
    def root(self) -> str:
        """Return its address in the store."""
        return address_of(self.name)

    @property
    def title(self) -> str:
        """Return what it is called in messages."""
        return f"the loader {self.name}" if self._loader is not None else "the iterable of what to ingest"

    def rename(self, name: str) -> None:
        """Take another name, before anything is found."""
        self.name = name

    def find(self) -> Iterator[Finding]:
        """Load everything, then yield a file for each source; :class:`DocumentError` where the loader fails."""
        if self._loader is not None:
            with Failures(self.title, "nothing was changed; mend that and ingest again"):
                for document in self._loader.lazy_load():
                    self.add(document)
            if not self.count:
                self.notes.add(f"{self.title} gave no document; what it gave before is kept")
        yield from self._refusals
        taken: set[str] = set()
        for source, entries in self._entries.items():
            for path, entry in entries.items():
                # Of equal names in several folders, each goes by its path.
                name = path if len(entries) > 1 and path else source
                if name in taken:
                    yield Refusal(name, "two documents are called so: name a key that tells them apart (source_key)")
                else:
                    taken.add(name)
                    yield self._as_file(name, entry)

    def add(self, document: Document) -> None:
        """Keep a document on disk."""
        if not isinstance(document, Document):
            raise DocumentError(f"{self.title} gave a {type(document).__name__}, which is no LangChain Document")
        self.count += 1
        key, source = self._identify(document)
        if not source:
            self._refuse(document)
            return
        entry = self._entries.setdefault(source, {}).setdefault(_path_of(document), _Entry())
        modified = time_of(document.metadata)
        known = [*({key} & {"source", "id"}), *(["modified"] if modified else [])]
        line = write_part(document, self.notes, known)
        digest = hashlib.sha256(line).digest()[:16]
        if digest in entry.places:
            self.notes.add("a document was given twice and is taken once")
        elif entry.places and key == _BY_TEXT:
            self._refusals.append(Refusal(source, "its text was given with other metadata, too: give both a source"))
        else:
            entry.places[digest] = self._spool.write(line)
            entry.modified = max(entry.modified, modified)

    def _identify(self, document: Document) -> tuple[str, str]:
        """Return the key of the metadata that names a document, and its name."""
        keys = (self._key,) if self._key else IDENTITIES
        for key in keys:
            if name := _as_name(document.metadata.get(key)):
                return key, name
        if not self._key and (name := _as_name(document.id)):
            return "", name
        if self._loader is None and not self._key and document.page_content.strip():
            text = hashlib.sha256(clean(document.page_content).encode()).hexdigest()
            return _BY_TEXT, f"document-{text[:16]}"
        return "", ""

    def _refuse(self, document: Document) -> None:
        # It may be one of those that the store has.
        self.complete = False
        given = ", ".join(sorted(map(str, document.metadata))) or "it has no metadata at all"
        wanted = f"no {self._key!r}" if self._key else f"none of {', '.join(IDENTITIES)}"
        reason = f"nothing names it: there is {wanted} in its metadata ({given}); name a key with --source-key"
        self._refusals.append(Refusal(f"{self.name}: document {self.count}", f"{reason} or source_key="))

    def _as_file(self, source: str, entry: _Entry) -> FoundFile:
        places = tuple(entry.places.values())
        return FoundFile(
            source=source,
            uri=f"{self.root}!/{source}",
            root=self.root,
            modified=entry.modified,
            size=sum(length for _, length in places),
            reader=partial(self._spool.read, places),
            suffix=LOADED,
        )


def _as_name(value: Any) -> str:
    """Return what can be a document's name as a text."""
    if isinstance(value, bool) or not isinstance(value, str | int | UUID | PurePath):
        return ""
    return clean(str(value)).strip()


def _path_of(document: Document) -> str:
    return next((name for key in _PATHS if (name := _as_name(document.metadata.get(key)))), "")

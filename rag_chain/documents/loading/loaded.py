"""Read what a LangChain loader gave: its documents of one source, kept as JSON Lines, are one document."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from rag_chain.documents.loading.file_loader import one_line
from rag_chain.documents.loading.headings import first_heading, has_headings
from rag_chain.documents.loading.metadata import Notes, clean, keep_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Between the texts of one source.
GAP = "\n\n"
# Hex digits of a version that are a digest of the text alone, and as many of the metadata.
DIGITS = 32

# When somebody looked at a file says nothing about it, and is another time in each run.
_PASSING = frozenset({"last_accessed", "accessed_at", "last_accessed_at"})


@dataclass(frozen=True)
class LoadedPart:
    """One document of a loader: its text as it was, and its metadata as it can be stored."""

    text: str
    fields: dict[str, Any]

    @property
    def page(self) -> int | None:
        """Its page, where its metadata has one."""
        page = self.fields.get("page")
        return page if isinstance(page, int) else None


def write_part(document: Document, notes: Notes, known: Sequence[str]) -> bytes:
    """Return a loader's document as one line of JSON; ``known`` of its metadata is kept elsewhere."""
    fields = keep_metadata(document.metadata, notes, known=known)
    if isinstance(tags := fields.get("tags"), str):
        # The Obsidian loader joins a set, which in each process has another order.
        fields["tags"] = ",".join(sorted(tags.split(",")))
    if "page" in fields:
        fields |= _page(fields.pop("page"))
    text = json.dumps([clean(document.page_content), fields], ensure_ascii=False, sort_keys=True)
    return text.encode()


def read_loaded(data: bytes) -> Document:
    """Return the documents of a source as one: texts one after the other, each of several a page.

    ``pages`` are the offsets where they start, ``parts`` the metadata in which they differ.
    """
    parts = _read_parts(data)
    text, starts = _join(parts)
    shared = _shared([part.fields for part in parts])
    markup = "markdown" if has_headings(text) else "plain"
    metadata: dict[str, Any] = {**shared, "markup": markup}
    if len(parts) > 1:
        metadata["pages"] = starts
        metadata["parts"] = _own_fields(parts, shared)
    elif parts[0].page == 0:
        metadata["page"] = 1
    metadata["title"] = _title(parts, text, markup)
    return Document(text, metadata=metadata)


def version_of(data: bytes) -> str:
    """Return the digest of the text, then that of the metadata: what has the same text can have its vectors."""
    parts = _read_parts(data)
    known = [{key: value for key, value in part.fields.items() if key not in _PASSING} for part in parts]
    described = json.dumps([known, [len(part.text) for part in parts]], sort_keys=True)
    return _digest(_join(parts)[0])[:DIGITS] + _digest(described)[:DIGITS]


def time_of(document: Mapping[str, Any]) -> float:
    """Return when a document was modified, in seconds since 1970, as far as its metadata says so."""
    modified = document.get("modified")
    if isinstance(modified, datetime):
        return modified.timestamp()
    return float(modified) if isinstance(modified, int | float) and 0 <= modified < 2**53 else 0.0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_parts(data: bytes) -> list[LoadedPart]:
    parts = [LoadedPart(*json.loads(line)) for line in data.split(b"\n")]
    # Pages may come in any order, such as from several threads of a loader.
    return sorted(parts, key=lambda part: part.page or 0) if all(part.page is not None for part in parts) else parts


def _join(parts: Sequence[LoadedPart]) -> tuple[str, list[int]]:
    starts, end = [], 0
    for part in parts:
        starts.append(end)
        end += len(part.text) + len(GAP)
    return GAP.join(part.text for part in parts), starts


def _shared(fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = fields
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _own_fields(parts: Sequence[LoadedPart], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what each part has for itself; pages are counted from 1, as everywhere here."""
    from_zero = any(part.page == 0 for part in parts)
    own = [{name: value for name, value in part.fields.items() if name not in shared} for part in parts]
    for fields, part in zip(own, parts, strict=True):
        if part.page is not None:
            fields["page"] = part.page + from_zero
    return own


def _page(page: Any) -> dict[str, Any]:
    """Return a page as a number; what is none goes by another name, since ours is a number to whoever asks."""
    if isinstance(page, str) and page.strip().isascii() and page.strip().isdigit() and len(page) < 10:
        return {"page": int(page)}
    if isinstance(page, float) and page.is_integer():
        return {"page": int(page)}
    return {"page" if isinstance(page, int) and not isinstance(page, bool) else "page_": page}


def _title(parts: Sequence[LoadedPart], text: str, markup: str) -> str:
    """Return the first title of a part, else the first heading; a name is none, since it may be changed at any time."""
    given = next((title for part in parts if (title := one_line(part.fields.get("title", "")))), "")
    return given or (one_line(first_heading(text) or "") if markup == "markdown" else "")

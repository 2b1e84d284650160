"""Scopes: what a loader is called in the store, so that it prunes what it gave before and nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from langchain_core.document_loaders import BaseLoader

# Documents that were given themselves, of which there may be more than those given now.
GIVEN = "Document"

# Attributes that say where a loader looks, by the words in their names, and those that are nobody's business.
_PLACES = frozenset(
    "path paths url urls uri dsn file files folder directory dir db database repo repository bucket prefix query table "
    "collection index space channel channels site domain host project workspace owner branch id ids name names root "
    "page pages feed sitemap".split()
)
_SECRETS = frozenset("token secret password passwd credential credentials auth authorization api".split())


def address_of(name: str) -> str:
    """Return the address of a scope; those of its documents go on with ``!/``, as in an archive."""
    return f"loader:{quote(name, safe='')}"


def name_loader(loader: BaseLoader) -> str:
    """Return the class of a loader, with a digest of what it says about where it looks, if it does."""
    kind = type(loader).__name__
    places = sorted(set(_find_places(loader)))
    return f"{kind}-{hashlib.sha256(repr(places).encode()).hexdigest()[:8]}" if places else kind


def _find_places(loader: BaseLoader) -> Iterator[tuple[str, str]]:
    for name, value in _attributes(loader):
        if _says_where(name):
            yield from ((name, place) for place in _read_places(value))
        # Such as a database's engine, or what finds the files of a generic loader.
        for inner, part in _attributes(value):
            if _says_where(inner):
                yield from ((f"{name}.{inner}", place) for place in _read_places(part))
            if url := getattr(part, "url", None):
                yield f"{name}.{inner}.url", _plain_url(str(url))


def _attributes(thing: object) -> list[tuple[str, Any]]:
    known = getattr(thing, "__dict__", None)
    return list(known.items()) if isinstance(known, Mapping) and not isinstance(thing, type) else []


def _says_where(name: str) -> bool:
    words = set(re.findall("[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    return bool(words & _PLACES) and not words & _SECRETS


def _read_places(value: object) -> list[str]:
    if isinstance(value, list | tuple | set | frozenset):
        return [place for part in value for place in _read_places(part)] if len(value) <= 1000 else []
    if isinstance(value, str | Path):
        return [_read_place(str(value))] if str(value) else []
    return [str(value)] if isinstance(value, int) and not isinstance(value, bool) else []


def _read_place(text: str) -> str:
    """Return a path in full, however it is written here, and an address without the password in it."""
    if "://" in text:
        return _plain_url(text)
    try:
        return str(Path(text).resolve()) if text and Path(text).exists() else text
    except (OSError, ValueError):  # no path: too long, or with a NUL
        return text


def _plain_url(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

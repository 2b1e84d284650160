"""Make of anybody's metadata what Milvus holds and filters find; what is lost on the way is said."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from rag_chain.store.rows import TAKEN

# Every chunk of the document carries them; Milvus holds 65,536 bytes for all of a chunk together.
MOST_CHARACTERS, MOST_BYTES = 4_000, 40_000
MOST_NAME = 64
# What others may fill of our own fields.
OURS = frozenset({"title"})
# Not for others: offsets and names by which loaders and splitters of ours speak to each other.
_INNER = frozenset({"pages", "parts", "markup"})
# Texts, numbers and times of special kinds, as what JSON knows.
_SIMPLE: tuple[tuple[tuple[type, ...], Callable[[Any], Any]], ...] = (
    ((Enum,), lambda value: _plain(value.value)),
    ((datetime, date, time), lambda value: value.isoformat()),
    ((PurePath, UUID, str), str),
    ((int,), int),
    ((Decimal, float), float),
)
DEEPEST = 20
_FOREIGN = re.compile(r"\W")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Notes:
    """What became of metadata that could not be kept as it was: each kind is told once."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, note: str) -> None:
        """Take a note, or count it once more."""
        self._counts[note] = self._counts.get(note, 0) + 1

    def __iter__(self) -> Iterator[str]:
        for note, count in self._counts.items():
            yield f"{note} ({count:,} times)" if count > 1 else note


def keep_metadata(given: Mapping[Any, Any], notes: Notes, *, known: Collection[str] = ()) -> dict[str, Any]:
    """Return metadata under names and with values that can be stored and filtered by, in the order of its names.

    Names become identifiers, ours get ``_`` behind them; a date or time becomes ISO 8601, whatever has parts but a
    list of texts JSON. ``None`` and NaN are no value. ``known`` are kept elsewhere.
    """
    kept: dict[str, Any] = {}
    room = MOST_BYTES
    for key, value in sorted(given.items(), key=lambda item: str(item[0])):
        if key in known:
            continue
        if _is_nothing(value):
            notes.add(f"metadata {str(key)!r} is left out where it has no value")
            continue
        name = _name(str(key), {*kept, *map(str, given)} - {str(key)})
        if name != key:
            notes.add(f"metadata {str(key)!r} is kept as {name}")
        storable = _storable(value, f"metadata {str(key)!r}", notes)
        room -= len(name) + len(json.dumps(storable, ensure_ascii=False).encode())
        if room < 0:
            notes.add(f"metadata {str(key)!r} is left out: with the others it is over {MOST_BYTES:,} bytes")
        elif storable is not None:
            kept[name] = storable
    return kept


def clean(text: str) -> str:
    """Return a text in which every character that can't be stored is replaced, so that offsets stay as they are."""
    return _UNSTORABLE.sub("\ufffd", text)


def _is_nothing(value: object) -> bool:
    """Return whether a value stands for there being none."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, Decimal) and value.is_nan())


def _name(key: str, others: Collection[str]) -> str:
    """Return an identifier that is no name of ours, nor one of the others."""
    name = _FOREIGN.sub("_", clean(key))[:MOST_NAME]
    if not re.match("[A-Za-z_]", name):
        name = f"_{name}"[:MOST_NAME]
    while name in (TAKEN | _INNER) - OURS or (name != key and name in others):
        name = f"{name[: MOST_NAME - 1]}_" if len(name) < MOST_NAME else f"{name[: MOST_NAME - 6]}{len(others):06d}"
    return name


def _storable(value: Any, what: str, notes: Notes) -> Any:
    """Return what stands for a value in the store; None when nothing does."""
    value = _plain(value)
    if isinstance(value, int | float):
        fits = -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)
        return value if fits else str(value)
    if isinstance(value, str):
        return _shorten(clean(value), what, notes)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return _shorten_list([clean(item) for item in value], what, notes)
    try:
        return _shorten(clean(json.dumps(value, ensure_ascii=False, sort_keys=True)), what, notes)
    except (TypeError, ValueError, RecursionError):
        notes.add(f"{what} is left out: a {type(value).__name__} can't be stored")
        return None


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value as what JSON knows, as far as there is something like it."""
    if value is None or type(value) in {str, int, float, bool} or depth > DEEPEST:
        return value
    for kinds, convert in _SIMPLE:
        if isinstance(value, kinds):
            return convert(value)
    if isinstance(value, Mapping):
        return {str(_plain(key, depth + 1)): _plain(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        parts = [_plain(part, depth + 1) for part in value]
        return parts if isinstance(value, list | tuple) else sorted(parts, key=repr)
    return _plain_object(value, depth + 1)


def _plain_object(value: Any, depth: int) -> Any:
    if isinstance(value, type):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value), depth)
    # Models of pydantic; arrays and numbers of numpy.
    for method in ("model_dump", "tolist"):
        if callable(plain := getattr(value, method, None)):
            return _plain(plain(), depth)
    return value


def _shorten(text: str, what: str, notes: Notes) -> str:
    if len(text) > MOST_CHARACTERS:
        notes.add(f"{what} is cut to {MOST_CHARACTERS:,} characters")
    return text[:MOST_CHARACTERS]


def _shorten_list(texts: list[str], what: str, notes: Notes) -> list[str]:
    kept: list[str] = []
    room = MOST_CHARACTERS
    for text in texts:
        room -= len(text) + 1
        if room < 0:
            notes.add(f"{what} is cut to {len(kept)} of its {len(texts)} texts")
            break
        kept.append(text)
    return kept

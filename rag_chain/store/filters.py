"""Turn a typed filter into a Milvus expression; no caller's text ever becomes syntax."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fnmatch import translate
from typing import TYPE_CHECKING, TypeAlias

from rag_chain.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Scalar: TypeAlias = "str | int | float | bool"
Range: TypeAlias = "Mapping[str, int | float | str]"
Filter: TypeAlias = "Mapping[str, Scalar | Sequence[Scalar] | Range]"

# Not a field: each tenant has a collection of its own.
TENANT = "tenant"
# No chunk has an empty id.
NOTHING, ALL = 'id == ""', 'id != ""'
# A document's record is its first chunk, which alone says how many there are.
RECORDS, REST = "chunks > 0", "chunks == 0"

_NAME = re.compile(r"[A-Za-z_]\w{0,63}")
# What a range may be bounded by.
_BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_WILDCARD = re.compile(r"[*?]")
_TEXTS = frozenset({"id", "text", "source", "title", "heading", "version", "uri"})
_NUMBERS = frozenset({"position", "start", "end", "chunks", "modified"})


def quote(text: str) -> str:
    """Return a string literal with the only escapes that Milvus Lite and servers both read."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def within_tenant(conditions: Filter, tenant: str) -> Filter:
    """Return the filter without ``tenant``, which may name the tenant that is asked for and no other.

    Raises :class:`~rag_chain.errors.SettingsError` for another one: no filter widens what a caller may see.
    """
    if TENANT not in conditions:
        return conditions
    if conditions[TENANT] not in (tenant, [tenant]):
        raise SettingsError(f"filter: {TENANT} can be no other than your own; leave it out")
    return {name: value for name, value in conditions.items() if name != TENANT}


def build_expression(conditions: Filter, *, prefixes_only: bool = False) -> str:
    """Return the Milvus expression for a filter: every condition in parentheses, joined by ``and``.

    ``{"source": "faq/*", "language": ["en", "de"], "page": 3}``: ``source`` and ``title`` and
    ``heading`` take ``*`` and ``?``; a list means any of its values; an empty list matches
    nothing; ``{"gte": 2020, "lt": 2024}`` is a range, of numbers or of texts such as dates, with
    ``gt``, ``gte``, ``lt`` and ``lte``. Wildcards select slightly more than they should where a name
    holds ``_``, ``%`` or a backslash (Lite and servers do not agree on an escape for them), see
    :func:`matches`; much more with ``prefixes_only``, for servers that know no other patterns.
    """
    return " and ".join(f"({_condition(name, value, prefixes_only)})" for name, value in conditions.items())


def matches(conditions: Filter, metadata: Mapping[str, object]) -> bool:
    """Return whether a chunk's metadata satisfies the filter's wildcards exactly."""
    return all(
        _pattern(value).match(str(metadata.get(name, ""))) is not None
        for name, value in conditions.items()
        if isinstance(value, str) and _has_wildcard(name, value)
    )


def _pattern(wildcards: str) -> re.Pattern[str]:
    # To fnmatch a bracket is a wildcard too; in brackets of its own it is not.
    return re.compile(translate(wildcards.replace("[", "[[]")))


def _has_wildcard(name: str, value: object) -> bool:
    return name in {"source", "title", "heading"} and isinstance(value, str) and bool(_WILDCARD.search(value))


def _condition(name: str, value: Scalar | Sequence[Scalar] | Range, prefixes_only: bool) -> str:
    if not _NAME.fullmatch(name):
        raise SettingsError(f"filter: {name!r} is not the name of a metadata field")
    if isinstance(value, str) and _has_wildcard(name, value):
        return f"{name} like {quote(_like(value, prefixes_only))}"
    if isinstance(value, (str, int, float)):
        return _equals_any(name, [value])
    if isinstance(value, Mapping):
        return _within(name, value)
    if isinstance(value, (list, tuple, set, frozenset)):
        # An empty choice must fail closed, not open.
        return _equals_any(name, value) if value else NOTHING
    raise SettingsError(f"filter: {name} must be a text, a number, a list of them or a range")


def _like(wildcards: str, prefixes_only: bool) -> str:
    if prefixes_only:
        return re.split(r"[%_?*\\]", wildcards, maxsplit=1)[0] + "%"
    return re.sub(r"[%_?\\]", "_", wildcards).replace("*", "%")


def _equals_any(name: str, values: Iterable[object]) -> str:
    if name in _TEXTS or name in _NUMBERS:
        return f"{name} in [{', '.join(_literal(name, value) for value in values)}]"
    literals = dict.fromkeys(_literal(name, alike) for value in values for alike in _alike(value))
    # As a key no name is a keyword: bare, {"true": True} would select everything. Lite has no "in" for keys.
    return _join_or([f"$meta[{quote(name)}] == {literal}" for literal in literals])


def _alike(value: object) -> list[object]:
    """Return the values that equal this one: to Milvus Lite, as to Python, true is 1, to a server it is not."""
    return [int(value), bool(value)] if isinstance(value, (int, float)) and value in {0, 1} else [value]


def _join_or(conditions: list[str]) -> str:
    """Join conditions in pairs of pairs: of a chain of sixty a server says that it nests too deep."""
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    return f"({_join_or(conditions[:half])}) or ({_join_or(conditions[half:])})"


def _within(name: str, bounds: Range) -> str:
    if not bounds:
        raise SettingsError(f"filter: {name} has a range without bounds: give one of {', '.join(_BOUNDS)}")
    if unknown := sorted(set(bounds) - set(_BOUNDS), key=str):
        raise SettingsError(f"filter: {unknown[0]!r} is not a bound for {name}: there are {', '.join(_BOUNDS)}")
    kinds = {isinstance(value, str) for value in bounds.values()}
    if len(kinds) > 1 or any(isinstance(value, bool) for value in bounds.values()):
        raise SettingsError(f"filter: the bounds of {name} are numbers, or texts")
    field = name if name in _TEXTS | _NUMBERS else f"$meta[{quote(name)}]"
    return " and ".join(f"{field} {_BOUNDS[bound]} {_literal(name, value)}" for bound, value in bounds.items())


def _literal(name: str, value: object) -> str:
    if name in _TEXTS and not isinstance(value, str):
        raise SettingsError(f"filter: {name} is a text, not {value!r}")
    if name in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int)):
        raise SettingsError(f"filter: {name} is a whole number, not {value!r}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    # A server reads the sign by itself, so that the least number of 64 bits has no place there.
    if isinstance(value, int) and -(2**63) < value < 2**63:
        return repr(value)
    raise SettingsError(f"filter: {value!r} is not a text, a finite number of 64 bits, or true or false")

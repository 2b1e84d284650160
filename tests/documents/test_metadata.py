"""Anybody's metadata becomes what Milvus holds and filters find; what is lost on the way is said once by name."""

from __future__ import annotations

import dataclasses
import json
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from rag_chain.documents.loading.metadata import MOST_BYTES, MOST_CHARACTERS, Notes, keep_metadata
from rag_chain.store.filters import build_expression
from rag_chain.store.rows import TAKEN


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


class Model(BaseModel):
    y: int


def keep(**metadata: Any) -> tuple[dict[str, Any], list[str]]:
    notes = Notes()
    return keep_metadata(metadata, notes), list(notes)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("text", "text"),
        (3, 3),
        (True, True),
        (2.5, 2.5),
        (["a", "b"], ["a", "b"]),
        (("a", "b"), ["a", "b"]),
        ({"b", "a"}, ["a", "b"]),
        ([], []),
        ([1, 2.5, None], "[1, 2.5, null]"),
        ({"b": [1], "a": {"c": None}}, '{"a": {"c": null}, "b": [1]}'),
        (2**63, "9223372036854775808"),
        (float("inf"), "inf"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc), "2026-01-02T03:04:00+00:00"),
        ({"when": date(2026, 1, 2)}, '{"when": "2026-01-02"}'),
        (Decimal("1.5"), 1.5),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Point(1), '{"x": 1}'),
        (Model(y=2), '{"y": 2}'),
        (np.float32(0.5), 0.5),
        (np.array([1, 2]), "[1, 2]"),
        ("a\x00b\ud800", "a\ufffdb\ufffd"),
    ],
)
def test_values(value: object, kept: object) -> None:
    """What can be stored is as it was, everything else is what says the same."""
    assert keep(value=value) == ({"value": kept}, [])


@pytest.mark.parametrize("value", [None, float("nan"), Decimal("NaN")])
def test_no_value_is_none(value: object) -> None:
    """There is nothing to store and nothing to find; the key is named."""
    assert keep(value=value) == ({}, ["metadata 'value' is left out where it has no value"])


@pytest.mark.parametrize("value", [b"bytes", object(), [object()], int])
def test_what_can_not_be_stored_is_said(value: object) -> None:
    """By name and kind."""
    kept, (note,) = keep(value=value)
    assert (kept, note.startswith("metadata 'value' is left out: a ")) == ({}, True)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("last-edited", "last_edited"),
        ("My Key", "My_Key"),
        ("2fast", "_2fast"),
        ("Schlüssel-Größe", "Schlüssel_Größe"),
        ("作者", "_作者"),
        ("", "_"),
        ("a.b", "a_b"),
        *((name, f"{name}_") for name in sorted(TAKEN - {"title"})),
        *((name, f"{name}_") for name in ("pages", "parts", "markup")),
    ],
)
def test_names(name: str, kept: str) -> None:
    """They become identifiers, and none is one of ours; the note says which."""
    found, (note,) = keep(**{name: 1})
    assert (found, note) == ({kept: 1}, f"metadata {name!r} is kept as {kept}")


def test_names_do_not_collide() -> None:
    """Those that would become the same stay apart, and what needs no other name keeps its own."""
    kept, _ = keep(**{"a b": 1, "a-b": 2, "a_b": 3, "id": 4, "id_": 5})
    assert (kept["a_b"], kept["id_"], sorted(kept.values())) == (3, 5, [1, 2, 3, 4, 5])
    notes = Notes()
    assert sorted(keep_metadata({1: "a", "1": "b", None: "c"}, notes).values()) == ["a", "b", "c"]


def test_long_values_are_cut() -> None:
    """Texts, lists and JSON; all together they fit into Milvus' field, and what does not is named."""
    kept, notes = keep(long="x" * 5000, many=["y" * 999] * 9, deep={"z": ["w" * 5000]})
    assert (len(kept["long"]), len(kept["many"]), len(kept["deep"])) == (MOST_CHARACTERS, 4, MOST_CHARACTERS)
    assert len(notes) == 3
    kept, notes = keep(**{f"k{number}": "日" * 4000 for number in range(9)})
    assert len(json.dumps(kept, ensure_ascii=False).encode()) <= MOST_BYTES + 1000
    assert len(kept) + len(notes) == 9


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=80) | st.integers() | st.none(), JSON, max_size=6))
def test_whatever_is_given_can_be_stored_and_filtered_by(metadata: dict[Any, Any]) -> None:
    """Each name is one that a filter takes, each value one of Milvus' kinds, and nothing is lost without a note."""
    notes = Notes()
    kept = keep_metadata(metadata, notes)
    for name, value in kept.items():
        assert name not in TAKEN - {"title"}
        assert build_expression({name: ""})
        assert isinstance(value, str | int | float) or all(isinstance(item, str) for item in value)
    # Notes are told once for keys that are written the same.
    assert len(kept) == len(metadata) or any("left out" in note for note in notes)

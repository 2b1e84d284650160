"""Filters select what they say and nothing else, whatever they hold."""

from __future__ import annotations

import operator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_chain.errors import SettingsError, StoreError
from rag_chain.store.collection import Store
from rag_chain.store.filters import NOTHING, build_expression, matches, quote
from rag_chain.store.links import Address
from rag_chain.store.vectorstore import ChunkStore
from tests.fake_embeddings import FakeEmbeddings
from tests.store.chunks import FINGERPRINT, make_chunks, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines import Engine

SOURCES = [
    "faq/a.md",
    "faq/b.md",
    "faq/sub/c.md",
    "guide.txt",
    "GUIDE.txt",
    "a_b",
    "axb",
    "a%b",
    "a*b",
    "a?b",
    "[a]b",
    "a\\b",
    "a\\",
    "\\",
    'a"b',
    "a'b",
    "a\nb",
    "a\tb",
    "a\rb",
    '" or id != "',
    "') or true or ('",
    "日本語",
    "é",
    "e\u0301",
    "😀x",
    "\u202ea",
    "nul\0",
    " a ",
    "",
    "true",
]
LANGUAGES = ["en", "de", 'e"n', "e\\n", "true", "1", "", "日"]
VALUES = [*LANGUAGES, True, False, 0, 1, -3, 2**40, 1.5, -0.25, 1e-7, 1e16]


class Rows:
    """Thirty chunks in a real Milvus, and what their metadata are."""

    def __init__(self, store: Store) -> None:
        documents = [
            make_chunks(
                source,
                "text",
                language=LANGUAGES[number % len(LANGUAGES)],
                tag=VALUES[number % len(VALUES)],
                title=SOURCES[-number],
                true=number,
            )
            for number, source in enumerate(SOURCES)
        ]
        for number, (chunk,) in enumerate(documents):
            if number % 2:
                chunk.metadata["page"] = number
        write(store, *documents)
        store.flush()
        self.metadata = [document[0].metadata | {"chunks": 1} for document in documents]
        self._chunks = ChunkStore(store, FakeEmbeddings())
        self._vector = FakeEmbeddings().embed_query("text")

    def select(self, conditions: Any) -> list[str]:
        """Return the sources of the chunks that the filter selects, sorted."""
        found = self._chunks.nearest(self._vector, len(SOURCES), conditions)
        return sorted(document.metadata["source"] for document, _ in found)

    def expect(self, conditions: dict[str, Any]) -> list[str]:
        """Return the same, found in Python."""
        return sorted(row["source"] for row in self.metadata if all(holds(row, *pair) for pair in conditions.items()))


def holds(row: dict[str, Any], name: str, value: Any) -> bool:
    if name not in row:
        return False
    if isinstance(value, list):
        return row[name] in value
    if isinstance(value, str) and name in {"source", "title", "heading"}:
        return fnmatchcase(row[name], value.replace("[", "[[]"))
    return bool(row[name] == value)


@pytest.fixture(scope="module")
def rows(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rows]:
    with (
        engine.place(tmp_path_factory.mktemp("filters")) as address,
        Store(address, "documents") as store,
    ):
        store.create(FINGERPRINT, 64)
        yield Rows(store)


PIECES = st.one_of(
    st.sampled_from(SOURCES),
    st.sampled_from(LANGUAGES),
    st.text(alphabet="ab*?%_[]\\\"'\n\t\r(){}$ =|日é😀\0", max_size=6),
    st.text(max_size=4),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -3, 2**40, 1.5, 1e-7]), st.integers(1 - 2**63, 2**63 - 1), st.floats(allow_nan=False)
).filter(lambda number: abs(number) != float("inf"))
SCALARS = st.one_of(PIECES, st.booleans(), NUMBERS)
NAMES = st.sampled_from(
    ["language", "tag", "true", "like", "and", "not", "null", "exists", "in", "False", "missing", "_"]
)
CONDITIONS = st.one_of(
    st.dictionaries(st.sampled_from(["source", "title", "heading"]), PIECES | st.lists(PIECES, max_size=3), max_size=2),
    st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=4), max_size=2),
    st.dictionaries(st.sampled_from(["page", "position", "chunks"]), st.integers(-1, 30), max_size=2),
)


@settings(deadline=None, max_examples=200)
@given(conditions=CONDITIONS)
def test_a_filter_selects_what_python_would(rows: Rows, conditions: dict[str, Any]) -> None:
    """Hostile values and names that are keywords select exactly the chunks that equal them."""
    assert rows.select(conditions) == rows.expect(conditions)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_can_be_asked_for(rows: Rows, source: str) -> None:
    """In a list no character is a wildcard, and each name selects itself only."""
    assert rows.select({"source": [source]}) == [source]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("faq/*", ["faq/a.md", "faq/b.md", "faq/sub/c.md"]),
        ("faq/?.md", ["faq/a.md", "faq/b.md"]),
        ("*.txt", ["GUIDE.txt", "guide.txt"]),
        ("guide*", ["guide.txt"]),
        ("a_*", ["a_b"]),
        ("a%?", ["a%b"]),
        ("[a]*", ["[a]b"]),
        ("a\\*", ["a\\", "a\\b"]),
        ("*\\", ["\\", "a\\"]),
        ("日?語", ["日本語"]),
        ("nothing/*", []),
        ('*" or *', ['" or id != "']),
    ],
)
def test_wildcards_are_exact(rows: Rows, pattern: str, expected: list[str]) -> None:
    """Only * and ? stand for anything else than themselves."""
    assert rows.select({"source": pattern}) == expected


def test_a_wildcard_alone_selects_everything(rows: Rows) -> None:
    """A star matches every name, the empty one and those with line ends too."""
    assert rows.select({"source": "*"}) == sorted(SOURCES)


def test_wildcards_are_for_names_of_documents(rows: Rows) -> None:
    """Other fields are compared as they are."""
    assert rows.select({"language": "*"}) == []


def test_no_filter_selects_everything(rows: Rows) -> None:
    """Neither None nor an empty mapping narrows anything."""
    assert rows.select(None) == rows.select({}) == sorted(SOURCES)


@pytest.mark.parametrize("empty", [[], (), set(), frozenset()])
@pytest.mark.parametrize("name", ["source", "page", "missing"])
def test_an_empty_choice_matches_nothing(rows: Rows, name: str, empty: Any) -> None:
    """It fails closed, also beside a condition that holds."""
    assert rows.select({name: empty}) == []
    assert rows.select({"source": "*", name: empty}) == []


def test_all_conditions_have_to_hold(rows: Rows) -> None:
    """Conditions are joined by and, so that none can widen another."""
    assert rows.select({"source": "faq/*", "page": 1}) == ["faq/b.md"]
    assert rows.select({"source": ["faq/a.md", "guide.txt"], "language": ["en", "de"]}) == ["faq/a.md"]


def test_a_list_may_mix_kinds(rows: Rows) -> None:
    """Texts, numbers and truth values stand side by side."""
    conditions = {"tag": ["en", 1.5, -3, False]}
    assert rows.select(conditions) == rows.expect(conditions) != []


def test_long_lists_work(rows: Rows) -> None:
    """Thousands of values are no problem."""
    assert rows.select({"source": [*(str(number) for number in range(3000)), "é"]}) == ["é"]
    assert rows.select({"page": list(range(1000, 1500))}) == []


@pytest.mark.parametrize(
    "name", ["", "a b", "a-b", "1a", "a.b", 'a"', "$meta", "a[0]", "id == id or id", "a\n", "x" * 65, "ä b", "source "]
)
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    """Nothing but a plain name is a field."""
    with pytest.raises(SettingsError, match="is not the name of a metadata field"):
        build_expression({name: 1})


@pytest.mark.parametrize(
    "conditions",
    [
        {"page": None},
        {"page": {"$gt": 1}},
        {"page": b"x"},
        {"page": float("nan")},
        {"page": float("inf")},
        {"page": 2**63},
        {"page": -(2**63)},
        {"page": [[1]]},
        {"page": [None]},
        {"page": ["a", float("-inf")]},
        {"source": 5},
        {"source": ["a", 5]},
        {"source": True},
        {"title": 1.5},
        {"id": 1},
        {"position": "1"},
        {"position": 1.5},
        {"chunks": True},
        {"start": ["0"]},
    ],
)
def test_a_value_that_makes_no_sense_is_refused(conditions: dict[str, Any]) -> None:
    """The message says which field, or which value, it is about."""
    with pytest.raises(SettingsError, match=r"^filter: .+ (must be|is not|is a)"):
        build_expression(conditions)


def test_a_closed_door_is_always_false(rows: Rows) -> None:
    """What stands for an empty choice matches no chunk."""
    assert build_expression({"page": []}) == f"({NOTHING})"


def test_on_servers_that_know_prefixes_only_the_rest_is_left_to_python() -> None:
    """The expression selects by the part before the first wildcard, and matches() is exact."""
    expression = build_expression({"source": "faq/?_*.md"}, prefixes_only=True)
    assert expression == '(source like "faq/%")'
    assert matches({"source": "faq/?_*.md"}, {"source": "faq/a_b.md"})
    assert not matches({"source": "faq/?_*.md"}, {"source": "faq/ab.md"})


@settings(deadline=None)
@given(st.text(alphabet="ab*?[]!-\\\n.", max_size=12), st.text(alphabet="ab[]!-\\\n.", max_size=12))
def test_matches_knows_no_wildcards_but_two(pattern: str, name: str) -> None:
    """A name matches itself, and with brackets as plain characters it is what fnmatch says."""
    assert matches({"source": name}, {"source": "something else"})
    assert matches({"source": name + "*"}, {"source": name})
    if "*" in pattern or "?" in pattern:
        assert matches({"source": pattern}, {"source": name}) is fnmatchcase(name, pattern.replace("[", "[[]"))


@settings(deadline=None)
@given(st.text(max_size=30))
def test_a_quoted_text_is_one_literal(text: str) -> None:
    """No quote inside it ends it, and no line end breaks it."""
    literal = quote(text)
    assert literal[0] == literal[-1] == '"'
    unescaped = literal[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in unescaped
    assert "\n" not in literal


def test_a_field_that_is_no_scalar_selects_nothing(rows: Rows) -> None:
    """Vectors and unknown names are like any missing field."""
    assert rows.select({"dense": 1}) == rows.select({"sparse": "x"}) == rows.select({"unknown": ""}) == []


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """A search after closing is a store error and not the vendor's; a server's connection stays with the process."""
    with Store(Address(str(tmp_path / "closed.db")), "documents") as store:
        store.create(FINGERPRINT, 64)
        chunks = ChunkStore(store, FakeEmbeddings())
    with pytest.raises(StoreError):
        chunks.nearest([1.0] + [0.0] * 63, 1)


RANGES = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.integers(-5, 35), min_size=1, max_size=2)


def within(value: Any, bounds: dict[str, Any]) -> bool:
    """Return whether a value is in a range, reckoned in Python."""
    compare = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
    return all(compare[bound](value, limit) for bound, limit in bounds.items())


@pytest.mark.parametrize("name", ["page", "true", "position"])
@given(bounds=RANGES)
@settings(max_examples=25, deadline=None)
def test_a_range_of_numbers(rows: Rows, name: str, bounds: dict[str, Any]) -> None:
    """Chunks without the field are in none."""
    expected = sorted(row["source"] for row in rows.metadata if name in row and within(row[name], bounds))
    assert rows.select({name: bounds}) == expected


@given(bounds=st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), PIECES, min_size=1, max_size=2))
@settings(max_examples=50, deadline=None)
def test_a_range_of_texts(rows: Rows, bounds: dict[str, Any]) -> None:
    """Compared as they are written, whatever is in them; so dates in ISO form are in order."""
    expected = sorted(row["source"] for row in rows.metadata if within(row["language"], bounds))
    assert rows.select({"language": bounds}) == expected


@pytest.mark.parametrize(
    "bounds",
    [{}, {"above": 1}, {"gt": "a", "lt": 1}, {"gt": True}, {"gt": [1]}, {"gt": float("nan")}, {"gt": None}, {1: 2}],
)
def test_a_range_that_makes_no_sense_is_refused(bounds: Any) -> None:
    """Before Milvus sees it."""
    with pytest.raises(SettingsError, match="filter"):
        build_expression({"page": bounds})

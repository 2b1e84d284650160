"""How the tests are shared out among processes: what the lists say is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scheduling import LONGEST, ONE_BY_ONE, rank

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", sorted({*ONE_BY_ONE, *LONGEST}))
def test_what_is_listed_exists(name: str) -> None:
    """A test or file that gets another name keeps its place."""
    file, _, test = name.partition("::")
    assert f"def {test}" in (ROOT / file).read_text("utf-8")


@pytest.mark.parametrize("file", ONE_BY_ONE)
def test_files_that_are_taken_apart_share_nothing(file: str) -> None:
    """What is made once for a file would be made by each process."""
    assert 'scope="module"' not in (ROOT / file).read_text("utf-8")


def test_the_longest_comes_first() -> None:
    """One test of a file may come before the others of it; what is not listed comes last."""
    first, file = LONGEST[0], LONGEST[0].partition("::")[0]
    assert 0 == rank(first) < rank(f"{file}::another") < rank("tests/test_cli.py::test_one")

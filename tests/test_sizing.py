"""What a number of chunks needs, on paper: Milvus' own figures, the account's limits, and the table in the docs."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_chain import Settings
from rag_chain.cli import main
from rag_chain.errors import SettingsError
from rag_chain.sizing import GIB, Sizing, describe_sizing, estimate_size, index_size, read_count

ROOT = Path(__file__).parents[1]


def online(**values: Any) -> Settings:
    return Settings(provider="fireworks", fireworks_api_key="x", **values)


def memory(sizing: Sizing) -> list[int]:
    return [round(one.memory / GIB) for one in sizing.indexes]


@pytest.mark.parametrize(
    ("chunks", "dimensions", "expected", "nvme"),
    [
        ("10M", 768, [37, 11, 8], 31),
        ("10M", 256, [15, 5, 3], 12),
        ("100M", 768, [345, 85, 82], 307),
        ("1B", 768, [3430, 825, 823], 3070),
        ("1B", 256, [1236, 276, 274], 1162),
    ],
)
def test_memory_is_what_milvus_own_tool_says(chunks: str, dimensions: int, expected: list[int], nvme: int) -> None:
    """HNSW, IVF_SQ8 and DISKANN in GiB, and DISKANN's disk, as that tool gives them for the same numbers."""
    sizing = estimate_size(read_count(chunks), online(), dimensions=dimensions)
    assert memory(sizing) == expected
    assert round(sizing.indexes[2].local_disk / GIB) == nvme


@pytest.mark.parametrize(
    ("chunks", "dimensions", "expected"),
    [
        ("500k", 768, "auto"),
        ("10M", 768, "HNSW"),
        ("100M", 768, "IVF_SQ8"),
        ("1B", 768, "DISKANN"),
        ("1B", 64, "IVF_SQ8"),
    ],
)
def test_the_index_to_start_with_goes_by_memory(chunks: str, dimensions: int, expected: str) -> None:
    """HNSW for one machine's, IVF_SQ8 for a few machines', then disks; shorter vectors move that on."""
    assert estimate_size(read_count(chunks), online(), dimensions=dimensions).recommended == expected


def test_dollars_and_hours_are_those_of_the_account() -> None:
    """The price list's, and the slowest limit is named."""
    sizing = estimate_size(100_000_000, online(embedding_tokens_per_minute=900_000))
    assert (sizing.tokens, sizing.dollars) == (20_000_000_000, 160.0)
    assert sizing.hours == {
        "this machine": pytest.approx(25.25, rel=0.01),
        "requests per minute": pytest.approx(100e6 / 64 / 6000 / 60, rel=0.01),
        "tokens per minute": pytest.approx(20e9 / 0.9e6 / 60, rel=0.01),
        "writing to Milvus": pytest.approx(100e6 / 7000 / 3600, rel=0.01),
    }
    assert sizing.limited_by == "tokens per minute"
    assert estimate_size(100_000_000, online(embedding_price=1.0)).dollars == 20_000
    slow = estimate_size(100_000_000, online(embedding_requests_per_minute=10))
    assert slow.limited_by == "requests per minute"


def test_requests_hold_no_more_tokens_than_the_settings_say() -> None:
    """Long chunks make smaller batches."""
    assert estimate_size(6400, online(), tokens_per_chunk=100).requests == 100
    assert estimate_size(6400, online(embedding_batch_tokens=8000), tokens_per_chunk=1000).requests == 800
    assert estimate_size(10, online(embedding_batch_tokens=10), tokens_per_chunk=1000).requests == 10


def test_without_a_key_the_local_model_is_reckoned_with() -> None:
    """No dollars, no limits but this machine's, and its own vector length."""
    sizing = estimate_size(1_000_000, Settings())
    assert (sizing.dimensions, sizing.dollars, sizing.requests) == (384, 0.0, 0)
    assert set(sizing.hours) == {"this machine", "writing to Milvus"}


def test_a_length_that_is_not_known_has_to_be_named() -> None:
    """It decides everything, so it is not guessed."""
    settings = online(embedding_model="somebody/some-model")
    with pytest.raises(SettingsError, match="--dimensions"):
        estimate_size(1000, settings)
    assert estimate_size(1000, settings, dimensions=100).dollars is None
    assert estimate_size(1000, settings.with_changes(embedding_dimensions=64)).dimensions == 64


def test_copies_and_mapped_texts_count() -> None:
    """Each copy takes all memory once more; mapped texts take a tenth of it, and the disk."""
    plain, copied, mapped = (estimate_size(10**7, online(**v)) for v in ({}, {"replicas": 2}, {"mmap": True}))
    hnsw = plain.indexes[0]
    assert copied.memory(hnsw) == 2 * plain.memory(hnsw)
    assert mapped.text_memory == pytest.approx(plain.text_memory / 10)
    assert mapped.indexes[0].local_disk == plain.text_memory
    assert "RAG_MMAP=true" in describe_sizing(plain)
    assert "RAG_MMAP=true" not in describe_sizing(mapped)
    assert "2 copies" in describe_sizing(copied)


@given(chunks=st.integers(1, 10**12), dimensions=st.integers(1, 4096), m=st.integers(2, 64))
def test_more_never_needs_less(chunks: int, dimensions: int, m: int) -> None:
    """Neither of chunks nor of dimensions; a graph is larger than the vectors, and a byte each is smaller."""
    for kind in ("HNSW", "IVF_SQ8", "DISKANN"):
        one, more, longer = (
            index_size(kind, c, d, 0.0, m=m)
            for c, d in ((chunks, dimensions), (chunks + 1, dimensions), (chunks, dimensions + 1))
        )
        assert one.memory <= more.memory
        assert one.memory <= longer.memory
        assert one.object_store > chunks * dimensions * 4
    assert (
        index_size("HNSW", chunks, dimensions, 0.0, m=m).memory > index_size("IVF_SQ8", chunks, dimensions, 0.0).memory
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10M", 10**7), ("1B", 10**9), ("1.5b", 15 * 10**8), ("200k", 200_000), ("1e8", 10**8), ("1_000", 1000), ("7", 7)],
)
def test_counts_are_read_as_people_write_them(text: str, expected: int) -> None:
    """With or without a unit."""
    assert read_count(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-5", "M", "ten", "1e99", "5 T", "0.1"])
def test_what_is_no_count_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line says so and exits with 2."""
    with pytest.raises(SystemExit) as caught:
        main(["doctor", f"--sizing={text}"])
    assert caught.value.code == 2
    assert "--sizing" in capsys.readouterr().err


def test_the_doctor_tells_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As lines and as JSON, without a connection to anything."""
    monkeypatch.setenv("FIREWORKS_API_KEY", "x")
    monkeypatch.setenv("MILVUS_URI", "http://127.0.0.1:9")
    assert main(["doctor", "--sizing", "100M"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("100,000,000 chunks of 200 tokens, 768 dimensions\n")
    assert "$160.00" in said
    assert "start with RAG_INDEX_TYPE=IVF_SQ8: " in said
    assert main(["doctor", "--sizing", "100M", "--dimensions", "256", "--tokens-per-chunk", "400", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["dimensions"], shown["embedding"]["tokens"], shown["embedding"]["dollars"]) == (256, 40 * 10**9, 320)
    assert [one["type"] for one in shown["indexes"]] == ["HNSW", "IVF_SQ8", "DISKANN"]
    assert shown["limited_by"] in shown["hours"]


def test_the_tables_in_the_docs_are_these() -> None:
    """``scripts/sizing_table.py`` would change nothing."""
    fill = runpy.run_path(str(ROOT / "scripts" / "sizing_table.py"))["fill"]
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    assert "| 100M | 20 G | $160 |" in page
    assert fill(page) == page

"""What is mended in Milvus Lite gives what Milvus Lite gives."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from milvus_lite.storage import segment

from rag_chain.store.lite_mends import mend_milvus_lite
from tests.engines import Engine
from tests.store.chunks import make_chunks, write

if TYPE_CHECKING:
    from rag_chain.store.collection import Store

DIMENSIONS = 4
ROWS = st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=6)


@pytest.fixture(scope="session")
def engine() -> Engine:
    """A path that one process holds is Milvus Lite's alone."""
    return Engine()


def make_memtable() -> Any:
    """A table of rows in memory, as a collection with a text and a vector has it."""
    from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema
    from milvus_lite.storage.memtable import MemTable

    fields = [
        FieldSchema(name="id", dtype=DataType.VARCHAR, is_primary=True, max_length=8),
        FieldSchema(name="text", dtype=DataType.VARCHAR, max_length=64, nullable=True),
        FieldSchema(name="dense", dtype=DataType.FLOAT_VECTOR, dim=DIMENSIONS),
    ]
    return MemTable(CollectionSchema(fields=fields, enable_dynamic_field=True))


def make_batch(schema: Any, ids: list[str], start: int) -> Any:
    numbers = range(start, start + len(ids))
    columns = {
        "_seq": list(numbers),
        "_partition": ["_default"] * len(ids),
        "id": ids,
        "text": [f"text {number}" if number % 3 else None for number in numbers],
        "dense": np.random.default_rng(start).standard_normal((len(ids), DIMENSIONS), np.float32).tolist(),
        "$meta": [None if number % 2 else "{}" for number in numbers],
    }
    return pa.RecordBatch.from_pydict({name: columns[name] for name in schema.names}, schema=schema)


@given(st.lists(ROWS, min_size=1, max_size=6))
def test_a_flush_gathers_the_same_rows(writes: list[list[tuple[str, bool]]]) -> None:
    """Whatever was written over or deleted before: same rows, same order, same types."""
    from milvus_lite.schema.arrow_builder import build_wal_data_schema, build_wal_delta_schema

    mend_milvus_lite()
    memtable = make_memtable()
    data, delta = build_wal_data_schema(memtable._schema), build_wal_delta_schema(memtable._schema)
    seq = 1
    for rows in writes:
        kept = [name for name, deleted in rows if not deleted]
        gone = [name for name, deleted in rows if deleted]
        if kept:
            memtable.apply_insert(make_batch(data, kept, seq))
            seq += len(kept)
        if gone:
            columns = {"id": gone, "_seq": [seq] * len(gone), "_partition": ["_default"] * len(gone)}
            memtable.apply_delete(pa.RecordBatch.from_pydict({n: columns[n] for n in delta.names}, schema=delta))
            seq += 1
    live = [(batch, row) for batch, row, _ in memtable._pk_index.values()]
    if live:
        gathered = memtable._build_data_table(live)
        theirs = type(memtable)._build_data_table.__wrapped__(memtable, live)
        assert gathered.schema == theirs.schema
        assert gathered.to_pylist() == theirs.to_pylist()


@given(st.integers(0, 40), st.integers(1, 50), st.booleans())
def test_a_file_is_read_as_it_was_written(rows: int, group: int, with_nulls: bool) -> None:
    """Whatever its length and its row groups, with or without missing values: same rows, same types, in one piece."""
    mend_milvus_lite()
    memtable = make_memtable()
    batch = make_batch(memtable._data_schema, [str(number) for number in range(rows)], 1)
    table = pa.Table.from_batches([batch])
    if with_nulls:
        place = table.schema.get_field_index("dense")
        vectors = [None if number % 3 else vector for number, vector in enumerate(table.column("dense").to_pylist())]
        field = pa.field("dense", table.schema.field(place).type)
        table = table.set_column(place, field, pa.array(vectors, field.type))
    with TemporaryDirectory() as folder, patch("rag_chain.store.lite_mends.READ_ROWS", 7):
        path = f"{folder}/data.parquet"
        pq.write_table(table, path, row_group_size=group)
        read = segment.read_data_file(path)
        assert read.equals(pq.read_table(path))
    assert read.schema == table.schema
    assert all(column.num_chunks == 1 for column in read.columns)


def test_nothing_is_said_of_few_vectors(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    """Making an index of a few vectors prints nothing, in Python or C++."""
    write(store, make_chunks("a.md", *map(str, range(30))))
    store.flush()
    store.close()
    assert capfd.readouterr() == ("", "")

"""What Milvus Lite 3.2.2 does wrongly, slowly or noisily, mended in the process that holds a path."""

from __future__ import annotations

import threading
from functools import cache, wraps
from itertools import groupby
from operator import itemgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from milvus_lite.db import MilvusLite
    from milvus_lite.storage.memtable import MemTable

# Rows decoded at a time, and bytes read ahead for each column.
READ_ROWS, READ_BYTES = 1024, 1 << 20

P = ParamSpec("P")
T = TypeVar("T")


def open_once(db: MilvusLite) -> None:
    """Let whatever a call is the first to need be opened by that call alone.

    Milvus Lite opens a collection when it is first asked for. When two calls meet there, a search
    and a write say, each opens it, and the second one's log takes the place of the first's with all
    rows in it.
    """
    opening = threading.RLock()
    for name in ("get_collection", "create_collection", "_aliases"):
        setattr(db, name, _one_at_a_time(getattr(db, name), opening))


def _one_at_a_time(call: Callable[P, T], lock: threading.RLock) -> Callable[P, T]:
    def wait_and_call(*arguments: P.args, **options: P.kwargs) -> T:
        with lock:
            return call(*arguments, **options)

    return wait_and_call


@cache
def mend_milvus_lite() -> None:
    """Mend what belongs to the process and not to a path."""
    from rag_chain.store.lite_search import mend_search

    _quieten_training()
    _flush_in_arrow()
    _let_go_of_what_is_flushed()
    _read_in_batches()
    mend_search()


def _quieten_training() -> None:
    """Keep faiss from warning on stderr, in C++, that it has few vectors to place one cell by."""
    import faiss
    from milvus_lite.index import faiss_ivf_flat

    class Index(faiss.IndexIVFFlat):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.cp.min_points_per_centroid = 1

    faiss_ivf_flat.faiss = SimpleNamespace(**{**vars(faiss), "IndexIVFFlat": Index})


def _flush_in_arrow() -> None:
    """Gather the rows of a flush in Arrow.

    Milvus Lite makes a Python object of every number in them and an Arrow table of these: for 8,192
    rows of 768 dimensions 1 s and 250 MB, where this copies what has been replaced in the meantime and nothing else.
    """
    from milvus_lite.storage.memtable import MemTable

    theirs = MemTable._build_data_table  # noqa: SLF001

    @wraps(theirs)
    def gather(self: MemTable, rows: list[tuple[int, int]]) -> Any:
        import pyarrow as pa

        schema = self._data_schema
        runs = [
            _take(self._insert_batches[batch], [row for _, row in run]) for batch, run in groupby(rows, itemgetter(0))
        ]
        return pa.Table.from_batches(runs).select(schema.names).cast(schema)

    MemTable._build_data_table = gather  # noqa: SLF001


def _let_go_of_what_is_flushed() -> None:
    """Give up the rows in memory once they are in a file, and before Milvus Lite reads them back from it.

    It holds on to them until that is done: for 8,192 rows of 768 dimensions 42 MB, when it needs most.
    """
    from milvus_lite.engine import collection

    theirs = collection.execute_flush

    @wraps(theirs)
    def flush(*, frozen_memtable: MemTable, **others: Any) -> None:
        theirs(frozen_memtable=frozen_memtable, **others)
        # Whatever asks it now finds no rows, as after the flush.
        vars(frozen_memtable).update(vars(type(frozen_memtable)(frozen_memtable._schema)))  # noqa: SLF001

    collection.execute_flush = flush


def _read_in_batches() -> None:
    """Decode a file of rows a thousand at a time.

    All at once, as Milvus Lite reads back what it has just flushed, takes three times the memory of the rows: for
    8,646 rows of 768 dimensions 120 MB and 0.6 s where this takes 71 MB and 0.2 s.
    """
    from milvus_lite.engine import compaction
    from milvus_lite.storage import segment

    segment.read_data_file = compaction.read_data_file = _read_data_file


def _read_data_file(path: str) -> Any:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as file:
        batches = file.iter_batches(READ_ROWS, use_threads=False)
        table = pa.Table.from_batches(list(batches), file.schema_arrow)
    # In one piece, since vectors are used where they lie: column by column, so that only one is there twice.
    for place, field in enumerate(table.schema):
        table = table.set_column(place, field, table.column(place).combine_chunks())
    return table


def _take(batch: Any, rows: list[int]) -> Any:
    """Return these rows of a batch: itself when they are all of it, as they mostly are."""
    return batch if rows == [*range(batch.num_rows)] else batch.take(rows)

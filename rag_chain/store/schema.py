"""The collection's fields, indexes and search parameters, all explicit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymilvus import CollectionSchema, MilvusClient
    from pymilvus.milvus_client.index import IndexParams

# Part of the fingerprint: raise it when a collection made before would not do any more.
SCHEMA_VERSION = 2

KEY, TEXT, TERMS, DENSE, SPARSE = "id", "text", "terms", "dense", "sparse"

# Bytes that fit; longer titles and heading paths are cut, a longer source is refused.
SOURCE_BYTES, TITLE_BYTES, HEADING_BYTES, TEXT_BYTES = 4096, 1024, 4096, 65_535
# Of a longer chunk the last terms are not counted.
TERMS_BYTES = 65_535

# The longest path that Linux has, percent-encoded, and a source inside the archive there.
URI_BYTES = 3 * 4096 + SOURCE_BYTES + 16

# What a search returns; vectors stay where they are.
OUTPUT_FIELDS = ("id", "text", "source", "title", "heading", "start", "end", "position", "version", "uri")

# With one cell, which is always searched, this is an exhaustive search in C++: for 27,000 chunks of 768 dimensions
# 6 ms on Milvus Lite, missing nothing, and built in half a second where HNSW takes 21. Milvus Lite looks for the
# parameters one level deeper.
LITE_INDEX: dict[str, Any] = {"index_type": "IVF_FLAT", "metric_type": "COSINE", "params": {"params": {"nlist": 1}}}
# What the measurements in benchmarks/retrieval.md were made with.
BM25 = {"bm25_k1": 1.5, "bm25_b": 0.75}
SPARSE_INDEX: dict[str, Any] = {
    "index_type": "SPARSE_INVERTED_INDEX",
    "metric_type": "BM25",
    "params": BM25,
}
LITE_SPARSE_INDEX: dict[str, Any] = {**SPARSE_INDEX, "params": {"params": BM25}}
SPARSE_SEARCH: dict[str, Any] = {"metric_type": "BM25", "params": {}}
# Terms come with blanks between them, see terms.py; Milvus Lite has no tokenizer that cuts there only.
_TERMS_ANALYZER = {True: {"tokenizer": "standard"}, False: {"tokenizer": "whitespace"}}


def build_schema(dimensions: int, *, with_bm25: bool, on_lite: bool = True) -> CollectionSchema:
    """Return the schema: a chunk's text, vectors and place, and its document's record on the first chunk.

    ``chunks`` (the document's number of chunks) is above zero on the first chunk only, which is
    written last: a document without it was never completed.
    """
    from pymilvus import DataType, Function, FunctionType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field(KEY, DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field(TEXT, DataType.VARCHAR, max_length=TEXT_BYTES)
    schema.add_field(DENSE, DataType.FLOAT_VECTOR, dim=dimensions)
    for name, size in (("source", SOURCE_BYTES), ("title", TITLE_BYTES), ("heading", HEADING_BYTES)):
        schema.add_field(name, DataType.VARCHAR, max_length=size)
    schema.add_field("version", DataType.VARCHAR, max_length=64)
    schema.add_field("uri", DataType.VARCHAR, max_length=URI_BYTES)
    for name in ("position", "start", "end", "chunks", "modified"):
        schema.add_field(name, DataType.INT64)
    if with_bm25:
        analyzer = {"enable_analyzer": True, "analyzer_params": _TERMS_ANALYZER[on_lite]}
        schema.add_field(TERMS, DataType.VARCHAR, max_length=TERMS_BYTES, **analyzer)
        schema.add_field(SPARSE, DataType.SPARSE_FLOAT_VECTOR)
        function = Function("bm25", FunctionType.BM25, input_field_names=[TERMS], output_field_names=[SPARSE])
        schema.add_function(function)
    return schema


def build_indexes(client: MilvusClient, dense: Mapping[str, Any], *, with_bm25: bool, on_lite: bool) -> IndexParams:
    """Return the index parameters that belong to the schema; ``dense`` are those of the vectors."""
    indexes = client.prepare_index_params()
    indexes.add_index(DENSE, **dense)
    if with_bm25:
        indexes.add_index(SPARSE, **(LITE_SPARSE_INDEX if on_lite else SPARSE_INDEX))
    return indexes


def understands_text(version: str) -> bool:
    """Return whether a Milvus of this version computes BM25 and matches any pattern: Lite 3, servers from 2.5."""
    return server_version(version) >= (2, 5)


def server_version(version: str) -> tuple[int, int]:
    """Return the first two numbers of a Milvus' version, such as ``v2.6.1`` or ``milvus_lite-3.2.2``."""
    numbers = re.search(r"(\d+)(?:\.(\d+))?", version)
    return (int(numbers[1]), int(numbers[2] or 0)) if numbers else (0, 0)

"""The knobs of how a collection is laid out and searched in Milvus; they matter from a million chunks on."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class MilvusSettings(BaseSettings):
    """A part of :class:`~rag_chain.settings.Settings`, which holds and reads it."""

    index_type: Literal["auto", "AUTOINDEX", "HNSW", "IVF_FLAT", "IVF_SQ8", "DISKANN"] = Field(
        "auto",
        description="Index over the vectors: auto is an exhaustive search on Milvus Lite and HNSW on a server, "
        "AUTOINDEX is what the server thinks best. Counts for new collections; rag-chain reindex changes others.",
    )
    index_metric: Literal["COSINE", "IP"] = Field(
        "COSINE", description="Metric of the index. Vectors have length 1, so both give the same scores."
    )
    hnsw_m: int = Field(16, ge=2, le=2048, description="HNSW: neighbours of a vector in the graph.")
    hnsw_ef_construction: int = Field(
        200, ge=8, le=32_768, description="HNSW: vectors looked at to find a new one's neighbours."
    )
    hnsw_ef: int = Field(
        64, ge=1, le=32_768, description="HNSW: vectors looked at in a search; never fewer than are asked for."
    )
    ivf_nlist: int = Field(1024, ge=1, le=65_536, description="IVF_FLAT and IVF_SQ8: cells of a segment's vectors.")
    ivf_nprobe: int = Field(
        32, ge=1, le=65_536, description="IVF_FLAT and IVF_SQ8: cells looked at in a search, at most all."
    )
    diskann_search_list: int = Field(
        100, ge=1, le=65_535, description="DISKANN: candidates in a search; never fewer than are asked for."
    )
    shards: int = Field(
        1, ge=1, le=16, description="Shards of a new collection, which take writes side by side; most servers allow 16."
    )
    replicas: int = Field(
        1, ge=1, le=64, description="Copies of a new collection in memory, each on query nodes of its own."
    )
    mmap: bool = Field(
        False, description="Map a new collection's texts from the query nodes' disks, Milvus 2.4 or later."
    )
    consistency: Literal["Strong", "Session", "Bounded", "Eventually"] = Field(
        "Bounded", description="How much a search may lag behind writes on a server; an ingest always reads Strong."
    )
    search_timeout: float | None = Field(
        None, gt=0, description="Seconds for one search in Milvus; default: RAG_STORE_TIMEOUT."
    )
    bulk_endpoint: str | None = Field(
        None,
        description="Address of the object store in which the Milvus server keeps its files, such as "
        "http://minio:9000: --bulk goes through it. Default: Amazon S3.",
    )
    bulk_access_key: SecretStr | None = Field(None, description="Access key of that object store.")
    bulk_secret_key: SecretStr | None = Field(None, description="Secret key of that object store.")
    bulk_file_megabytes: int = Field(
        64,
        ge=1,
        le=4096,
        description="Megabytes of chunks in a file that --bulk writes; it takes nine times the memory.",
    )

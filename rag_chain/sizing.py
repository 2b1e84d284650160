"""What a number of chunks needs: memory, disk, dollars and hours, on paper.

Formulas of memory and disk are those of Milvus' own sizing tool (milvus.io/tools/sizing, its source
``sizingTool.ts`` of 2026), with rows as rag_chain writes them. They are for one copy in memory
(``RAG_REPLICAS``), vectors of 32-bit floats, and Milvus' query nodes; the other nodes come on top.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from rag_chain.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_chain.settings import Settings

GIB = 2**30
TOKENS_PER_CHUNK = 200
# Measured on the Milvus documentation, 7,000 chunks of 150 and 230 tokens: bytes of text and of BM25's terms for a
# token, and of everything else in a row.
TEXT_BYTES_PER_TOKEN, TERMS_BYTES_PER_TOKEN, OTHER_BYTES = 3.1, 2.1, 400
# Different terms for a token, on the same chunks, and what an inverted list holds for each: a row number and a weight.
POSTINGS_PER_TOKEN, POSTING_BYTES = 0.19, 8
# The tool's: growing segments of 1 GiB beside the index, 15 % for what is not counted, mapped texts at a tenth.
GROWING_BYTES, OVERHEAD, MAPPED = 2 * GIB, 1.15, 0.1
DISKANN_DEGREE = 56
# Rows a second that one Milvus 2.3.5 takes by upserts on two shared cores, 768 dimensions.
WRITE_PACE = 7000
# Vectors a second and core while an index is built, on the same: HNSW with M 16 and efConstruction 200, and IVF_SQ8.
BUILD_PACE = {"HNSW": 500, "IVF_SQ8": 900}
# An index up to this is one ordinary machine's, and up to this a few machines'; then disks are cheaper.
SMALL_MEMORY, LARGE_MEMORY = 64 * GIB, 256 * GIB
LITE_CHUNKS = 1_000_000

WRITING = "writing to Milvus"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}


@dataclass(frozen=True)
class IndexSize:
    """What one index type needs, in bytes: memory of the vectors' part, fast local disk, object storage."""

    index_type: str
    memory: float
    local_disk: float
    object_store: float
    build_core_hours: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it for machines, in GiB."""
        return {
            "type": self.index_type,
            "memory_gib": _gib(self.memory),
            "local_disk_gib": _gib(self.local_disk),
            "object_store_gib": _gib(self.object_store),
            "build_core_hours": None if self.build_core_hours is None else float(f"{self.build_core_hours:.3g}"),
        }


@dataclass(frozen=True)
class Sizing:
    """What so many chunks need; ``hours`` by limit, if it were the only one, and bytes of memory of rows and words."""

    chunks: int
    dimensions: int
    tokens_per_chunk: int
    model: str
    requests: int
    dollars: float | None
    hours: dict[str, float]
    text_memory: float
    mapped: bool
    bm25_memory: float
    replicas: int
    indexes: Sequence[IndexSize]
    recommended: str
    reason: str

    @property
    def tokens(self) -> int:
        """All tokens that are embedded."""
        return self.chunks * self.tokens_per_chunk

    @property
    def limited_by(self) -> str:
        """The limit that takes the longest; the stages overlap, so it is about how long all takes."""
        return max(self.hours, key=self.hours.__getitem__)

    def memory(self, index: IndexSize) -> float:
        """Return all memory of the query nodes with this index, in bytes, for all copies."""
        return self.replicas * (index.memory + self.text_memory + self.bm25_memory)

    def to_json(self) -> dict[str, Any]:
        """Return it for machines, in GiB."""
        return {
            "chunks": self.chunks,
            "dimensions": self.dimensions,
            "tokens_per_chunk": self.tokens_per_chunk,
            "embedding": {
                "model": self.model,
                "tokens": self.tokens,
                "requests": self.requests,
                "dollars": self.dollars,
            },
            "hours": {limit: float(f"{hours:.3g}") for limit, hours in self.hours.items()},
            "limited_by": self.limited_by,
            "text_memory_gib": _gib(self.text_memory),
            "bm25_memory_gib": _gib(self.bm25_memory),
            "replicas": self.replicas,
            "indexes": [{**one.to_json(), "total_memory_gib": _gib(self.memory(one))} for one in self.indexes],
            "recommended": self.recommended,
            "reason": self.reason,
        }


def estimate_size(
    chunks: int,
    settings: Settings | None = None,
    *,
    dimensions: int | None = None,
    tokens_per_chunk: int = TOKENS_PER_CHUNK,
) -> Sizing:
    """Return what so many chunks need with these settings: their model, prices, limits, HNSW's M, copies and mmap.

    Raises :class:`~rag_chain.errors.SettingsError` when the length of the model's vectors is not known.
    """
    from rag_chain.models.building import price_embedding, vector_length
    from rag_chain.settings import Settings

    settings = settings or Settings()
    length = dimensions or vector_length(settings)
    if length is None:
        raise SettingsError(f"the vector length of {settings.embedding_model} is not known: name it with --dimensions")
    tokens = chunks * tokens_per_chunk
    requests = count_requests(chunks, tokens_per_chunk, settings)
    rows = text_bytes(chunks, tokens_per_chunk)
    m, mapped = settings.hnsw_m, settings.mmap
    indexes = [index_size(kind, chunks, length, rows, m=m, mapped=mapped) for kind in ("HNSW", "IVF_SQ8", "DISKANN")]
    recommended, reason = recommend(chunks, indexes)
    return Sizing(
        chunks=chunks,
        dimensions=length,
        tokens_per_chunk=tokens_per_chunk,
        model=settings.embedding_model if settings.resolved_provider == "fireworks" else "local",
        requests=requests,
        dollars=price_embedding(settings, tokens),
        hours=limit_hours(chunks, requests, tokens, settings),
        text_memory=rows * (MAPPED if mapped else 1),
        mapped=mapped,
        bm25_memory=bm25_bytes(chunks, tokens_per_chunk),
        replicas=settings.replicas,
        indexes=indexes,
        recommended=recommended,
        reason=reason,
    )


def count_requests(chunks: int, tokens_per_chunk: int, settings: Settings) -> int:
    """Return how many requests embed so many chunks; the local models need none."""
    if settings.resolved_provider != "fireworks":
        return 0
    texts = max(min(settings.embedding_batch, settings.embedding_batch_tokens // tokens_per_chunk), 1)
    return ceil(chunks / texts)


def limit_hours(chunks: int, requests: int, tokens: int, settings: Settings) -> dict[str, float]:
    """Return how long so much takes at each of the limits, if it were the only one."""
    from rag_chain.ingestion.estimate import limit_minutes

    minutes = limit_minutes(
        chunks=chunks,
        requests=requests,
        tokens=tokens,
        provider=settings.resolved_provider,
        requests_per_minute=settings.embedding_requests_per_minute,
        tokens_per_minute=settings.embedding_tokens_per_minute,
    )
    return {limit: value / 60 for limit, value in minutes.items()} | {WRITING: chunks / WRITE_PACE / 3600}


def raw_bytes(chunks: int, dimensions: int) -> int:
    """Return the bytes of the vectors alone: 4 for each number."""
    return chunks * dimensions * 4


def text_bytes(chunks: int, tokens_per_chunk: int) -> float:
    """Return the bytes of all other fields: text, terms for BM25, and source, title, headings, offsets and ids."""
    return chunks * (tokens_per_chunk * (TEXT_BYTES_PER_TOKEN + TERMS_BYTES_PER_TOKEN) + OTHER_BYTES)


def bm25_bytes(chunks: int, tokens_per_chunk: int) -> float:
    """Return the bytes of BM25's inverted lists, estimated: a row's different terms, 8 bytes each."""
    return chunks * tokens_per_chunk * POSTINGS_PER_TOKEN * POSTING_BYTES


def index_size(kind: str, chunks: int, dimensions: int, rows: float, *, m: int = 16, mapped: bool = False) -> IndexSize:
    """Return what an index type needs, by Milvus' sizing tool; ``rows`` are the bytes of all other fields.

    With ``raw`` the bytes of the vectors: HNSW is ``raw * (1 + 2 M / dimensions)`` in memory and
    IVF_SQ8 ``raw / 4``, both beside two growing segments and times 1.15; DISKANN is ``raw / 4``
    times 1.15 in memory and ``raw * (1 + 56 / dimensions)`` on NVMe. Object storage holds the
    rows, the vectors and the index. What is mapped lies on the local disk.
    """
    raw = raw_bytes(chunks, dimensions)
    disk = rows if mapped else 0.0
    if kind == "DISKANN":
        memory = raw / 4 * OVERHEAD
        disk += raw * (1 + DISKANN_DEGREE / dimensions)
    else:
        index = raw * (1 + 2 * m / dimensions) if kind == "HNSW" else raw / 4
        memory = (index + GROWING_BYTES) * OVERHEAD
    stored = raw + rows + (raw * (1 + DISKANN_DEGREE / dimensions) if kind == "DISKANN" else memory)
    pace = BUILD_PACE.get(kind)
    return IndexSize(kind, memory, disk, stored, None if pace is None else chunks / pace / 3600)


def recommend(chunks: int, indexes: Sequence[IndexSize]) -> tuple[str, str]:
    """Return the type to start with and why: the best recall whose memory is still reasonable."""
    if chunks < LITE_CHUNKS:
        return "auto", "small enough for the default: exhaustive on Milvus Lite, HNSW on a server"
    hnsw, ivf, _ = indexes
    if hnsw.memory <= SMALL_MEMORY:
        return "HNSW", "the best recall and speed, in the memory of one machine"
    if ivf.memory <= LARGE_MEMORY:
        return "IVF_SQ8", "a quarter of HNSW's memory, for a little recall; measure it with rag-chain evaluate"
    return "DISKANN", "as little memory as IVF_SQ8, with a better recall, for fast local disks"


def read_count(text: str) -> int:
    """Return a number such as ``10M``, ``1.5B``, ``200k``, ``1e8`` or ``1_000_000``; else raise ``ValueError``."""
    found = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]{1,2})?)\s*([KMGB]?)", text.strip(), re.IGNORECASE)
    number = round(float(re.sub("[_,]", "", found[1])) * _UNITS[found[2].upper()]) if found else 0
    if not 0 < number <= 10**13:
        raise ValueError(text)
    return number


def describe_sizing(sizing: Sizing) -> str:
    """Return it for people, a line for each thing."""
    price = "price not known" if sizing.dollars is None else f"${sizing.dollars:,.2f}"
    rows = "mapped from disk" if sizing.mapped else "in memory"
    words = show_bytes(sizing.bm25_memory)
    lines = [
        f"{sizing.chunks:,} chunks of {sizing.tokens_per_chunk} tokens, {sizing.dimensions} dimensions",
        f"embedding  {sizing.model}: {sizing.tokens:,} tokens, {price}",
        f"time       about {show_hours(sizing.hours[sizing.limited_by])}, limited by {sizing.limited_by}",
        *(f"           {show_hours(hours):>7}  {limit}" for limit, hours in sizing.hours.items()),
        f"rows       {show_bytes(sizing.text_memory)} of texts and metadata {rows}, {words} of BM25's lists",
        f"index      {'its memory':>11} {'all memory':>11} {'NVMe':>11} {'objects':>11} {'build':>16}",
    ]
    for one in sizing.indexes:
        build = "not measured" if one.build_core_hours is None else f"{one.build_core_hours:,.1f} core-hours"
        amounts = (one.memory, sizing.memory(one), one.local_disk, one.object_store)
        lines.append(f"{one.index_type:<10} {' '.join(f'{show_bytes(a):>11}' for a in amounts)} {build:>16}")
    if sizing.replicas > 1:
        lines.append(f"all memory is that of {sizing.replicas} copies (RAG_REPLICAS)")
    if not sizing.mapped and sizing.text_memory > GIB:
        lines.append(f"RAG_MMAP=true leaves {show_bytes(sizing.text_memory * MAPPED)} of the texts in memory")
    return "\n".join([*lines, f"start with RAG_INDEX_TYPE={sizing.recommended}: {sizing.reason}"])


def show_bytes(amount: float) -> str:
    """Return an amount of memory or disk in GiB, as exact as such an estimate is."""
    gib = amount / GIB
    return f"{gib:,.0f} GiB" if gib >= 10 or not gib else f"{gib:.1f} GiB"


def show_hours(hours: float) -> str:
    """Return a time in minutes, hours or days."""
    if hours < 1:
        return f"{hours * 60:.2g} min"
    return f"{hours:.2g} h" if hours < 48 else f"{hours / 24:,.0f} d"


def _gib(amount: float) -> float:
    return round(amount / GIB, 1)

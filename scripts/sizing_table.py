#!/usr/bin/env python3
"""Write the sizing tables of docs/deployment.md from the functions behind ``rag-chain doctor --sizing``."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rag_chain.settings import Settings
from rag_chain.sizing import GIB, MAPPED, TOKENS_PER_CHUNK, Sizing, estimate_size, read_count, show_hours

COUNTS = ("10M", "100M", "1B")
LENGTHS = (768, 256)
# What an account starts with, and the most that small models get: docs.fireworks.ai/serverless/rate-limits, 2026.
STARTING_TOKENS, RAISED_TOKENS = 900_000, 27_000_000
_TABLE = re.compile(r"(<!-- sizing -->\n).*?(<!-- /sizing -->)", re.DOTALL)


def sizing_tables() -> str:
    """Return both tables: what embedding costs and takes, and what the collection needs."""
    return f"{_embedding_table()}\n{_index_table()}"


def fill(page: str) -> str:
    """Return the page with the tables in their place."""
    return _TABLE.sub(lambda match: match[1] + sizing_tables() + match[2], page)


def _size(count: str, *, tokens_per_minute: int = RAISED_TOKENS, dimensions: int = LENGTHS[0]) -> Sizing:
    settings = Settings(provider="fireworks", fireworks_api_key="none", embedding_tokens_per_minute=tokens_per_minute)
    return estimate_size(read_count(count), settings, dimensions=dimensions)


def _embedding_table() -> str:
    head = [f"chunks of {TOKENS_PER_CHUNK} tokens", "tokens", "price", "at 0.9 M tokens/min", "at 27 M tokens/min"]
    head += ["at 6,000 requests/min", "one machine", "writing"]
    rows = []
    for count in COUNTS:
        start, raised = (_size(count, tokens_per_minute=limit) for limit in (STARTING_TOKENS, RAISED_TOKENS))
        limits = [start.hours["tokens per minute"], *(raised.hours[limit] for limit in _LIMITS)]
        rows.append([count, f"{raised.tokens / 1e9:,.0f} G", f"${raised.dollars:,.0f}", *map(show_hours, limits)])
    return _table(head, rows)


_LIMITS = ("tokens per minute", "requests per minute", "this machine", "writing to Milvus")


def _index_table() -> str:
    head = ["chunks", "dimensions", "HNSW", "IVF_SQ8", "DISKANN + NVMe", "texts (mapped)", "BM25", "object storage"]
    rows = []
    for count in COUNTS:
        for length in LENGTHS:
            sizing = _size(count, dimensions=length)
            hnsw, ivf, disk = sizing.indexes
            chosen = next(one for one in sizing.indexes if one.index_type == sizing.recommended)
            cells = [_gib(hnsw.memory), _gib(ivf.memory), f"{_gib(disk.memory)} + {_gib(disk.local_disk)}"]
            cells += [f"{_gib(sizing.text_memory)} ({_gib(sizing.text_memory * MAPPED)})", _gib(sizing.bm25_memory)]
            rows.append([count, str(length), *cells, _gib(chosen.object_store), sizing.recommended])
    return _table([*head, "start with"], rows)


def _gib(amount: float) -> str:
    return f"{amount / GIB:,.0f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    path = ROOT / "docs" / "deployment.md"
    path.write_text(fill(path.read_text("utf-8")), "utf-8")

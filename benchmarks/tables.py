"""Show what a benchmark found as Markdown that reads well in a terminal, too."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGES = "rag-chain milvus-lite pymilvus langchain-core langchain-milvus langchain-fireworks httpx numpy orjson"


def describe_machine() -> dict[str, Any]:
    """Return what the numbers depend on beside the code."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES.split()},
    }


def write_machine(machine: Mapping[str, Any]) -> str:
    """Return the machine in two lines."""
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    return (
        f"{machine['date']}, {machine['system']}, {machine['cores']} cores (load average {machine['load_before']} "
        f"at the start), Python {machine['python']},\n{packages}."
    )


def write_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with columns of equal width; all but the first are numbers."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = [f"{'-' * width}{':' if index else '-'}" for index, width in enumerate(widths)]
    lines = [_write_row(header, widths), f"|{'|'.join(f'-{mark}' for mark in rule)}|"]
    return "\n".join([*lines, *(_write_row(row, widths) for row in rows)])


def write_number(value: float | None) -> str:
    """Return a count as it is, three figures of anything else, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _write_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        f"{cell:<{width}}" if not index else f"{cell:>{width}}"
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join(padded)} |"

#!/usr/bin/env python3
"""Run a benchmark on an older commit and on this checkout in turn, and give the ratio of their figures.

``python benchmarks/compare.py --base COMMIT --times 5 -- asking.py`` checks both commits out into a temporary folder
and runs their own ``benchmarks/asking.py`` there, old, new, old, new, with what follows its name as its arguments.
Machines differ by a factor of two and change their minds within minutes, so what counts is the ratio of each pair of
runs; the table shows the median of each figure and the median of the ratios.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tables import describe_machine, write_machine, write_number, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
NUMBER = re.compile(r"[+-]?[\d,]+(?:\.\d+)?")

Figures = dict[str, float]


@contextmanager
def checkout(folder: Path, commit: str) -> Iterator[Path]:
    """Check a commit out into a folder, with the data of this checkout beside it."""
    data = ROOT.parent / "shared"
    if data.exists() and not (folder / "shared").exists():
        (folder / "shared").symlink_to(data)
    place = folder / commit
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(place), commit], check=True)  # noqa: S603  our own
    try:
        yield place
    finally:
        subprocess.run([*git, "remove", "--force", str(place)], check=True)  # noqa: S603


def run(place: Path, command: Sequence[str]) -> Figures:
    """Return the figures of a run: each number of the tables that it prints, by row and column."""
    script = [sys.executable, str(place / "benchmarks" / command[0]), *command[1:]]
    environment = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(script, cwd=place, env=environment, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return read_tables(done.stdout)


def read_tables(text: str) -> Figures:
    """Return the numbers of all Markdown tables in a text, each under ``row / column``."""
    found: Figures = {}
    header: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        else:
            numbers = zip(header[1:], cells[1:], strict=False)
            values = {f"{cells[0]} / {name}": read_number(cell) for name, cell in numbers}
            found |= {name: value for name, value in values.items() if value is not None}
    return found


def read_number(cell: str) -> float | None:
    """Return the number in a cell, or None."""
    return float(cell.replace(",", "")) if NUMBER.fullmatch(cell) else None


def add_derived(figures: Figures) -> Figures:
    """Add what the tables do not show: the sum of a question's own times, and CPU for each 1,000 tokens."""
    own = [figures.get(f"own time of the {part} / p50") for part in ("retriever", "chain beyond it")]
    if None not in own:
        figures["own time of retriever and chain / p50"] = sum(filter(None, own))
    for name in [name for name in figures if name.endswith(" / CPU %")]:
        row = name.removesuffix(" / CPU %")
        figures[f"{row} / CPU ms per 1,000 tokens"] = 1e4 * figures[name] / figures[f"{row} / tokens/s"]
    return figures


def compare(old: Sequence[Figures], new: Sequence[Figures]) -> list[list[str]]:
    """Return a row for each figure that all runs have: old, new, and the ratio new to old."""
    rows = []
    for name in [name for name in new[0] if all(name in figures for figures in (*old, *new))]:
        before, after = ([figures[name] for figures in runs] for runs in (old, new))
        ratios = [b / a for a, b in zip(before, after, strict=True) if a]
        middle = f"{statistics.median(ratios):.2f}" if ratios else "–"
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "–"
        medians = (write_number(float(statistics.median(values))) for values in (before, after))
        rows.append([name, *medians, middle, spread])
    return rows


def main() -> None:
    """Run both in turn and print the table; ``--save NAME`` writes it to ``results/NAME.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, metavar="COMMIT", help="the older commit")
    parser.add_argument("--times", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--save", metavar="NAME", help="write results/NAME.md")
    parser.add_argument("command", nargs="+", help="-- SCRIPT [ARGUMENT ...]")
    options = parser.parse_args()
    machine = describe_machine()
    old, new = list[Figures](), list[Figures]()
    with (
        tempfile.TemporaryDirectory(prefix="rag_chain_compare_") as name,
        checkout(Path(name), options.base) as before,
        checkout(Path(name), "HEAD") as after,
    ):
        for number in range(options.times):
            for place, runs in ((before, old), (after, new)) if number % 2 == 0 else ((after, new), (before, old)):
                runs.append(add_derived(run(place, options.command)))
    header = ["", f"{options.base[:7]}, median", "this commit, median", "ratio, median", "ratios"]
    command = " ".join(["python benchmarks/compare.py", *sys.argv[1:]])
    how = f"{options.times} runs of each, in turn; ratios are of the runs that stand side by side."
    text = "\n\n".join([f"# {options.command[0]}, before and after", f"`{command}`", write_machine(machine), how])
    text += f"\n\n{write_table(header, compare(old, new))}\n"
    print(text)
    if options.save:
        (ROOT / "benchmarks" / "results" / f"{options.save}.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()

"""Write a table as Markdown."""

from collections.abc import Sequence


def write_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first row is its header; empty rows are left out."""
    kept = [row for row in ([_cell(text) for text in row] for row in rows) if any(row)]
    if not kept:
        return ""
    width = max(map(len, kept))
    lines = [f"| {' | '.join([*row, *[''] * (width - len(row))])} |" for row in kept]
    return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

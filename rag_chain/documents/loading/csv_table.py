"""Load tables of comma-, semicolon-, tab- or bar-separated values, one paragraph for each row."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from rag_chain.documents.loading.decoding import decode
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.errors import DocumentError

_DELIMITERS = ",;\t|"
_SNIFFED_ROWS = 20
_SNIFFED_CHARACTERS = 20_000
# Python stops at 131,072 characters; cells with whole articles exist, endless ones are damage.
_MAX_CELL_CHARACTERS = 10_000_000


class CsvLoader(FileLoader):
    """Loader of tables with a header row: each row becomes lines of ``column: value``."""

    def extract(self, data: bytes) -> Extract:
        """Turn the rows into paragraphs; empty cells are left out."""
        text = decode(data)
        # The limit is one for the whole process; another library may have set a higher one.
        csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL_CHARACTERS))
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_find_delimiter(text))
        try:
            return Extract(describe_rows(reader))
        except csv.Error as error:
            raise DocumentError(f"not a readable table: {one_line(error)}") from error


def describe_rows(rows: Iterable[list[str]]) -> str:
    """Return a paragraph of ``column: value`` for each row below the header; empty rows and cells are left out.

    Rows of one cell before the header are titles. A single row is its cells.
    """
    filled = (row for row in rows if any(map(str.strip, row)))
    titles: list[str] = []
    header: list[str] = []
    for row in filled:
        cells = [cell.strip() for cell in row]
        if sum(map(bool, cells)) > 1:
            header = cells
            break
        titles += filter(None, cells)
    paragraphs = [_describe_row(header, row) for row in filled]
    if not paragraphs:
        return "\n".join([*titles, *filter(None, header)])
    return "\n\n".join([*titles, *paragraphs])


def _find_delimiter(text: str) -> str:
    """Return the delimiter that cuts the first rows into the most columns of which all have equally many.

    ``csv.Sniffer`` does the same with patterns that can run for minutes on quotes.
    """
    return max(_DELIMITERS, key=lambda delimiter: _count_regular_columns(text[:_SNIFFED_CHARACTERS], delimiter))


def _count_regular_columns(text: str, delimiter: str) -> float:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        widths = [len(row) for row in islice(reader, _SNIFFED_ROWS) if row]
    except csv.Error:  # the same text with another delimiter may do
        return 0
    if not widths:
        return 0
    width, rows = Counter(widths).most_common(1)[0]
    return (width - 1) * (rows / len(widths)) ** 2


def _describe_row(header: list[str], row: list[str]) -> str:
    names = header + [""] * (len(row) - len(header))
    cells = ((name, " ".join(cell.split())) for name, cell in zip(names, row, strict=False))
    return "\n".join(f"{name}: {cell}" if name else cell for name, cell in cells if cell)

"""Load spreadsheets (.xlsx, .xls, .xlsb, .ods): a section for each sheet, a paragraph for each row."""

import io
from collections.abc import Iterator
from datetime import datetime, time
from typing import Any

import python_calamine
from python_calamine import CalamineError, CalamineWorkbook

from rag_chain.documents.loading.containers import check_expansion
from rag_chain.documents.loading.csv_table import describe_rows
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.errors import DocumentError


class SpreadsheetLoader(FileLoader):
    """Loader of spreadsheets; the first row of a sheet that has more than one cell names its columns."""

    def extract(self, data: bytes) -> Extract:
        """Turn each sheet into a heading and rows of ``column: value``."""
        check_expansion(data, "spreadsheet")
        try:
            with CalamineWorkbook.from_filelike(io.BytesIO(data)) as book:
                sheets = [(name, describe_rows(_read_rows(book, name))) for name in book.sheet_names]
        except python_calamine.PasswordError as error:
            raise DocumentError("encrypted: save it without its password to have it read") from error
        except (CalamineError, ValueError, OverflowError, MemoryError) as error:
            raise DocumentError(f"not a readable spreadsheet: {one_line(error)}") from error
        parts = [f"## {one_line(name)}\n\n{rows}" for name, rows in sheets if rows]
        return Extract("\n\n".join(parts), markup="markdown")


def _read_rows(book: CalamineWorkbook, name: str) -> Iterator[list[str]]:
    for row in book.get_sheet_by_name(name).iter_rows():
        yield [_write_cell(cell) for cell in row]


def _write_cell(cell: Any) -> str:
    """Return a cell as a person reads it: whole numbers without a fraction, days without a time."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, datetime) and cell.time() == time.min:
        return cell.date().isoformat()
    return str(cell)

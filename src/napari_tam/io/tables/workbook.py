"""Excel workbooks: the cells of a sheet as text. No formula is computed, no macro run."""

from __future__ import annotations

import datetime as dt
import io
import re
import warnings
import zipfile
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError, one_line, some
from napari_tam.files import replacing
from napari_tam.io.tables.heads import head_of, is_head

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

#: A workbook that unpacks to more is refused: it is no layout, and may be made to fill the memory.
MOST_BYTES = 50_000_000
#: So is a sheet with more cells, or one that merges more, each of which openpyxl makes (in 45 µs).
MOST_CELLS, MOST_MERGED = 2_000_000, 100_000

#: What a sheet's XML says of a merged area.
_MERGED = re.compile(rb"""mergeCell\s[^>]*?ref\s*=\s*["']([A-Z]+[0-9]+:[A-Z]+[0-9]+)["']""")


def read_workbook(path: Path, what: str, keys: Collection[str] = ()) -> list[list[str]]:
    """Return the rows of a sheet that are not empty as texts, the one with the columns' names first.

    Of several sheets the first one that has one of `keys` in its head, else the first that holds anything.
    Values are those that Excel showed when it saved the file: of formulas their results. All cells that were
    merged have the value of the merged one.

    Raises
    ------
    InputError
        If it cannot be read, is empty or too large, or the sheet holds a formula whose result was not saved
        or is an error.
    """
    sheets = [each for each in _sheets(path, what) if each.values]
    if not sheets:
        raise InputError(f"{what} is empty", where=path)
    first: tuple[_Sheet, list[list[str]]] | None = None
    for sheet in sheets:
        rows = sheet.rows(path, what)
        rows = rows[head_of(rows, keys) :]
        first = first or (sheet, rows)
        if is_head(rows[0], keys):
            first = sheet, rows
            break
    assert first is not None
    sheet, rows = first
    if sheet.unknown:
        raise InputError(
            f"{what} holds formulas whose results were not saved ({sheet.title}: {some(sheet.unknown, 3)})",
            where=path,
            fix="open it in Excel and save it, or write the values",
        )
    if sheet.errors:
        raise InputError(
            f"{what} holds errors of formulas ({sheet.title}: {some(sheet.errors, 3)})",
            where=path,
            fix="correct them, or write the values",
        )
    return rows


def write_workbook(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a sheet of texts, in one step; none becomes a formula, and the head stays in view.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import openpyxl

    book = openpyxl.Workbook()
    for number, row in enumerate(rows, 1):
        for column, text in enumerate(row, 1):
            cell = book.active.cell(number, column)
            cell.value = text or None
            cell.number_format = "@"  # text: what is filled in does not become a date
            if text:
                cell.data_type = "s"
    book.active.freeze_panes = "A2"
    with replacing(path) as part:
        book.save(part)


@dataclass(frozen=True)
class _Sheet:
    """What a sheet holds: values by (row, column), merged areas, formulas without a result, and errors."""

    title: str
    values: dict[tuple[int, int], Any]
    merged: list[tuple[int, int, int, int]]
    unknown: list[str]
    errors: list[str]

    def rows(self, path: Path, what: str) -> list[list[str]]:
        """Return the rows and columns that hold anything, as texts."""
        rows = sorted({row for row, _ in self.values})
        columns = sorted({column for _, column in self.values})
        if len(rows) * len(columns) > MOST_CELLS:
            raise InputError(
                f"{what} is too large (sheet {self.title}: {len(rows):,} rows, {len(columns):,} columns)",
                where=path,
                fix="keep the rows of the wells only",
            )
        values = dict(self.values)
        for top, left, bottom, right in self.merged:
            if (top, left) in self.values:
                for row in rows[bisect_left(rows, top) : bisect_right(rows, bottom)]:
                    for column in columns[bisect_left(columns, left) : bisect_right(columns, right)]:
                        values[row, column] = self.values[top, left]
        return [[_text(values.get((row, column))) for column in columns] for row in rows]


def _sheets(path: Path, what: str) -> list[_Sheet]:
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        size = path.stat().st_size
        content, merged = path.read_bytes() if size <= MOST_BYTES else b"", 0
        if content:
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                size = sum(item.file_size for item in packed.infolist())
                merged = _merged(packed) if size <= MOST_BYTES else 0
        if size > MOST_BYTES or merged > MOST_MERGED:
            much = f"{size / 1e6:.0f} MB unpacked" if size > MOST_BYTES else f"{merged:,} merged cells"
            raise InputError(
                f"{what} is too large ({much})", where=path, fix="keep the rows of the wells only"
            )
        # not by its name: openpyxl leaves a damaged file open
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about lists to choose from, colours by rule: nothing of a table
            shown = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
            written = openpyxl.load_workbook(io.BytesIO(content))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, InvalidFileException) as error:
        raise InputError(f"{what} cannot be read ({one_line(error)})", where=path) from error
    except (SyntaxError, TypeError, AttributeError, IndexError) as error:  # damaged XML, as openpyxl meets it
        fix = "open it in Excel and save it again"
        raise InputError(f"{what} is damaged", where=path, fix=fix) from error
    return [_sheet(sheet, written[sheet.title]) for sheet in shown.worksheets]


def _merged(packed: zipfile.ZipFile) -> int:
    """Return how many cells are merged, each of which openpyxl would make."""
    from openpyxl.utils import range_boundaries

    number = 0
    for name in packed.namelist():
        for area in _MERGED.findall(packed.read(name)) if name.endswith(".xml") else ():
            left, top, right, bottom = range_boundaries(area.decode())
            number += (right - left + 1) * (bottom - top + 1)
    return number


def _sheet(shown: Any, written: Any) -> _Sheet:
    # not by its rows: a lone cell in the last corner, as a format makes it, has 17 thousand million before it
    values = {place: cell.value for place, cell in shown._cells.items() if cell.value not in (None, "")}
    unknown = {
        place: cell.coordinate
        for place, cell in sorted(written._cells.items())
        # "str" is a result that was saved, and is an empty text
        if cell.data_type == "f"
        and shown.cell(*place).value is None
        and shown.cell(*place).data_type != "str"
    }
    errors = [
        f"{cell.coordinate} {cell.value}" for _, cell in sorted(shown._cells.items()) if cell.data_type == "e"
    ]
    merged = [(area.min_row, area.min_col, area.max_row, area.max_col) for area in shown.merged_cells.ranges]
    return _Sheet(
        shown.title, {**dict.fromkeys(unknown, ""), **values}, merged, list(unknown.values()), errors
    )


def _text(value: object) -> str:
    """Return what a cell says as a CSV file would."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        return value.date().isoformat()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return str(value)

"""Excel workbooks: the cells of a sheet as text. No formula is computed, no macro run."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError, one_line, some

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import pandas as pd

#: A workbook that unpacks to more is refused: it is no layout, and may be made to fill the memory.
MOST_BYTES = 50_000_000


def read_workbook(path: Path, what: str, keys: Collection[str] = ()) -> pd.DataFrame:
    """Return a sheet's cells as text; its first row that is not empty has the columns' names.

    Of several sheets the first one that has one of `keys` among its columns, else the first that holds
    anything. Values are those that Excel showed when it saved the file: of formulas their results. All cells
    that were merged have the value of the merged one.

    Raises
    ------
    InputError
        If it cannot be read, is empty or too large, or holds a formula without a saved result.
    """
    import pandas as pd

    found: dict[str, list[list[str]]] = {}
    for name, rows in _sheets(path, what):
        filled = [row for row in rows if any(row)]
        if filled:
            found[name] = filled
    if not found:
        raise InputError(f"{what} is empty", where=path)
    fitting = [name for name, rows in found.items() if {cell.strip().lower() for cell in rows[0]} & set(keys)]
    head, *body = found[fitting[0] if fitting else next(iter(found))]
    used = [k for k, cell in enumerate(head) if cell.strip()]
    return pd.DataFrame([[row[k] for k in used] for row in body], columns=[head[k] for k in used], dtype=str)


def _sheets(path: Path, what: str) -> list[tuple[str, list[list[str]]]]:
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MOST_BYTES else b""
        if content:
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                size = sum(item.file_size for item in packed.infolist())
        if size > MOST_BYTES:
            raise InputError(
                f"{what} is too large ({size / 1e6:.0f} MB unpacked)",
                where=path,
                fix="keep the rows of the wells only",
            )
        # not by its name: openpyxl leaves a damaged file open
        shown = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
        written = openpyxl.load_workbook(io.BytesIO(content))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, InvalidFileException) as error:
        raise InputError(f"{what} cannot be read ({one_line(error)})", where=path) from error
    except (SyntaxError, TypeError, AttributeError, IndexError) as error:  # damaged XML, as openpyxl meets it
        fix = "open it in Excel and save it again"
        raise InputError(f"{what} is damaged", where=path, fix=fix) from error
    return [(sheet.title, _cells(sheet, written[sheet.title], path, what)) for sheet in shown.worksheets]


def _cells(shown: Any, written: Any, path: Path, what: str) -> list[list[str]]:
    unknown = [
        cell.coordinate
        for row in written.iter_rows()
        for cell in row
        if cell.data_type == "f" and shown[cell.coordinate].value is None
    ]
    if unknown:
        cells = some(unknown, 3)
        raise InputError(
            f"{what} holds formulas whose results were not saved ({shown.title}: {cells})",
            where=path,
            fix="open it in Excel and save it, or write the values",
        )
    texts = [[_text(cell.value) for cell in row] for row in shown.iter_rows()]
    for area in shown.merged_cells.ranges:
        value = texts[area.min_row - shown.min_row][area.min_col - shown.min_column]
        for row in range(area.min_row, area.max_row + 1):
            for column in range(area.min_col, area.max_col + 1):
                texts[row - shown.min_row][column - shown.min_column] = value
    return texts


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

"""The tables of a results folder as one Excel workbook, which opens right whatever the locale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam import files
from napari_tam.columns import label_of
from napari_tam.errors import InputError
from napari_tam.export.anndata import known_columns
from napari_tam.results import tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_tam.results.folder import Results

#: Rows that a sheet holds below its head.
MOST_ROWS = 1_048_575

#: Further tables, each in a sheet of its own if it is there.
_MORE = (
    "replicates", "comparisons", "thresholds", "gates", "cell_types", "kinetics", "dose_response", "traffic",
    "transfer_matrix", "spatial_association", "uptake_polarisation",
)  # fmt: skip

#: Characters that XML cannot hold, and Excel calls damaged.
_FORBIDDEN = {code: "" for code in range(32) if chr(code) not in "\t\n\r"}


def write_excel(path: Path, results: Results) -> list[InputError]:
    """Write images, cells, puncta and all that was concluded, a sheet a table, and what the columns mean.

    Texts are texts, also those that begin with ``=``; numbers are numbers whatever the decimal sign; missing
    values are empty.

    Returns
    -------
    list of InputError
        One for every table that is longer than a sheet, and was left out.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    too_long = []
    for name, table in _tables(results):
        if len(table) > MOST_ROWS:
            fix = f"read {name}.csv or {name}.parquet with another program"
            too_long.append(InputError(f"{name} has too many rows for Excel ({len(table):,})", fix=fix))
            continue
        sheet = book.create_sheet(name)
        sheet.freeze_panes = "B2"
        sheet.append([_cell(sheet, str(column)) for column in table.columns])
        for row in table.itertuples(index=False, name=None):
            sheet.append([_cell(sheet, value) for value in row])
    with files.replacing(path) as part:
        book.save(part)
    return too_long


def _tables(results: Results) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "images", results.images
    yield "cells", results.cells
    yield "puncta", results.puncta
    for name in _MORE:
        path = results.folder / f"{name}.csv"
        if path.exists():
            table = tables.read_csv(path)
            if len(table):
                yield name, table
    known = known_columns(results.cells.columns)
    about = [known[name] for name in results.cells.columns if name in known]
    yield (
        "columns",
        pd.DataFrame(
            {
                "column": [column.name for column in about],
                "in words": [label_of(column.name) for column in about],
                "unit": [column.unit for column in about],
                "definition": [column.definition for column in about],
            }
        ),
    )


def _cell(sheet: Any, value: Any) -> Any:
    """Return what a sheet takes for a value."""
    from openpyxl.cell import WriteOnlyCell

    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        cell = WriteOnlyCell(sheet, value.translate(_FORBIDDEN)[:32_767])
        cell.data_type = "s"  # never a formula
        return cell
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value

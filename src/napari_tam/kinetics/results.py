"""Tracks and uptake kinetics of a results folder: what `napari-tam track` and a run's end write.

Both steps replace their own columns and tables alone, so they can be repeated with other settings.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from napari_tam.celltypes.types import analysed
from napari_tam.columns import TIME_COLUMNS
from napari_tam.io.layout import GROUPS
from napari_tam.kinetics.table import kinetics
from napari_tam.kinetics.tracking import Followed, follow
from napari_tam.results import tables
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

    from napari_tam.io.layout import Layout

#: What the kinetics take from a layout, and which of these are numbers.
_FROM_LAYOUT, _NUMBERS = ("condition", "dose", "time", *GROUPS), ("dose", "time")


def follow_results(folder: Path, settings: Settings) -> Followed:
    """Follow the cells of a results folder's movies; cells.csv and cells.parquet get the column `track`.

    Without a movie the tables stay as they are (but lose the tracks of an earlier run).

    Parameters
    ----------
    folder
        The results folder.
    settings
        See `napari_tam.kinetics.tracking.follow`.

    Raises
    ------
    InputError
        If the folder cannot be read or written.
    """
    results = read_results(folder)
    found = follow(results.images, results.cells, settings)
    names = [column.name for column in TIME_COLUMNS]
    if not found.movies and not set(names) & set(results.cells.columns):
        return found
    table = _cells(folder, results.cells)
    table = table.select([name for name in table.column_names if name not in names])
    if found.movies:
        new = _arrow(found.cells[names])
        place = table.column_names.index("frame") + 1
        for shift, name in enumerate(names):
            table = table.add_column(place + shift, name, new.column(name))
    tables.write_csv(folder / "cells.csv", table)
    tables.write_parquet(folder / "cells.parquet", table)
    return found


def write_kinetics(
    folder: Path, layout: Layout | None = None, settings: Settings | None = None
) -> pd.DataFrame:
    """Fit the uptake kinetics of a results folder and write kinetics.csv; without any, it is removed.

    Parameters
    ----------
    folder
        The results folder, its cells followed (see `follow_results`) or described by a layout with times.
    layout
        Conditions and times, in the place of those that cells.csv may hold.
    settings
        `types` and `analyse_types` say which cells are fitted; None: the settings of the folder.

    Returns
    -------
    pandas.DataFrame
        See `napari_tam.kinetics.table.kinetics`.

    Raises
    ------
    InputError
        If the folder cannot be read or written.
    """
    cells = read_results(folder).cells
    if layout is not None:
        cells = described(cells, layout)
    if settings is None:
        path = folder / "settings.yaml"
        settings = Settings.from_yaml(path) if path.exists() else Settings()
    found = kinetics(cells[analysed(cells, settings)])
    path = folder / "kinetics.csv"
    if len(found):
        tables.write_csv(path, _arrow(found))
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return found


def described(cells: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Return cells with the columns of a layout that the kinetics use."""
    import pandas as pd

    about = layout.describe(sorted(set(cells["image"])))
    columns = {name: cells["image"].map(about[name]) for name in _FROM_LAYOUT if name in about}
    numbers = {name: pd.to_numeric(columns[name], errors="coerce") for name in _NUMBERS if name in columns}
    return cells.assign(**(columns | numbers))


def _cells(folder: Path, cells: pd.DataFrame) -> pa.Table:
    """Return the per-cell table with its types: Parquet keeps them, CSV is for folders that lost it."""
    import pyarrow.parquet

    path = folder / "cells.parquet"
    if path.exists():
        with contextlib.suppress(OSError, ValueError):
            table: pa.Table = pyarrow.parquet.read_table(path)
            if table.num_rows == len(cells):
                return table
    return _arrow(cells)


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """Return a table in which missing numbers are empty."""
    import pyarrow as pa

    table: Any = pa.Table.from_pandas(frame, preserve_index=False)
    return table.replace_schema_metadata(None)

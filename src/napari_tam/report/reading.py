"""A results folder → the tables of a report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_tam.celltypes.types import analysed
from napari_tam.errors import InputError, one_line
from napari_tam.report.data import ReportData, as_number
from napari_tam.report.readouts import CELL_TEXTS, TEXTS
from napari_tam.results.tables import read_csv
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read_data(folder: Path) -> ReportData:
    """Read a results folder.

    Raises
    ------
    InputError
        If it is none, or cells.csv, puncta.csv or images.csv is missing or damaged. Other tables that
        cannot be read are named in `ReportData.problems`.
    """
    if not (folder / "images.csv").exists():
        raise InputError(
            "not a results folder (it has no images.csv)",
            where=folder,
            fix="give the --out folder of 'napari-tam analyse'",
        )
    problems: list[str] = []
    more: dict[str, Any] = {
        name: _optional(folder / f"{name}.csv", texts, problems) for name, texts in TEXTS.items()
    }
    cells, images, puncta = (
        _as_texts(read_csv(folder / f"{name}.csv"), CELL_TEXTS) for name in ("cells", "images", "puncta")
    )
    for table, needed in ((cells, ("image", "label", "puncta_count")), (images, ("image", "status"))):
        lacking = [name for name in needed if name not in table]
        if lacking:
            raise InputError(f"a table lacks the column {', '.join(lacking)}", where=folder)
    for table in (cells, images):
        for name in ("dose", "time"):
            if name in table:
                table[name] = as_number(table[name])
    settings, run = Settings(), {}
    try:
        settings = Settings.from_yaml(folder / "settings.yaml")
    except InputError as error:
        problems.append(f"The settings of the run are not known: {one_line(error)}.")
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"The record of the run (run.json) cannot be read: {one_line(error)}.")
    every_cell, every_punctum = cells, puncta
    chosen = analysed(cells, settings)
    if not chosen.all():
        cells = cells[chosen].reset_index(drop=True)
        own = pd.MultiIndex.from_frame(puncta[["image", "label"]])
        kept = own.isin(pd.MultiIndex.from_frame(cells[["image", "label"]])) | (puncta["label"] == 0)
        puncta = puncta[kept].reset_index(drop=True)
    return ReportData(
        folder,
        images,
        cells,
        puncta,
        **more,
        every_cell=every_cell,
        every_punctum=every_punctum,
        settings=settings,
        run=run,
        problems=tuple(problems),
    )


def _optional(path: Path, texts: Sequence[str], problems: list[str]) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        return _as_texts(read_csv(path), texts)
    except InputError as error:
        problems.append(f"{one_line(error)}.")
        return None


def _as_texts(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Convert columns of names that may look like numbers to text; a missing one is empty."""
    for name in names:
        if name in table and pd.api.types.is_numeric_dtype(table[name]):
            texts = ["" if pd.isna(x) else f"{x:g}" for x in table[name]]
            table[name] = pd.Series(texts, index=table.index, dtype=str)
    return table

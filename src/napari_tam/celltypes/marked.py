"""What markers say about the cells of a run, all of it together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.celltypes.asked import check_asked
from napari_tam.celltypes.gates import find_gates
from napari_tam.celltypes.polarisation import polarisation
from napari_tam.celltypes.types import analysed, cell_types, controls_of_markers, marker_phenotypes
from napari_tam.columns import CELL_TYPE_COLUMNS, build_table, table_of_rows, type_count_columns
from napari_tam.io.layout import marker_control
from napari_tam.markers.names import markers_in
from napari_tam.settings import NO_TYPES
from napari_tam.uptake.replicates import KEYS, unit_names, unit_of

if TYPE_CHECKING:
    from napari_tam.settings import Settings


@dataclass(frozen=True)
class Marked:
    """What was found; all empty without markers.

    Attributes
    ----------
    cells
        `gated_columns`, and of `TYPE_COLUMNS` those that there are rules for; one row per cell.
    images
        `type_count_columns`, one row per image.
    tables
        gates and cell_types: name to table; only those that there are.
    notes
        What a reader should know: sentences.
    """

    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    images: pd.DataFrame = field(default_factory=pd.DataFrame)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def mark(cells: pd.DataFrame, images: pd.DataFrame, settings: Settings) -> Marked:
    """Find gates, cell types and phenotypes by markers.

    Parameters
    ----------
    cells
        `napari_tam.columns.CELL_COLUMNS`, those of markers, and `LAYOUT_COLUMNS`; one row per cell.
    images
        image, plate and control_role; one row per image.
    settings
        The group markers is used.

    Raises
    ------
    InputError
        If settings or layout name a marker that was not measured.
    """
    wanted = settings.types or settings.marker_phenotypes or settings.gates
    control = any(marker_control(str(role))[0] for role in images["control_role"].unique())
    if not (markers_in(cells.columns) or wanted or control):
        return Marked()
    check_asked(settings, images["control_role"], markers_in(cells.columns))
    positive, gates = find_gates(cells, images, settings)
    notes = [_said(row) for row in gates.to_dict("records") if row["note"]]
    columns = positive.copy()
    # where a stain is missing on purpose, nothing tells what a cell is
    unknown = controls_of_markers(cells)
    counts = pd.DataFrame(index=pd.RangeIndex(len(images)))
    tables = {"gates": gates}
    if settings.types:
        names, more = cell_types(cells, positive, settings)
        columns["cell_type"] = np.where(unknown, "", names)
        notes += more
        typed = cells.assign(cell_type=columns["cell_type"].to_numpy(object))
        tables["cell_types"] = _by_replicate(typed, settings)
        counts = _by_image(typed, images, settings)
    if settings.marker_phenotypes:
        names, more = marker_phenotypes(cells, positive, settings)
        columns["marker_phenotype"] = np.where(unknown, "", names)
        notes += more
        about = cells.assign(**{name: columns[name] for name in ("cell_type",) if name in columns})
        score = polarisation(cells, gates, analysed(about, settings), settings)
        columns["polarisation"] = np.where(unknown, np.nan, score)
    return Marked(columns, counts, tables, tuple(notes))


def _said(row: dict[Any, Any]) -> str:
    plate = f"plate {row['plate']}, " if row["plate"] else ""
    return f"{plate}{row['marker']}: {row['note']}"


def _all_types(settings: Settings) -> list[str]:
    return [*sorted(settings.types), *NO_TYPES]


def _by_image(cells: pd.DataFrame, images: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    types = _all_types(settings)
    counts = pd.crosstab(cells["image"], cells["cell_type"]).reindex(
        index=images["image"], columns=types, fill_value=0
    )
    named = zip(type_count_columns(types), types, strict=True)
    return build_table(
        type_count_columns(types),
        {column.name: counts[name].to_numpy() for column, name in named},
        len(images),
    )


def _by_replicate(cells: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return cell_types.csv: as replicates.csv without the controls of markers, whose types nobody knows."""
    keys = [*KEYS, "unit"]
    cells = cells.assign(unit=unit_names(cells, unit_of(cells, settings)))
    stated = (cells["condition"] != "") | (cells["control_role"] != "")
    known = cells[stated.to_numpy(bool) & ~controls_of_markers(cells)]
    rows: list[dict[str, Any]] = []
    for values, group in known.groupby(keys, sort=True, dropna=False):
        told = int((group["cell_type"] != "").sum())
        for name in _all_types(settings):
            number = int((group["cell_type"] == name).sum())
            share = number / told if told else np.nan
            rows.append(
                dict(zip(keys, values, strict=True)) | {"cell_type": name, "cells": number, "fraction": share}
            )
    return table_of_rows(CELL_TYPE_COLUMNS, rows)

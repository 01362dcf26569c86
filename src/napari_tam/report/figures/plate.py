"""Heat maps of the wells, as they lie on the plate."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.report.data import ReportData, as_number
from napari_tam.report.style import (
    INK,
    LABEL,
    PALE,
    SMALL,
    TICK,
    WIDTH,
    Drawn,
    MissingData,
    Spots,
    new_figure,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Rows and columns of plates, smallest first; a smaller one is not guessed from a few wells.
FORMATS = ((8, 12), (16, 24))

#: Plates drawn.
MOST_PLATES = 4


def plate_map(data: ReportData) -> Drawn:
    """Draw puncta per cell, positive cells and number of cells of every well."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    table = _well_table(data)
    odd = int(table["well"].map(_place).isna().sum())
    table = table[table["well"].map(_place).notna()]
    if table["well"].nunique() < 2:
        raise MissingData("fewer than two wells are named, by a layout or in the images' names")
    quantities = [("puncta_per_cell", "puncta per cell", "viridis"), ("cells", "cells", "cividis")]
    plates = list(table["plate"].unique())[:MOST_PLATES]
    if table["positive_percent"].notna().any() and len(plates) <= 2:  # more would not fit a page
        quantities.insert(1, ("positive_percent", "positive cells (%)", "viridis"))
    size = next((s for s in FORMATS if _fits(table["well"], s)), FORMATS[-1])
    columns = 2
    jobs = [(plate, *quantity) for plate in plates for quantity in quantities]
    rows = -(-len(jobs) // columns)
    height = WIDTH / columns * size[0] / size[1] * 0.95 + 0.45
    figure, axes = new_figure(height * rows, rows, columns)
    for axis in axes.flat[len(jobs) :]:
        axis.set_visible(False)
    spots = []
    for axis, (plate, name, label, colours) in zip(axes.flat, jobs, strict=False):
        limits = (0, float(table[name].max()) or 1.0)
        here = table[table["plate"] == plate]
        _draw(axis, _grid(here, name, size), colours, limits)
        spots.append(_spots(axis, here, label, as_number(here[name]), size[1]))
        if size != FORMATS[0]:  # too small for numbers
            bar = figure.colorbar(ScalarMappable(Normalize(*limits), colours), ax=axis, shrink=0.7)
            bar.ax.tick_params(labelsize=TICK - 1)
        title = label if len(plates) == 1 else f"plate {plain(plate)}: {label}"
        axis.set_title(title, fontsize=LABEL)
    caption = (
        "Means over the cells of a well; light grey: no image. Rows, columns or corners that stand out point "
        "to a fault of staining, filling or focus."
    )
    if table["plate"].nunique() > len(plates):
        caption += f" The first {len(plates)} of {table['plate'].nunique()} plates are shown."
    if odd:
        caption += f" Not shown, for their names are no place on a plate: {odd} of the wells."
    return Drawn(figure, table, caption, spots=tuple(spots))


def _spots(
    axis: Axes, wells: pd.DataFrame, label: str, values: npt.NDArray[np.float64], columns: int
) -> Spots:
    places = np.array([_place(well) for well in wells["well"]], float).reshape(-1, 2)
    keys = list(zip(wells["plate"], wells["well"], strict=True))
    return Spots(axis, places[:, 1], places[:, 0], keys, {label: values}, columns, (0.94, 0.94))


def _well_table(data: ReportData) -> pd.DataFrame:
    cells = pd.DataFrame({"well": data.wells(), "plate": data.plate_names(data.cells)})
    cells["puncta_per_cell"] = as_number(data.cells["puncta_count"])
    positive = data.cells["positive"] if "positive" in data.cells else pd.Series(np.nan, data.cells.index)
    cells["positive_percent"] = 100 * as_number(positive)
    ok = data.analysed
    images = pd.DataFrame({"well": data.image_wells().loc[ok.index], "plate": data.plate_names(ok)})
    keys = ["plate", "well"]
    table = images.groupby(keys, sort=True).size().rename("images").reset_index()
    measured = cells.groupby(keys).agg(
        cells=("puncta_per_cell", "size"),
        puncta_per_cell=("puncta_per_cell", "mean"),
        positive_percent=("positive_percent", "mean"),
    )
    table = table.merge(measured, how="outer", on=keys).fillna({"cells": 0, "images": 0})
    return table[table["well"] != ""].reset_index(drop=True)


def _place(well: str) -> tuple[int, int] | None:
    """Return row and column of a well, from 0; None if it is none of a plate of 384."""
    match = re.fullmatch(r"([A-P])(\d{2})", well)
    if match is None or not 1 <= int(match[2]) <= FORMATS[-1][1]:
        return None
    return ord(match[1]) - ord("A"), int(match[2]) - 1


def _fits(wells: pd.Series[str], size: tuple[int, int]) -> bool:
    places = filter(None, map(_place, wells))
    return all(row < size[0] and column < size[1] for row, column in places)


def _grid(table: pd.DataFrame, name: str, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    grid = np.full(size, np.nan)
    for well, value in zip(table["well"], table[name], strict=True):
        place = _place(well)
        if place is not None:
            grid[place] = value
    return grid


def _draw(axis: Axes, grid: npt.NDArray[np.float64], colours: str, limits: tuple[float, float]) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    rows, columns = grid.shape
    colour_map, scale = colormaps[colours], Normalize(*limits)
    for (row, column), value in np.ndenumerate(grid):
        face = PALE if np.isnan(value) else colour_map(scale(value))
        axis.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, facecolor=face, linewidth=0))
        if not np.isnan(value) and columns <= FORMATS[0][1]:
            dark = np.dot(colour_map(scale(value))[:3], (0.299, 0.587, 0.114)) < 0.55
            text = f"{value:.0f}" if limits[1] >= 10 else f"{value:.1f}"
            axis.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=6,
                color="white" if dark else INK,
            )
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal")
    step = 1 if columns <= FORMATS[0][1] else 2
    axis.set_xticks(range(0, columns, step), [str(k + 1) for k in range(0, columns, step)], fontsize=SMALL)
    axis.set_yticks(range(0, rows, step), [chr(ord("A") + k) for k in range(0, rows, step)], fontsize=SMALL)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)

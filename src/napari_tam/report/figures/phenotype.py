"""Uptake against phenotype, and against the elongation that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_tam.phenotype.classify import UNCERTAIN
from napari_tam.phenotype.colours import phenotype_colours
from napari_tam.report.data import ReportData, as_number, is_stated, whole
from napari_tam.report.readouts import READOUTS, Readout, label_of
from napari_tam.report.style import (
    GREY,
    INK,
    LABEL,
    SMALL,
    Drawn,
    MissingData,
    Spots,
    legend,
    legend_text,
    new_figure,
    plain,
    spread,
    upper_limit,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Groups of conditions drawn side by side.
MOST_GROUPS = 8

#: Cells drawn at most, of each phenotype and group; and in the scatter plot.
MOST_CELLS, MOST_POINTS = 600, 6000

#: Bins of elongation, of as many cells each; a bin is shown from so many cells.
BINS, LEAST = 8, 5


def uptake_by_phenotype(data: ReportData) -> Drawn:
    """Draw puncta per cell of every phenotype, in each condition."""
    if not data.classes:
        raise MissingData("the cells have no phenotype (phenotype_model: none)")
    readout = READOUTS[0]
    cells = pd.DataFrame(
        {
            "image": data.cells["image"],
            "label": data.cells["label"],
            "group": data.groups() if data.has_layout else "all cells",
            "unit": data.groups().str.cat(data.unit_names(data.cells), sep=" | "),
            "phenotype": data.cells["phenotype"],
            readout.name: as_number(data.cells[readout.name]),
        }
    ).loc[data.treated.index]
    pooled = data.has("condition") and cells["group"].nunique() > MOST_GROUPS
    if pooled:  # too many doses and times: a condition's together
        cells["group"] = data.cells.loc[cells.index, "condition"]
    cells = cells[is_stated(cells["group"])]
    groups = [name for name in data.group_order() or ["all cells"] if (cells["group"] == name).any()]
    groups = groups or sorted(cells["group"].unique())
    if not groups:
        raise MissingData("no cell outside the controls has a phenotype")
    shown = groups[:MOST_GROUPS]
    names = [name for name in (*data.classes, UNCERTAIN) if (cells["phenotype"] == name).any()]
    figure, axes = new_figure(2.9)
    axis = axes[0, 0]
    top = upper_limit(cells[readout.name].to_numpy(np.float64))
    spots: list[Spots] = []
    for x, group in enumerate(shown):
        for k, name in enumerate(names):
            at = x + (k - (len(names) - 1) / 2) * 0.27
            here = cells[(cells["group"] == group) & (cells["phenotype"] == name)]
            spots += _draw_phenotype(axis, at, here, readout, phenotype_colours(data.classes)[name])
    axis.set(xlim=(-0.6, max(len(shown), 2) - 0.4), ylim=(-0.03 * top, 1.08 * top))
    long = max(map(len, shown)) > 14 or len(shown) > 5
    axis.set_xticks(range(len(shown)))
    axis.set_xticklabels(
        [plain(name) for name in shown],
        fontsize=SMALL if long else LABEL,
        rotation=25 if long else 0,
        ha="right" if long else "center",
    )
    axis.set_ylabel(readout.label)
    _phenotype_legend(axis, data, names, cells)
    caption = (
        "Dots are cells; white diamonds the means of replicates, the line their mean. "
        "Controls are left out"
        + (", doses and times of a condition taken together" if pooled else "")
        + ". Uncertain cells (unclear, or cut by the border) are never counted as one or the other."
    )
    if len(groups) > len(shown):
        caption += f" The first {len(shown)} of {len(groups)} conditions are shown."
    return Drawn(figure, cells, caption, spots=tuple(spots))


def _draw_phenotype(axis: Axes, at: float, cells: pd.DataFrame, readout: Readout, colour: str) -> list[Spots]:
    if cells.empty:
        return []
    means = cells.groupby("unit")[readout.name].mean().to_numpy(np.float64)
    drawn = cells[readout.name].iloc[:: len(cells) // MOST_CELLS + 1].dropna()
    some = drawn.to_numpy(np.float64)
    places = at + spread(some, 0.12)
    axis.scatter(places, some, s=5, c=colour, alpha=0.55, linewidths=0, rasterized=True)
    axis.scatter(
        at + np.linspace(-0.05, 0.05, len(means)) * (len(means) > 1),
        means,
        s=20,
        c="white",
        marker="D",
        edgecolors=INK,
        linewidths=0.8,
        zorder=3,
    )
    axis.hlines(np.nanmean(means), at - 0.12, at + 0.12, color=INK, linewidth=1.5, zorder=2)
    return [Spots(axis, places, some, drawn.index, {readout.label: some})]


def _phenotype_legend(axis: Axes, data: ReportData, names: list[str], cells: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D

    number = cells["phenotype"].value_counts()
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markersize=5,
            color=phenotype_colours(data.classes)[name],
            label=legend_text(f"{name} ({number.get(name, 0)} cells)"),
        )
        for name in names
    ]
    legend(axis, handles, "phenotype")


def elongation(data: ReportData) -> Drawn:
    """Draw puncta per cell over the cells' elongation."""
    readout = READOUTS[0]
    if "elongation" not in data.cells:
        raise MissingData("the cells table has no column elongation")
    inner = whole(data.treated)
    cells = pd.DataFrame(
        {
            "image": inner["image"],
            "label": inner["label"],
            "elongation": as_number(inner["elongation"]),
            readout.name: as_number(inner[readout.name]),
            "phenotype": inner["phenotype"] if data.classes else "",
        }
    ).dropna(subset=["elongation", readout.name])
    if len(cells) < 3 * LEAST:
        raise MissingData(f"fewer than {3 * LEAST} cells lie wholly in their image")
    if cells[["elongation", readout.name]].nunique().min() < 2:
        raise MissingData("all cells have the same elongation or uptake")
    figure, axes = new_figure(3.0)
    axis = axes[0, 0]
    names = [name for name in (UNCERTAIN, *data.classes) if (cells["phenotype"] == name).any()]
    some = cells.iloc[:: len(cells) // MOST_POINTS + 1]
    for name in names or [""]:
        here = some[some["phenotype"] == name]
        colour = phenotype_colours(data.classes)[name] if name else GREY
        axis.scatter(
            here["elongation"], here[readout.name], s=7, c=colour, alpha=0.55, linewidths=0, rasterized=True
        )
    bins = _binned(cells, readout.name)
    axis.errorbar(
        bins["elongation"],
        bins["median"],
        yerr=[bins["median"] - bins["low"], bins["high"] - bins["median"]],
        color=INK,
        marker="o",
        markersize=4,
        linewidth=1.3,
        capsize=2,
    )
    top = upper_limit(cells[readout.name].to_numpy(np.float64))
    axis.set(xlabel=label_of("elongation"), ylabel=readout.label)
    axis.set(xlim=(-0.02, 1.0), ylim=(-0.03 * top, 1.08 * top))
    if names:
        _phenotype_legend(axis, data, names[1:] + names[:1] if names[0] == UNCERTAIN else names, cells)
    x, y = (some[name].to_numpy(np.float64) for name in ("elongation", readout.name))
    values = {readout.label: y, label_of("elongation"): x}
    rank = float(cells["elongation"].corr(cells[readout.name], method="spearman"))
    return Drawn(
        figure,
        cells,
        f"{len(cells)} cells that the border does not cut, controls left out. Black: median and quartiles of "
        f"bins with equally many cells. Spearman's rank correlation over all cells is {rank:+.2f}: a "
        "description, not a test, for cells of one replicate are not independent.",
        spots=(Spots(axis, x, y, some.index, values, slices=24),),
    )


def _binned(cells: pd.DataFrame, readout: str) -> pd.DataFrame:
    number = max(2, min(BINS, len(cells) // LEAST))
    bins = pd.qcut(cells["elongation"], number, duplicates="drop")
    grouped = cells.groupby(bins, observed=True)
    found = pd.DataFrame(
        {
            "elongation": grouped["elongation"].median(),
            "median": grouped[readout].median(),
            "low": grouped[readout].quantile(0.25),
            "high": grouped[readout].quantile(0.75),
            "cells": grouped.size(),
        }
    )
    return found[found["cells"] >= LEAST]

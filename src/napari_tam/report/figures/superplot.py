"""SuperPlots: every cell small, the mean of every replicate large (Lord et al. 2020, J Cell Biol)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.report.data import ReportData, as_number
from napari_tam.report.readouts import READOUTS, Readout
from napari_tam.report.style import (
    COLOURS,
    GREY,
    INK,
    LABEL,
    MARKERS,
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
    from matplotlib.figure import Figure

#: Groups side by side; more go into further rows.
PER_ROW = 10

#: Cells drawn of one group: more would overplot. The means are those of all cells.
MOST_CELLS = 1500


def superplot_count(data: ReportData) -> Drawn:
    """Draw puncta per cell."""
    return _superplot(data, READOUTS[0])


def superplot_intensity(data: ReportData) -> Drawn:
    """Draw the summed intensity of the puncta per cell."""
    return _superplot(data, READOUTS[1])


def positive_fraction(data: ReportData) -> Drawn:
    """Draw the share of positive cells of every replicate."""
    if not data.has("positive"):
        raise MissingData(
            "no cell was called positive or negative, because there is no control to learn from"
        )
    groups = _groups(data)
    means = data.unit_means("positive").dropna(subset="value")
    means["value"] *= 100
    figure, axes = _canvas(groups, 2.5)
    styles = unit_styles(means["unit"])
    for row, chunk in _rows(groups):
        axis = axes[row, 0]
        for x, group in enumerate(chunk):
            _draw_means(axis, x, means[means["group"] == group], styles)
        _name_groups(axis, chunk, "positive cells (%)")
        axis.set_ylim(-3, 103)
    _unit_legend(axes[0, 0], styles)
    table = means.rename(columns={"value": "positive_percent"})
    return Drawn(
        figure,
        table,
        "Share of the cells above the threshold learnt from the control. One symbol a replicate, the line is "
        "their mean. Where nearly all cells are positive this figure says little: look at counts and "
        "intensities.",
    )


def _superplot(data: ReportData, readout: Readout) -> Drawn:
    if readout.name not in data.cells or data.cells.empty:
        raise MissingData("no cells were measured")
    groups = _groups(data)
    cells = pd.DataFrame(
        {
            "image": data.cells["image"],
            "label": data.cells["label"],
            "group": data.groups() if data.has_layout else groups[0],
            "unit": data.unit_names(data.cells),
            readout.name: as_number(data.cells[readout.name]),
        }
    )
    means = data.unit_means(readout.name)
    replicated = bool((means["unit"] != "").any())
    figure, axes = _canvas(groups, 2.9)
    styles = unit_styles(means["unit"] if replicated else pd.Series([], dtype=str))
    top = upper_limit(cells[readout.name].to_numpy(np.float64))
    spots = []
    for row, chunk in _rows(groups):
        axis = axes[row, 0]
        for x, group in enumerate(chunk):
            here = cells[cells["group"] == group]
            spots.append(_draw_cells(axis, x, here, readout, styles))
            if replicated:
                _draw_means(axis, x, means[means["group"] == group], styles)
            else:
                axis.hlines(here[readout.name].mean(), x - 0.3, x + 0.3, color=INK, linewidth=1.5)
        _name_groups(axis, chunk, readout.label)
        axis.set_ylim(-0.03 * top, 1.05 * top)
        _note_counts(axis, chunk, cells, means, replicated)
    _unit_legend(axes[0, 0], styles)
    beyond = int((cells[readout.name] > 1.05 * top).sum())
    caption = (
        "Every small dot is a cell, every large symbol the mean of a replicate, the line the mean of the "
        "replicates. Tests compare the replicates, never the cells. N: replicates, n: cells."
        if replicated
        else "Every dot is a cell, the line is their mean. No layout names replicates, so there is no "
        "statement about conditions here."
    )
    if (cells.groupby("group").size() > MOST_CELLS).any():
        caption += f" At most {MOST_CELLS} cells of a group are drawn; the means are those of all."
    if beyond:
        caption += f" {beyond} of {len(cells)} cells lie above the axis."
    return Drawn(figure, cells, caption, spots=tuple(spots))


def unit_styles(units: pd.Series[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of every replicate; all alike where there are too many to tell apart."""
    names = sorted({name for name in units if name})
    if len(names) > len(COLOURS):
        return dict.fromkeys(names, (COLOURS[0], MARKERS[0]))
    return {name: (COLOURS[k], MARKERS[k]) for k, name in enumerate(names)}


def _groups(data: ReportData) -> list[str]:
    groups = data.group_order()
    return groups or ["all cells"]


def _rows(groups: list[str]) -> list[tuple[int, list[str]]]:
    rows = -(-len(groups) // PER_ROW)
    each = -(-len(groups) // rows)
    return [(row, groups[row * each : (row + 1) * each]) for row in range(rows)]


def _canvas(groups: list[str], height: float) -> tuple[Figure, Any]:
    rows = len(_rows(groups))
    return new_figure(height * rows, rows, 1)


def _draw_cells(
    axis: Axes, x: int, cells: pd.DataFrame, readout: Readout, styles: dict[str, tuple[str, str]]
) -> Spots:
    # in mixed order, so that no replicate lies on top of the others
    order = np.random.default_rng(0).permutation(len(cells))[:MOST_CELLS]
    cells = cells.iloc[order].dropna(subset=readout.name)
    values = cells[readout.name].to_numpy(np.float64)
    colours = [styles.get(unit, (GREY, ""))[0] for unit in cells["unit"]]
    places = x + spread(values)
    axis.scatter(
        places,
        values,
        s=4,
        c=colours,
        alpha=0.5 if len(values) < 400 else 0.3,
        linewidths=0,
        rasterized=True,
        zorder=1,
    )
    return Spots(axis, places, values, cells.index, {readout.label: values})


def _draw_means(axis: Axes, x: int, means: pd.DataFrame, styles: dict[str, tuple[str, str]]) -> None:
    values = means["value"].to_numpy(np.float64)
    if not len(values):
        return
    places = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(1)
    for place, value, unit in zip(places, values, means["unit"], strict=True):
        colour, marker = styles.get(unit, (GREY, "o"))
        axis.scatter(
            x + place, value, s=38, c=colour, marker=marker, edgecolors="white", linewidths=0.8, zorder=3
        )
    axis.hlines(np.nanmean(values), x - 0.3, x + 0.3, color=INK, linewidth=1.5, zorder=2)


def _name_groups(axis: Axes, groups: list[str], label: str) -> None:
    axis.set_xlim(-0.6, max(len(groups), 2) - 0.4)
    axis.set_xticks(range(len(groups)))
    crowded = len(groups) > 5 or max(map(len, groups)) > 14
    axis.set_xticklabels(
        [plain(name) for name in groups],
        rotation=35 if crowded else 0,
        ha="right" if crowded else "center",
        rotation_mode="anchor" if crowded else "default",
        fontsize=SMALL if crowded else LABEL,
    )
    axis.set_ylabel(label.replace(" (counts)", "\n(counts)"))


def _note_counts(
    axis: Axes, groups: list[str], cells: pd.DataFrame, means: pd.DataFrame, replicated: bool
) -> None:
    number = cells["group"].value_counts()
    units = means["group"].value_counts()
    for x, group in enumerate(groups):
        text = f"n {number.get(group, 0)}"
        if replicated:
            text = f"N {units.get(group, 0)}\n{text}"
        axis.annotate(
            text,
            (x, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 1),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL,
            color="#555555",
        )


def _unit_legend(axis: Axes, styles: dict[str, tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    if not styles or len(styles) > len(COLOURS):
        return
    handles = [
        Line2D([], [], linestyle="", color=colour, marker=marker, label=legend_text(name))
        for name, (colour, marker) in styles.items()
    ]
    legend(axis, handles, "replicate")

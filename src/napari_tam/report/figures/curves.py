"""Uptake over dose and over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.report.data import ReportData, as_number, is_stated, whole
from napari_tam.report.readouts import READOUTS, label_of
from napari_tam.report.style import (
    COLOURS,
    DASHES,
    MARKERS,
    SMALL,
    Drawn,
    MissingData,
    legend,
    legend_text,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A curve has at least so many doses or times.
LEAST = 3

#: Curves drawn.
MOST_GROUPS = 6

#: The light comes first: crowding hides none of it, but ever more of a count.
ORDER = sorted((readout.name for readout in READOUTS), key=lambda name: name == "puncta_count")


def dose_curve(data: ReportData) -> Drawn:
    """Draw the replicates' means over the dose, a line a condition."""
    curves = _curves(data, "dose", "dose (unit of the layout)", ORDER)
    for axis, table in curves.panels:
        for k, group in enumerate(curves.groups):
            _draw_line(axis, table[table["group"] == group], k)
    return curves.drawn("Symbols are the means of replicates, the line joins their means")


def uptake_curve(data: ReportData) -> Drawn:
    """Draw the replicates' means over time, with the fitted curves and half times where there are any."""
    column = next((name for name in ("time", "time_h") if data.has(name)), None)
    if column is None:
        raise MissingData("there is one point in time only")
    fits = pd.DataFrame(columns=["readout"]) if data.kinetics is None else data.kinetics
    if len(fits):
        fits = fits[~is_stated(fits["track"])].assign(group=lambda t: _labels(data, t, "time"))
    names = [name for name in dict.fromkeys(fits["readout"]) if name in data.cells][:2]
    curves = _curves(data, column, "time (h)", names or ORDER)
    fitted = False
    for (axis, table), name in zip(curves.panels, names or [""] * len(READOUTS), strict=False):
        for k, group in enumerate(curves.groups):
            here = table[table["group"] == group]
            fit = fits[(fits["readout"] == name) & (fits["group"] == group)] if name else fits.head(0)
            found = len(fit) == 1 and _draw_fit(axis, fit.iloc[0], float(here["x"].max()), k)
            fitted |= found
            _draw_line(axis, here, k, line=not found)
    text = "Symbols are the means of replicates (cells cut by the border left out)"
    if fitted:
        return curves.drawn(
            text
            + ", the curve the fitted saturating exponential; vertical lines its half time, with the 95 % "
            "interval shaded. Without a fit the line joins the means"
        )
    return curves.drawn(text + ", the line joins their means")


@dataclass
class _Curves:
    """Panels with their points, not drawn yet."""

    figure: Figure
    groups: list[str]
    panels: list[tuple[Axes, pd.DataFrame]]
    column: str

    def drawn(self, text: str) -> Drawn:
        """Finish the figure."""
        tables = [table.rename(columns={"x": self.column}) for _, table in self.panels]
        caption = f"{text}. Negative controls are left out."
        return Drawn(self.figure, pd.concat(tables, ignore_index=True), caption)


def _labels(data: ReportData, table: pd.DataFrame, column: str) -> pd.Series[str]:
    """Return the condition of rows, with the dose (time) where that differs and is not on the axis."""
    blank = pd.Series("", index=table.index, dtype=str)
    names = table["condition"].where(is_stated(table["condition"]), "") if "condition" in table else blank
    other = "dose" if column != "dose" else "time"
    if other in table and data.has(other) and data.treated[other].nunique() > 1:
        form = "dose {:g}" if other == "dose" else "{:g} h"
        texts = {x: form.format(x) for x in as_number(table[other]) if np.isfinite(x)}
        part = table[other].map(texts).fillna("")
        names = names + np.where((names != "") & (part != ""), ", ", "") + part
    return names.astype(str)


def _curves(data: ReportData, column: str, label: str, readouts: list[str]) -> _Curves:
    if not data.has(column):
        raise MissingData(f"the layout states no {column}")
    cells = data.treated if column == "dose" else whole(data.treated)  # as the kinetics are fitted
    cells = cells[cells[column].notna()]
    cells = cells.assign(group=_labels(data, cells, column), unit=data.unit_names(cells))
    steps = cells.groupby("group")[column].nunique()
    groups = sorted(steps.index[steps >= LEAST])[:MOST_GROUPS]
    if not groups:
        raise MissingData(f"no condition has {LEAST} or more values of {column}")
    cells = cells[cells["group"].isin(groups)]
    figure, axes = new_figure(2.8, 1, len(readouts))
    panels = []
    for axis, readout in zip(axes[0], readouts, strict=True):
        values = cells.assign(value=as_number(cells[readout]), x=as_number(cells[column]))
        means = values.groupby(["group", "x", "unit"])["value"].agg(cells="size", mean="mean").reset_index()
        panels.append((axis, means.assign(readout=readout)))
        _scale(axis, means["x"], factors=column == "dose")
        axis.set(xlabel=label, ylabel=label_of(readout))
        axis.set_ylim(0, 1.06 * max(float(means["mean"].max()), 1e-9))
    _legend(axes[0, -1], groups)
    return _Curves(figure, groups, panels, column)


def _draw_line(axis: Axes, table: pd.DataFrame, k: int, *, line: bool = True) -> None:
    colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
    axis.scatter(table["x"], table["mean"], s=16, c=colour, marker=marker, alpha=0.6, linewidths=0, zorder=2)
    if line:
        means = table.groupby("x")["mean"].mean()
        axis.plot(means.index, means, color=colour, linestyle=DASHES[k % len(DASHES)], linewidth=1.4)


def _scale(axis: Axes, values: pd.Series[float], *, factors: bool) -> None:
    """Put ticks at the steps; a logarithmic axis where the steps are factors (zero stays on it)."""
    steps = np.unique(values.dropna().to_numpy(np.float64))
    positive = steps[steps > 0]
    if factors and len(positive) >= LEAST and positive[-1] / positive[0] >= 20:
        axis.set_xscale("symlog", linthresh=positive[0], linscale=0.6)
    # the steps of a layout are short numbers; the frames of a movie are not (0.166667 h)
    if len(steps) <= 8 and all(len(f"{x:g}") <= 4 for x in steps):
        axis.set_xticks(steps, [f"{x:g}" for x in steps])
        axis.minorticks_off()


def _draw_fit(axis: Axes, fit: pd.Series[Any], end: float, k: int) -> bool:
    """Draw a fitted curve, offset + plateau × (1 - exp(-rate × t)), and its half time."""
    names = ["rate_per_h", "plateau", "offset", "half_time_h", "half_time_low", "half_time_high"]
    rate, plateau, offset, half, low, high = as_number(fit.reindex(names))
    if not np.isfinite([rate, plateau, half]).all():
        return False
    colour, dash = COLOURS[k % len(COLOURS)], DASHES[k % len(DASHES)]
    time = np.linspace(0, end, 200)
    level = np.nan_to_num(offset) + plateau * (1 - np.exp(-rate * time))
    axis.plot(time, level, color=colour, linestyle=dash, linewidth=1.4)
    axis.axvline(half, color=colour, linestyle=dash, linewidth=0.8)
    if np.isfinite(low):
        axis.axvspan(low, high if np.isfinite(high) else end, color=colour, alpha=0.1, linewidth=0)
    axis.annotate(
        f"{half:.2g} h",
        (half, 1 - 0.08 * k),
        xycoords=("data", "axes fraction"),
        xytext=(2, -2),
        textcoords="offset points",
        va="top",
        fontsize=SMALL,
        color=colour,
    )
    return True


def _legend(axis: Axes, groups: list[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[k % len(COLOURS)],
            linestyle=DASHES[k % len(DASHES)],
            marker=MARKERS[k % len(MARKERS)],
            markersize=4,
            label=legend_text(group or "all cells"),
        )
        for k, group in enumerate(groups)
    ]
    legend(axis, handles, "condition")

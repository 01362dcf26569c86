"""Pictures about time: uptake curves with their fits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.columns import label_of
from napari_tam.kinetics.curves import frame_hours, groups, uptake_curves
from napari_tam.kinetics.fit import UptakeFit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_tam.kinetics.curves import Group

#: Okabe and Ito: one for the curve, one for the half-time.
CURVE, HALF = "#0072B2", "#D55E00"
#: Cells that are drawn one by one, at most, and panels in a row.
SHOWN, ACROSS = 80, 3
#: What is drawn unless asked otherwise: the light, of which crowding hides nothing.
DRAWN = "puncta_intensity_sum"


def kinetics_figure(cells: pd.DataFrame, fits: pd.DataFrame, readout: str = DRAWN) -> Figure | None:
    """Draw uptake over time, one panel per condition: cells grey, their mean, its fit and half-time.

    Parameters
    ----------
    cells
        The per-cell table, see `napari_tam.kinetics.table.kinetics`.
    fits
        Its kinetics.
    readout
        What is drawn: one of `napari_tam.kinetics.table.READOUTS`.

    Returns
    -------
    matplotlib.figure.Figure or None
        None if there is nothing over time. `napari_tam.kinetics.curves.uptake_curves` has its data.
    """
    from matplotlib.figure import Figure

    drawn = list(groups(cells))
    means = uptake_curves(cells, readout)
    if not drawn or means.empty:
        return None
    across = min(ACROSS, len(drawn))
    down = -(-len(drawn) // across)
    figure = Figure(figsize=(0.6 + 3.4 * across, 0.4 + 2.8 * down), layout="constrained", dpi=120)
    axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    pooled = fits[fits["track"].isna() & (fits["readout"] == readout)]
    for axis, group in zip(axes, drawn, strict=False):
        _panel(axis, group, _of(means, group), _of(pooled, group), readout)
    for axis in axes[len(drawn) :]:
        axis.set_axis_off()
    for axis in axes[::across]:
        axis.set_ylabel(label_of(readout))
    top = float(np.nanmax(means["mean"]))
    if np.isfinite(top) and top > 0:
        axes[0].set_ylim(min(0.0, 1.1 * float(means["mean"].min())), 2.2 * top)
    return figure


def _of(table: pd.DataFrame, group: Group) -> pd.DataFrame:
    """Return the rows of a table that are about a group."""
    dose = group.about.get("dose", np.nan)
    same = table["dose"].isna() if dose != dose else table["dose"] == dose
    for name in ("condition", "movie"):
        same &= table[name].fillna("") == group.about.get(name, "")
    return table[same]


def _panel(axis: Axes, group: Group, mean: pd.DataFrame, fit: pd.DataFrame, readout: str) -> None:
    unit = str(mean["time_unit"].iloc[0]) if len(mean) else "frames"
    if group.followed:
        hours = frame_hours(group.cells)
        scale = hours if np.isfinite(hours) else 1.0
        several = list(group.cells.groupby(["movie", "track"]))
        for _, track in several[:: max(1, len(several) // SHOWN)]:
            track = track.sort_values("frame")
            axis.plot(track["frame"] * scale, track[readout], color="#999999", linewidth=0.4, alpha=0.5)
    axis.plot(mean["time"], mean["mean"], "o", color=CURVE, markersize=3, label="mean")
    dose = group.about.get("dose", np.nan)
    name = group.about.get("condition") or group.about.get("movie") or "all cells"
    axis.set_title(f"{name} {dose:g}" if dose == dose else str(name), fontsize=9)
    axis.set_xlabel(f"time ({unit})")
    if len(fit):
        _draw_fit(axis, fit.iloc[0], mean, unit)


def _draw_fit(axis: Axes, row: pd.Series[float], mean: pd.DataFrame, unit: str) -> None:
    """Draw the fitted curve and its half-time, or say why there is none."""
    rate, half, low, high = (
        ("rate_per_h", "half_time_h", "half_time_low", "half_time_high")
        if unit == "h"
        else ("rate_per_frame", "half_time_frames", "half_time_frames_low", "half_time_frames_high")
    )
    if not np.isfinite(row[half]):
        reason = re.sub(r";.*", "", str(row["note"]))
        axis.text(0.03, 0.97, f"no fit: {reason}", transform=axis.transAxes, va="top", fontsize=7, wrap=True)
        return
    curve = UptakeFit(row[rate], row["plateau"], row["offset"])
    time = np.linspace(float(mean["time"].min()), float(mean["time"].max()), 200)
    axis.plot(time, curve.curve(time), color=CURVE, linewidth=1.5)
    axis.axvline(row[half], color=HALF, linewidth=1)
    if np.isfinite(row[low]):
        axis.axvspan(row[low], row[high] if np.isfinite(row[high]) else time[-1], color=HALF, alpha=0.15)
    limits = f"95 %: {row[low]:.3g} to " + (f"{row[high]:.3g}" if np.isfinite(row[high]) else "open")
    text = f"half-time {row[half]:.3g} {unit}\n{limits}\nn = {row['n']:g}"
    axis.text(0.97, 0.97, text, transform=axis.transAxes, va="top", ha="right", fontsize=7, color=HALF)

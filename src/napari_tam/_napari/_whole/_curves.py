"""Uptake over time in the plot tab: every track, their mean and its fit, and the tracks that were clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import label_of
from napari_tam.kinetics.figures import CURVE, DRAWN, SHOWN
from napari_tam.kinetics.fit import UptakeFit

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam._napari._whole._movie import FoundMovie

__all__ = ["DRAWN", "draw_curves", "values_over_time"]

#: Colours of the tracks that are chosen (Okabe and Ito), besides that of the mean.
_CHOSEN = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def values_over_time(found: FoundMovie, readout: str) -> pd.DataFrame:
    """Return what `draw_curves` draws: image, cell, frame, track, time and the readout."""
    names = ["image", "label", "frame", "track", "time_h", readout]
    rows = found.over_time
    rows = rows[rows["track"].isin(found.selected)] if found.selected else rows
    return rows[names].sort_values(["track", "frame"])


def draw_curves(
    axes: Any, found: FoundMovie, readout: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Draw a column of the cells over time; chosen tracks stand out, with the fit of their uptake.

    Returns the (N, 2) points, and the track of each.
    """
    from napari_tam.kinetics.curves import uptake_curves
    from napari_tam.kinetics.table import READOUTS

    if readout not in found.over_time:  # a column of the table of tracks alone
        readout = DRAWN
    rows = found.over_time.sort_values(["track", "frame"])
    in_hours = bool(rows["time_h"].notna().all())
    time = rows["time_h" if in_hours else "frame"].to_numpy(float)
    value = rows[readout].to_numpy(float, na_value=np.nan)
    track = rows["track"].to_numpy(np.int64)
    ids = np.unique(track)
    chosen = [each for each in ids.tolist() if each in found.selected]
    # those that are not chosen: a share of them is enough
    for each in ids[:: max(1, len(ids) // SHOWN)].tolist():
        own = track == each
        axes.plot(time[own], value[own], color="#999999", linewidth=0.6, alpha=0.35 if chosen else 0.7)
    means = uptake_curves(rows, readout)
    fits = found.followed.fits
    fits = fits[fits["readout"] == readout]
    if len(means):
        axes.plot(means["time"], means["mean"], "o", color=CURVE, markersize=4, label="mean of the tracks")
        if readout in READOUTS:
            _draw_fit(axes, fits[fits["track"].isna()], time, CURVE, in_hours=in_hours)
    for number, each in enumerate(chosen[: len(_CHOSEN)]):
        own, colour = track == each, _CHOSEN[number]
        axes.plot(time[own], value[own], "o-", color=colour, markersize=4, linewidth=1, label=f"track {each}")
        if readout in READOUTS:
            _draw_fit(axes, fits[fits["track"] == each], time, colour, in_hours=in_hours)
    axes.set_xlabel("time (h)" if in_hours else "time (frames)")
    axes.set_ylabel(label_of(readout))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return np.column_stack([time, value]), track


def _draw_fit(axes: Any, fits: pd.DataFrame, time: Any, colour: str, *, in_hours: bool) -> None:
    """Draw a fitted curve and name its half-time, or say why there is none."""
    if not len(fits):
        axes.plot([], [], " ", label="no fit: the image's border cuts the cell")
        return
    row = fits.iloc[0]
    names = ("rate_per_h", "half_time_h") if in_hours else ("rate_per_frame", "half_time_frames")
    rate, half = (float(row[name]) for name in names)
    if not np.isfinite(half):
        reason = str(row["note"]).partition(";")[0]
        axes.plot([], [], " ", label=f"no fit: {reason}")
        return
    at = np.linspace(float(np.nanmin(time)), float(np.nanmax(time)), 200)
    unit = "h" if in_hours else "frames"
    curve = UptakeFit(rate, row["plateau"], row["offset"]).curve(at)
    axes.plot(at, curve, color=colour, linewidth=2, label=f"fit, half-time {half:.3g} {unit}")

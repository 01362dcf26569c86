"""How fast uptake rises, per track and per condition: the table kinetics.csv."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.columns import KINETICS_COLUMNS, build_table
from napari_tam.kinetics.curves import (
    MIN_REPLICATES,
    Tracks,
    frame_hours,
    groups,
    intervals_agree,
    replicate_means,
)
from napari_tam.kinetics.fit import UptakeFit, fit_uptake, with_interval

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

#: What is fitted; the light first, of which crowding hides nothing.
READOUTS = ("puncta_intensity_sum", "puncta_count", "exosome_integrated")
#: Fewest frames in which a cell is seen whole for a fit of its own track.
MIN_FRAMES = 6
#: Draws of the bootstrap.
RESAMPLES = 1000


def kinetics(cells: pd.DataFrame, *, seed: int = 0, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Fit uptake kinetics to a per-cell table: per track and condition, or over a layout's times.

    What is pooled: `napari_tam.kinetics.curves.groups`; the mean curve:
    `napari_tam.kinetics.curves.Tracks.curves`.

    The interval of a pooled half-time is a percentile bootstrap (Efron & Tibshirani 1993): over the
    replicates and the tracks in them with three replicates or more, else over tracks, which says how
    well this movie is known and nothing about other experiments; `note` says which.

    Parameters
    ----------
    cells
        Table with image, frame, touches_border and the `READOUTS`; with ``track`` and ``time_h`` for
        movies (see `kinetics.tracking`), with the layout's ``time`` (hours), ``condition``, ``dose``
        and ``donor``, ``plate``, ``replicate`` where it has them.
    seed, resamples
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        One row per curve: the columns of `napari_tam.columns.KINETICS_COLUMNS`.
    """
    rows: list[dict[str, Any]] = []
    singles: list[dict[str, Any]] = []
    for group in groups(cells):
        for readout in READOUTS:
            fit = _pooled if group.followed else _timed
            rows.append({**group.about, "readout": readout} | fit(group.cells, readout, seed, resamples))
        if group.followed:
            for (movie, track), one in group.cells.groupby(["movie", "track"], sort=True):
                names = {**group.about, "movie": movie, "track": track}
                singles += [names | {"readout": readout} | _single(one, readout) for readout in READOUTS]
    rows += singles
    values = {
        column.name: [row.get(column.name, "" if column.kind == "text" else None) for row in rows]
        for column in KINETICS_COLUMNS
    }
    return build_table(KINETICS_COLUMNS, values, len(rows))


def _single(track: pd.DataFrame, readout: str) -> dict[str, Any]:
    """Fit one track."""
    value = track[readout].to_numpy(float)
    row: dict[str, Any] = {"n": int(np.isfinite(value).sum()), "unit": "frames"}
    if row["n"] < MIN_FRAMES:
        return row | {"note": f"seen whole in {row['n']} frames: {MIN_FRAMES} or more are needed"}
    fit = fit_uptake(track["frame"].to_numpy(float), value)
    return row | _scaled(fit, frame_hours(track))


def _pooled(cells: pd.DataFrame, readout: str, seed: int, resamples: int) -> dict[str, Any]:
    """Fit the mean curve of all tracks of a condition."""
    row: dict[str, Any] = {"n": 0, "unit": "tracks"}
    if not intervals_agree(cells):
        return row | {"note": "its movies have differing frame intervals: not pooled"}
    hours = frame_hours(cells)
    tracks = Tracks.of(cells, readout)
    row["n"] = len(tracks.levels)
    if row["n"] < 2:
        return row | {"note": f"{row['n']} tracks: two or more are needed for a mean curve"}
    curve, weight = tracks.curves(np.ones((1, row["n"])))
    fit = fit_uptake(tracks.frames, curve[0], (weight[0] > 0).astype(float))
    if fit.note:
        return row | _scaled(fit, hours)
    drawn, how = tracks.draw(resamples, seed)
    curves, weights = tracks.curves(drawn)
    fit, note = with_interval(fit, tracks.frames, curves, (weights > 0).astype(float))
    found = row | _scaled(fit, hours)
    return found | {"note": "; ".join(filter(None, [found["note"], note, how]))}


def _scaled(fit: UptakeFit, hours: float) -> dict[str, Any]:
    """Return a fit over frames as columns, in frames and in hours."""
    times = {"half_time": fit.half_time, "half_time_low": fit.low, "half_time_high": fit.high}
    row: dict[str, Any] = {"plateau": fit.plateau, "offset": fit.offset, "rate_per_frame": fit.rate}
    row |= {name.replace("half_time", "half_time_frames"): value for name, value in times.items()}
    row["rate_per_h"] = fit.rate / hours
    row |= {name + ("_h" if name == "half_time" else ""): value * hours for name, value in times.items()}
    unknown = "the frame interval is unknown: times are in frames" if np.isnan(hours) else ""
    return row | {"note": "; ".join(filter(None, [_with_unit(fit.note, "frames"), unknown]))}


def _with_unit(note: str, unit: str) -> str:
    return re.sub(r"(than the|step of) (\S+)", rf"\1 \2 {unit}", note)


def _timed(cells: pd.DataFrame, readout: str, seed: int, resamples: int) -> dict[str, Any]:
    """Fit a layout's times, at each of which other cells were imaged: the unit is the replicate."""
    means = replicate_means(cells, readout)
    time, value = means["time"].to_numpy(float), means["mean"].to_numpy(float)
    fit = fit_uptake(time, value)
    note = _with_unit(fit.note, "h")
    if not fit.note:
        times, at = np.unique(time, return_inverse=True)
        members = [np.flatnonzero(at == k) for k in range(len(times))]
        note = f"interval: from the fit, as a time has fewer than {MIN_REPLICATES} replicates"
        if min(map(len, members)) >= MIN_REPLICATES:
            rng = np.random.default_rng(seed)
            curves = np.stack([_drawn_means(value[own], resamples, rng) for own in members], axis=1)
            weights = np.tile([float(len(own)) for own in members], (resamples, 1))
            fit, limit = with_interval(fit, times, curves, weights)
            how = "interval: bootstrap over the replicates of every time"
            note = "; ".join(filter(None, [limit, how]))
    return {
        "n": len(means),
        "unit": "replicate means",
        "rate_per_h": fit.rate,
        "plateau": fit.plateau,
        "offset": fit.offset,
        "half_time_h": fit.half_time,
        "half_time_low": fit.low,
        "half_time_high": fit.high,
        "note": "; ".join(filter(None, ["other cells at every time", note])),
    }


def _drawn_means(
    values: npt.NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return bootstrapped means, spread by sqrt(n / (n - 1)): draws from few vary too little.

    (Davison & Hinkley 1997, Bootstrap Methods and their Application)
    """
    means = rng.choice(values, (resamples, len(values))).mean(axis=1)
    middle = values.mean()
    return np.asarray(middle + (means - middle) * np.sqrt(len(values) / (len(values) - 1)))

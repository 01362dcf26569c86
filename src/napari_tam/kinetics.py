"""How fast uptake rises: ``offset + plateau * (1 - exp(-rate t))``, per track and per condition.

The model is that of one step into a compartment that fills up: the rate does not depend on when the
clock is started, because whatever happened before the first time is in the offset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import KINETICS_COLUMNS, build_table
from napari_tam.layout import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

#: What is fitted.
READOUTS = ("puncta_count", "exosome_integrated")
#: Fewest times that a curve of three parameters is fitted to: along a track, and over a layout's times.
MIN_FRAMES, MIN_TIMES = 6, 4
#: Fewest replicates that the bootstrap draws from; with fewer it draws from the cells.
MIN_REPLICATES = 3
#: Draws of the bootstrap, and rates that each tries.
RESAMPLES, RATES = 1000, 200

Floats = npt.NDArray[np.float64]
_FRAME = re.compile(r"_t\d{4,}$")


@dataclass(frozen=True)
class UptakeFit:
    """A fitted curve; numbers are NaN where `note` says that there is nothing to fit.

    Attributes
    ----------
    rate
        In 1 / the unit of time.
    plateau, offset
        Rise from the first time to the end of time, and level at time 0, in the readout's unit.
    half_time, low, high
        ``ln 2 / rate``, and its 95 % interval.
    note
        Why there are no numbers, or why a limit is open.
    """

    rate: float = np.nan
    plateau: float = np.nan
    offset: float = np.nan
    half_time: float = np.nan
    low: float = np.nan
    high: float = np.nan
    note: str = ""

    def curve(self, time: Floats) -> Floats:
        """Return the fitted values at some times."""
        return np.asarray(self.offset + self.plateau * (1 - np.exp(-self.rate * time)))


def fit_uptake(time: Floats, value: Floats, weight: Floats | None = None) -> UptakeFit:
    """Fit ``offset + plateau * (1 - exp(-rate t))`` by least squares.

    Offset and plateau are solved for exactly at every rate (variable projection: Golub & Pereyra
    1973), so that `scipy.optimize.least_squares` has the logarithm of the rate alone to find. The
    interval is that of this logarithm: its standard error, by Student's t; it takes the residuals as
    independent.

    Parameters
    ----------
    time, value
        The points; those that are not finite are left out.
    weight
        Of each point, such as the number of cells in a mean; equal when None.

    Returns
    -------
    UptakeFit
        Without numbers if there are fewer than `MIN_TIMES` times, no rise (F test against a constant,
        p 0.05), or a half-time that is longer than what was observed or shorter than half a step.
    """
    from scipy.optimize import least_squares
    from scipy.stats import f as f_distribution
    from scipy.stats import t as t_distribution

    use = np.isfinite(time) & np.isfinite(value)
    weight = np.ones_like(time) if weight is None else weight
    time, value, root = time[use], value[use], np.sqrt(weight[use])
    times = np.unique(time)
    if len(times) < MIN_TIMES or len(time) < MIN_TIMES:
        return UptakeFit(note=f"{len(times)} times: {MIN_TIMES} or more are needed")

    def design(log_rate: float) -> Floats:
        return np.stack([np.ones_like(time), 1 - np.exp(-np.exp(log_rate) * time)], axis=1) * root[:, None]

    def solve(log_rate: float) -> Floats:
        found: Floats = np.linalg.lstsq(design(log_rate), value * root, rcond=None)[0]
        return found

    def residual(log_rate: Floats) -> Floats:
        x = float(log_rate[0])
        return np.asarray(design(x) @ solve(x) - value * root)

    logs = _log_rates(times)
    start = _best_log_rate(logs, time, value[None], (root**2)[None])[0]
    fit = least_squares(residual, [start], bounds=(logs[0], logs[-1]), x_scale=0.1)
    log_rate = float(fit.x[0])
    offset, plateau = map(float, solve(log_rate))
    free = len(time) - 3
    error = float(2 * fit.cost)
    mean = np.sum(root**2 * value) / np.sum(root**2)
    gain = float(np.sum(root**2 * (value - mean) ** 2)) - error
    tiny = 1e-12 * float(np.sum(root**2 * value**2))
    flat = gain <= tiny or (
        error > tiny and f_distribution.sf(gain / 2 / (error / max(free, 1)), 2, max(free, 1)) > 0.05
    )
    half, note = _half_time(log_rate, plateau, times, flat)
    if note:
        return UptakeFit(note=note)
    rate = float(np.exp(log_rate))
    slope = plateau * rate * time * np.exp(-rate * time)
    jacobian = np.column_stack([design(log_rate), slope * root])
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * error / max(free, 1)
    reach = float(t_distribution.ppf(0.975, max(free, 1)) * np.sqrt(max(covariance[2, 2], 0)))
    limits = half * np.exp(-reach), half * np.exp(reach) if reach < 20 else np.nan
    return UptakeFit(rate, plateau, offset, half, *map(float, limits))


def _half_time(log_rate: float, plateau: float, times: Floats, flat: bool) -> tuple[float, str]:
    """Return the half-time, or why there is none."""
    span, step = times[-1] - times[0], np.diff(times).min()
    half = float(np.log(2) / np.exp(log_rate))
    if flat:
        return half, "no rise that can be told from none"
    if plateau < 0:
        return half, "it falls"
    if half > span:
        return half, f"still rising in proportion to time: the half-time is longer than the {span:.3g} observed"
    if half < step / 2:
        return half, f"all of the rise is within the first step of {step:.3g}"
    return half, ""


def _log_rates(times: Floats) -> Floats:
    """Return the rates to try (logarithms): half-times of an eighth of a step to eight times the span."""
    span, step = times[-1] - times[0], np.diff(times).min()
    return np.linspace(np.log(np.log(2) / (8 * span)), np.log(np.log(2) / (step / 8)), RATES)


def _best_log_rate(logs: Floats, time: Floats, curves: Floats, weights: Floats) -> Floats:
    """Return the best rate of every curve: the least squares over a grid, refined by a parabola.

    Parameters
    ----------
    logs
        The grid.
    time
        Of the columns.
    curves, weights
        One row a curve; a weight of 0 leaves a point out.
    """
    total = weights.sum(axis=1)
    y = np.where(weights > 0, curves, 0.0)
    y = np.where(weights > 0, y - ((weights * y).sum(axis=1) / total)[:, None], 0.0)
    yy = (weights * y**2).sum(axis=1)
    errors = np.empty((len(curves), len(logs)))
    for k, log_rate in enumerate(logs):
        f = 1 - np.exp(-np.exp(log_rate) * time)
        mean = weights @ f / total
        variance = weights @ f**2 - total * mean**2
        # y has no mean, so that the plateau is cov(f, y) / var(f)
        errors[:, k] = yy - ((weights * y) @ f) ** 2 / np.maximum(variance, 1e-300)
    at = np.clip(errors.argmin(axis=1), 1, len(logs) - 2)
    row = np.arange(len(curves))
    before, here, after = (errors[row, at + d] for d in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend > 0, 0.5 * (before - after) / np.where(bend > 0, bend, 1.0), 0.0)
    found: Floats = logs[at] + np.clip(shift, -1, 1) * (logs[1] - logs[0])
    return found


def kinetics(cells: pd.DataFrame, *, seed: int = 0, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Fit uptake kinetics to a per-cell table: per track and condition, or over a layout's times.

    Cells that the image's border cuts are left out, as their uptake changes with the cut. Where a
    layout names conditions, the movies of a condition (and dose) are pooled, else each movie is by
    itself. The pooled curve is the mean level in the first frame and the sum of the cells' mean steps
    from frame to frame, so that a cell that comes or goes does not show as uptake.

    The interval of a pooled half-time is a percentile bootstrap (Efron & Tibshirani 1993): over the
    replicates and the tracks in them with three replicates or more, else over tracks, which says how
    well this movie is known and nothing about other experiments; `note` says which.

    Parameters
    ----------
    cells
        Table with image, frame and the `READOUTS`; with ``track`` and ``time_h`` for movies (see
        `napari_tam.tracking`), with the layout's ``time`` (hours), ``condition``, ``dose`` and
        ``donor``, ``plate``, ``replicate`` where it has them.
    seed, resamples
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        One row a curve: the columns of `napari_tam.columns.KINETICS_COLUMNS`.
    """
    rows: list[dict[str, Any]] = []
    followed = cells["track"].notna() if "track" in cells else cells["image"].isna()
    whole = ~cells["touches_border"].astype(bool)
    movies = cells[followed & whole].assign(movie=cells["image"].astype(str).str.replace(_FRAME, "", regex=True))
    keys = [name for name in ("condition", "dose") if name in cells]
    for about, group in _groups(movies, keys):
        parts = [({**about, "movie": ""}, group)]
        if not about.get("condition"):
            parts = [({**about, "movie": str(name)}, part) for name, part in group.groupby("movie")]
        for names, part in parts:
            for readout in READOUTS:
                rows.append({**names, "readout": readout} | _pooled(part, readout, seed, resamples))
        for (movie, track), one in group.groupby(["movie", "track"], sort=True):
            for readout in READOUTS:
                rows.append({**about, "movie": movie, "track": track, "readout": readout} | _single(one, readout))
    if "time" in cells:
        import pandas as pd

        fixed = cells[~followed & whole].assign(time=lambda t: pd.to_numeric(t["time"], errors="coerce"))
        for about, group in _groups(fixed[fixed["time"].notna()], keys):
            if group["time"].nunique() > 1:
                for readout in READOUTS:
                    rows.append({**about, "readout": readout} | _timed(group, readout, seed, resamples))
    names = [column.name for column in KINETICS_COLUMNS]
    texts = {column.name for column in KINETICS_COLUMNS if column.kind == "text"}
    values = {name: [row.get(name, "" if name in texts else None) for row in rows] for name in names}
    return build_table(KINETICS_COLUMNS, values, len(rows))


def _groups(cells: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the cells of each condition (and dose), with what they are called."""
    if not keys or cells.empty:
        if len(cells):
            yield {}, cells
        return
    for values, group in cells.groupby(list(keys), sort=True, dropna=False):
        about = dict(zip(keys, values, strict=True))
        about["condition"] = "" if about.get("condition") != about.get("condition") else about.get("condition", "")
        yield about, group


def _units(cells: pd.DataFrame, fallback: str) -> pd.Series[str]:
    """Return the experimental unit of every cell: donor, plate and replicate, else the movie or image."""
    named = [name for name in GROUPS if name in cells and (cells[name].fillna("").astype(str) != "").any()]
    columns = named or [fallback]
    return cells[columns].fillna("").astype(str).agg(" / ".join, axis=1)


def _single(track: pd.DataFrame, readout: str) -> dict[str, Any]:
    """Fit one track."""
    value = track[readout].to_numpy(float)
    row: dict[str, Any] = {"n": int(np.isfinite(value).sum()), "unit": "frames"}
    if row["n"] < MIN_FRAMES:
        return row | {"note": f"seen whole in {row['n']} frames: {MIN_FRAMES} or more are needed"}
    fit = fit_uptake(track["frame"].to_numpy(float), value)
    return row | _scaled(fit, _frame_hours(track))


def _frame_hours(cells: pd.DataFrame) -> float:
    """Return the hours between two frames; NaN when unknown, or when movies differ."""
    later = cells[cells["frame"] > 0]
    steps = (later["time_h"] / later["frame"]).to_numpy(float)
    same = len(steps) > 0 and np.isfinite(steps).all() and np.ptp(steps) < 1e-6 * steps.max()
    return float(steps[0]) if same else np.nan


def _scaled(fit: UptakeFit, hours: float) -> dict[str, Any]:
    """Return a fit over frames as columns, in frames and in hours."""
    times = {"half_time": fit.half_time, "half_time_low": fit.low, "half_time_high": fit.high}
    row: dict[str, Any] = {"plateau": fit.plateau, "offset": fit.offset, "rate_per_frame": fit.rate}
    row |= {name.replace("half_time", "half_time_frames"): value for name, value in times.items()}
    row["rate_per_h"] = fit.rate / hours
    row |= {name + ("_h" if name == "half_time" else ""): value * hours for name, value in times.items()}
    unknown = "the frame interval is unknown: times are in frames" if np.isnan(hours) else ""
    note = re.sub(r"(than the|step of) (\S+)", r"\1 \2 frames", fit.note)
    return row | {"note": "; ".join(filter(None, [note, unknown]))}


def _pooled(cells: pd.DataFrame, readout: str, seed: int, resamples: int) -> dict[str, Any]:
    """Fit the mean curve of all tracks of a condition."""
    intervals = {
        name: _frame_hours(part) for name, part in cells.groupby("movie") if (part["frame"] > 0).any()
    }
    hours = next(iter(intervals.values()), np.nan)
    if not np.allclose(list(intervals.values()), hours, rtol=1e-6, equal_nan=True):
        return {"n": 0, "unit": "tracks", "note": "its movies have differing frame intervals: not pooled"}
    cells = cells.assign(replicate_unit=_units(cells, "movie"))
    wide = cells.pivot_table(index=["movie", "track"], columns="frame", values=readout, aggfunc="first")
    wide = wide.reindex(columns=range(int(cells["frame"].max()) + 1))
    levels = wide.to_numpy(float)
    steps = np.diff(levels, axis=1)
    kept = np.isfinite(steps).any(axis=1)
    levels, steps, wide = levels[kept], steps[kept], wide[kept]
    row: dict[str, Any] = {"n": int(kept.sum()), "unit": "tracks"}
    frames = np.arange(levels.shape[1], dtype=float)
    everyone = np.ones((1, len(steps)))
    curve, weight = _chained(levels, steps, everyone)
    fit = fit_uptake(frames, curve[0], (weight[0] > 0).astype(float))
    if fit.note or row["n"] < 2:
        return row | _scaled(fit, hours)
    unit_of = cells.groupby(["movie", "track"])["replicate_unit"].first()
    units = unit_of.reindex(wide.index).to_numpy(str)
    drawn, how = _draw(units, resamples, np.random.default_rng(seed))
    curves, weights = _chained(levels, steps, drawn)
    fit, note = _with_interval(fit, frames, curves, (weights > 0).astype(float))
    found = row | _scaled(fit, hours)
    return found | {"note": "; ".join(filter(None, [found["note"], note, how]))}


def _chained(levels: Floats, steps: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """Return mean curves: the mean level at the start, plus the mean steps; and the tracks behind each.

    Parameters
    ----------
    levels, steps
        Tracks × frames, and the differences of neighbouring frames; NaN where a cell was not seen.
    drawn
        Draws × tracks: how often each track counts.
    """
    known = np.isfinite(steps)
    counts = drawn @ known
    mean = (drawn @ np.where(known, steps, 0.0)) / np.maximum(counts, 1e-300)
    first = np.flatnonzero(np.isfinite(levels).any(axis=0))[0]
    there = np.isfinite(levels[:, first])
    start = (drawn[:, there] @ levels[there, first]) / np.maximum(drawn[:, there].sum(axis=1), 1e-300)
    # a frame in which no cell was followed from the one before keeps the level and gets no weight
    curve = np.concatenate([start[:, None], start[:, None] + np.cumsum(mean, axis=1)], axis=1)
    return curve, np.concatenate([np.maximum(counts[:, :1], 1.0), counts], axis=1)


def _draw(units: npt.NDArray[np.str_], resamples: int, rng: np.random.Generator) -> tuple[Floats, str]:
    """Draw tracks with replacement: draws × tracks, and how it was done."""
    names, unit = np.unique(units, return_inverse=True)
    members = [np.flatnonzero(unit == k) for k in range(len(names))]
    drawn = np.zeros((resamples, len(units)))
    by_unit = len(names) >= MIN_REPLICATES
    for row in drawn:
        if by_unit:
            chosen = rng.integers(len(names), size=len(names))
            picked = np.concatenate([rng.choice(members[k], len(members[k])) for k in chosen])
        else:
            picked = rng.integers(len(units), size=len(units))
        np.add.at(row, picked, 1.0)
    if by_unit:
        return drawn, f"interval: bootstrap over {len(names)} replicates and the tracks in them"
    several = "1 replicate" if len(names) == 1 else f"{len(names)} replicates"
    return drawn, f"interval: bootstrap over the tracks of {several}, which says nothing about other experiments"


def _with_interval(fit: UptakeFit, time: Floats, curves: Floats, weights: Floats) -> tuple[UptakeFit, str]:
    """Return a fit with the 95 % interval of resampled curves; limits at the edge of what can be told are open."""
    logs = _log_rates(np.unique(time))
    usable = (weights > 0).sum(axis=1) >= MIN_TIMES
    found = np.log(2) / np.exp(_best_log_rate(logs, time, curves[usable], weights[usable]))
    low, high = map(float, np.percentile(found, [2.5, 97.5]))
    longest = float(time.max() - time.min())
    note = ""
    if high > 4 * longest:
        high, note = np.nan, "no upper limit can be told"
    return UptakeFit(fit.rate, fit.plateau, fit.offset, fit.half_time, low, high, fit.note), note


def _timed(cells: pd.DataFrame, readout: str, seed: int, resamples: int) -> dict[str, Any]:
    """Fit a layout's times, at each of which other cells were imaged: the unit is the replicate."""
    cells = cells.assign(replicate_unit=_units(cells, "image"))
    means = cells.groupby(["time", "replicate_unit"])[readout].mean().reset_index()
    row: dict[str, Any] = {"n": len(means), "unit": "replicate means"}
    time, value = means["time"].to_numpy(float), means[readout].to_numpy(float)
    fit = fit_uptake(time, value)
    note = re.sub(r"(than the|step of) (\S+)", r"\1 \2 h", fit.note)
    if not fit.note:
        times, at = np.unique(time, return_inverse=True)
        members = [np.flatnonzero(at == k) for k in range(len(times))]
        note = "interval: from the fit, as some times have fewer than three replicates"
        if min(map(len, members)) >= MIN_REPLICATES:
            rng = np.random.default_rng(seed)
            picks = [rng.choice(own, (resamples, len(own))) for own in members]
            curves = np.stack([value[pick].mean(axis=1) for pick in picks], axis=1)
            weights = np.tile([float(len(own)) for own in members], (resamples, 1))
            fit, open_end = _with_interval(fit, times, curves, weights)
            how = "interval: bootstrap over the replicates of every time"
            note = "; ".join(filter(None, [open_end, how]))
    return row | {
        "rate_per_h": fit.rate,
        "plateau": fit.plateau,
        "offset": fit.offset,
        "half_time_h": fit.half_time,
        "half_time_low": fit.low,
        "half_time_high": fit.high,
        "note": "; ".join(filter(None, ["other cells at every time", note])),
    }

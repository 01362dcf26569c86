"""Mean uptake curves: of the tracks of movies, or of the cells that were imaged at a layout's times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.io.layout import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

#: Fewest replicates that the bootstrap draws from; with fewer it draws from the cells.
MIN_REPLICATES = 3

Floats = npt.NDArray[np.float64]
_FRAME = re.compile(r"_t\d{4,}$")


@dataclass(frozen=True)
class Group:
    """Cells whose uptake makes one curve, and what they are called (condition, dose, movie).

    ``followed`` distinguishes tracks of movies from a layout's times.
    """

    about: dict[str, Any]
    cells: pd.DataFrame
    followed: bool


def groups(cells: pd.DataFrame) -> Iterator[Group]:
    """Yield what is pooled: the movies of each condition and dose, and the images with times of each.

    Without a condition each movie is by itself. Cells that the image's border cuts are left out, as
    their uptake changes with the cut.
    """
    import pandas as pd

    followed = cells["track"].notna() if "track" in cells else pd.Series(False, index=cells.index)
    whole = ~cells["touches_border"].astype(bool)
    movies = cells[followed & whole]
    movies = movies.assign(movie=movies["image"].astype(str).str.replace(_FRAME, "", regex=True))
    for about, group in _conditions(movies):
        if about.get("condition"):
            yield Group({**about, "movie": ""}, group, True)
            continue
        for name, part in group.groupby("movie", sort=True):
            yield Group({**about, "movie": str(name)}, part, True)
    if "time" in cells:
        fixed = cells[~followed & whole]
        fixed = fixed.assign(time=pd.to_numeric(fixed["time"], errors="coerce"))
        for about, group in _conditions(fixed[fixed["time"].notna()]):
            if group["time"].nunique() > 1:
                yield Group({**about, "movie": ""}, group, False)


def _conditions(cells: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    keys = [name for name in ("condition", "dose") if name in cells]
    if "condition" in keys:
        cells = cells.assign(condition=cells["condition"].fillna("").astype(str))
    if not keys or cells.empty:
        yield from [({}, cells)] if len(cells) else []
        return
    for values, group in cells.groupby(keys, sort=True, dropna=False):
        yield dict(zip(keys, values, strict=True)), group


def units(cells: pd.DataFrame, fallback: str) -> pd.Series[str]:
    """Return the experimental unit of every cell: donor, plate and replicate, else movie or image."""
    named = [name for name in GROUPS if name in cells and (cells[name].fillna("").astype(str) != "").any()]
    columns = named or [fallback]
    return cells[columns].fillna("").astype(str).agg(" / ".join, axis=1)


def frame_hours(cells: pd.DataFrame) -> float:
    """Return the hours between two frames; NaN when unknown, or when movies differ."""
    later = cells[cells["frame"] > 0]
    steps = (later["time_h"] / later["frame"]).to_numpy(float)
    same = len(steps) > 0 and np.isfinite(steps).all() and np.ptp(steps) < 1e-6 * steps.max()
    return float(steps[0]) if same else np.nan


def intervals_agree(cells: pd.DataFrame) -> bool:
    """Whether all movies have the same frame interval, or all an unknown one."""
    found = [frame_hours(part) for _, part in cells.groupby("movie") if (part["frame"] > 0).any()]
    return not found or np.allclose(found, found[0], rtol=1e-6, equal_nan=True)


@dataclass(frozen=True)
class Tracks:
    """The uptake of tracked cells.

    Attributes
    ----------
    frames
        Those with cells.
    levels
        Tracks × frames, NaN where a cell was not seen (whole).
    units
        The experimental unit of each track.
    """

    frames: Floats
    levels: Floats
    units: npt.NDArray[np.str_]

    @classmethod
    def of(cls, cells: pd.DataFrame, readout: str) -> Tracks:
        """Take the tracks that were seen in two neighbouring frames or more."""
        cells = cells.assign(unit=units(cells, "movie"))
        wide = cells.pivot_table(index=["movie", "track"], columns="frame", values=readout, aggfunc="first")
        levels = wide.to_numpy(float)
        kept = np.isfinite(np.diff(levels, axis=1)).any(axis=1)
        unit = cells.groupby(["movie", "track"])["unit"].first().reindex(wide.index)
        return cls(wide.columns.to_numpy(float), levels[kept], unit.to_numpy(str)[kept])

    def curves(self, drawn: Floats) -> tuple[Floats, Floats]:
        """Return mean curves: the mean level at the start plus the mean steps from frame to frame.

        So a cell that comes or goes does not show as uptake, as it would in a mean of levels.

        Parameters
        ----------
        drawn
            Draws × tracks: how often each track counts.

        Returns
        -------
        curves, tracks
            Draws × frames: the level, and how many tracks are behind the step to it.
        """
        steps = np.diff(self.levels, axis=1)
        known = np.isfinite(steps)
        counts = drawn @ known
        mean = (drawn @ np.where(known, steps, 0.0)) / np.maximum(counts, 1e-300)
        there = np.isfinite(self.levels[:, 0])
        first = drawn[:, there].sum(axis=1)
        start = ((drawn[:, there] @ self.levels[there, 0]) / np.maximum(first, 1e-300))[:, None]
        curve = np.concatenate([start, start + np.cumsum(mean, axis=1)], axis=1)
        return curve, np.concatenate([np.maximum(first, 1.0)[:, None], counts], axis=1)

    def draw(self, resamples: int, seed: int) -> tuple[Floats, str]:
        """Draw tracks with replacement for a bootstrap: draws × tracks, and how it was done."""
        rng = np.random.default_rng(seed)
        names, unit = np.unique(self.units, return_inverse=True)
        members = [np.flatnonzero(unit == k) for k in range(len(names))]
        by_unit = len(names) >= MIN_REPLICATES
        drawn = np.zeros((resamples, len(unit)))
        for row in drawn:
            if by_unit:
                chosen = rng.integers(len(names), size=len(names))
                picked = np.concatenate([rng.choice(members[k], len(members[k])) for k in chosen])
            else:
                picked = rng.integers(len(unit), size=len(unit))
            np.add.at(row, picked, 1.0)
        if by_unit:
            return drawn, f"interval: bootstrap over {len(names)} replicates and the tracks in them"
        several = "1 replicate" if len(names) == 1 else f"{len(names)} replicates"
        return drawn, f"interval: bootstrap over the tracks of {several}, not over experiments"


def replicate_means(cells: pd.DataFrame, readout: str) -> pd.DataFrame:
    """Return the mean of each time and experimental unit: time, unit, mean."""
    cells = cells.assign(unit=units(cells, "image"), mean=cells[readout].astype(float))
    return cells.groupby(["time", "unit"])["mean"].mean().reset_index()


def uptake_curves(cells: pd.DataFrame, readout: str) -> pd.DataFrame:
    """Return the mean curves that the kinetics are fitted to, for figures and their data.

    Parameters
    ----------
    cells
        See `napari_tam.kinetics.table.kinetics`.
    readout
        A column of it.

    Returns
    -------
    pandas.DataFrame
        condition, dose, movie, time, time_unit (``h`` or ``frames``), mean, n (cells behind it, or
        replicates for a layout's times).
    """
    import pandas as pd

    parts = []
    for group in groups(cells):
        about = {"condition": "", "dose": np.nan, **group.about}
        if not group.followed:
            means = replicate_means(group.cells, readout).groupby("time")["mean"].agg(["mean", "size"])
            mean, number = means["mean"].to_numpy(), means["size"].to_numpy(float)
            about |= {"time": means.index.to_numpy(), "time_unit": "h", "mean": mean, "n": number}
            parts.append(pd.DataFrame(about))
            continue
        tracks = Tracks.of(group.cells, readout)
        if not intervals_agree(group.cells) or not len(tracks.levels):
            continue
        curve, counts = tracks.curves(np.ones((1, len(tracks.levels))))
        hours = frame_hours(group.cells)
        known = np.isfinite(hours)
        time = tracks.frames * (hours if known else 1)
        about |= {"time": time, "time_unit": "h" if known else "frames", "mean": curve[0], "n": counts[0]}
        parts.append(pd.DataFrame(about))
    columns = ["condition", "dose", "movie", "time", "time_unit", "mean", "n"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)

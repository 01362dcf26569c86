"""Uptake that falls with distance: ``offset + amplitude * exp(-d / length)`` fitted to cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_tam.uptake.group_tests import LEAST_UNITS

Floats = npt.NDArray[np.float64]

#: How often the replicates are drawn anew.
DRAWS = 200
#: Fewest cells that a curve is fitted to.
LEAST_CELLS = 20
#: Places of distance are grouped to this share of the range, which changes no fit noticeably.
_STEP = 1 / 400
#: A curve that falls by less than this share of its level near donors has no length.
_LEAST_FALL = 0.05


@dataclass(frozen=True)
class Decay:
    """A fitted curve; numbers are NaN where `note` says why.

    Attributes
    ----------
    length, low, high
        Decay length (µm) and its 95 % interval.
    amplitude, offset
        What is taken up more beside a donor than far from all, and what is taken up there: means of the
        replicates.
    units
        Number of replicates.
    note
        Why there is no length, or no interval.
    """

    length: float = np.nan
    low: float = np.nan
    high: float = np.nan
    amplitude: float = np.nan
    offset: float = np.nan
    units: int = 0
    note: str = ""

    def curve(self, distance: Floats) -> Floats:
        """Return the fitted uptake at some distances (µm)."""
        return np.asarray(self.offset + self.amplitude * np.exp(-distance / self.length))


@dataclass(frozen=True)
class _Grouped:
    """Cells by replicate and distance: sums of uptake, numbers of cells."""

    distance: Floats
    uptake: Floats
    cells: Floats

    def levels(self, shape: Floats) -> Floats:
        """Return the level of every replicate for a curve's shape (1 at a donor's edge)."""
        return np.asarray(self.uptake.sum(axis=1) / np.maximum(self.cells @ shape, 1e-300))

    def loss(self, length: float, far: float) -> float:
        """Return the negative Poisson log-likelihood per unit of uptake, the levels fitted exactly."""
        shape = _shape(self.distance, length, far)
        log = np.log(shape) @ self.uptake.sum(axis=0)
        return -float(log + self.uptake.sum(axis=1) @ np.log(np.maximum(self.levels(shape), 1e-300))) / max(
            float(self.uptake.sum()), 1e-300
        )

    def step(self, length: float, far: float) -> Floats:
        """Return the step of ln(length) and `far` by Fisher's scoring."""
        near = np.exp(-self.distance / length)
        shape = _shape(self.distance, length, far)
        slopes = np.stack([(1 - far) * near * self.distance / length, 1 - near]) / shape
        level = self.levels(shape)
        mean = level[:, None] * self.cells * shape
        score = slopes @ (self.uptake - mean).sum(axis=0)
        own = (mean @ slopes.T) / np.maximum(mean.sum(axis=1), 1e-300)[:, None]
        information = (slopes * mean.sum(axis=0)) @ slopes.T - (own.T * mean.sum(axis=1)) @ own
        (a, b), (_, d) = information + np.eye(2) * (1e-9 * np.trace(information) + 1e-300)
        step = np.array([d * score[0] - b * score[1], a * score[1] - b * score[0]])
        return np.asarray(step / max(a * d - b * b, 1e-300))


def fit_decay(distance: Floats, uptake: Floats, unit: npt.NDArray[np.object_], seed: int = 0) -> Decay:
    """Fit how uptake falls with the distance to the nearest donor.

    Every replicate has a level of its own, ``level * (far + (1 - far) * exp(-d / length))``; length and `far`
    are common. By Poisson quasi-likelihood, in which the variance grows with the mean (McCullagh & Nelder
    1989, Generalized Linear Models, chapter 9): right for means whatever the spread between cells. Interval:
    the replicates are drawn anew `DRAWS` times; standard error of the logarithm × Student's t with n - 1
    degrees of freedom × √(n / (n - 1)), because few replicates differ too little among themselves; and at
    least what drawing the cells anew within each replicate gives.

    Parameters
    ----------
    distance, uptake
        Of every recipient: µm, and any readout of 0 or more.
    unit
        The replicate of each.
    seed
        Of the draws.
    """
    known = np.isfinite(distance) & np.isfinite(uptake)
    distance, uptake, unit = distance[known], np.maximum(uptake[known], 0), unit[known]
    names = sorted(set(unit))
    if len(distance) < LEAST_CELLS:
        few = f"fewer than {LEAST_CELLS} recipients have a known distance ({len(distance)})"
        return Decay(units=len(names), note=f"no decay length: {few}")
    if not uptake.sum() or np.ptp(distance) <= 0:
        what = "no recipient took anything up" if not uptake.sum() else "all recipients are equally far"
        return Decay(units=len(names), note=f"no decay length: {what}")
    cells = _Cells.of(distance, uptake, unit, names)
    grouped = cells.grouped()
    longest = float(distance.max())
    length, far = _fitted(grouped, longest)
    level = grouped.levels(_shape(grouped.distance, length, far))
    if 1 - far < _LEAST_FALL:
        return Decay(units=len(names), note="no decay length: uptake does not fall with the distance")
    if length >= 0.999 * 2 * longest:
        note = f"no decay length: it is longer than the distances seen (up to {longest:.0f} µm)"
        return Decay(units=len(names), note=note)
    found = Decay(
        length,
        amplitude=float(level.mean()) * (1 - far),
        offset=float(level.mean()) * far,
        units=len(names),
    )
    return _with_interval(found, cells, longest, far, seed)


def _with_interval(found: Decay, cells: _Cells, longest: float, far: float, seed: int) -> Decay:
    from dataclasses import replace

    from scipy import stats

    number = found.units
    if number < LEAST_UNITS:
        note = f"no interval: fewer than {LEAST_UNITS} replicates ({number})"
        return replace(found, note=note)
    rng = np.random.default_rng(seed)
    grouped = cells.grouped()
    start = (found.length, far)
    by_unit: list[float] = []
    by_cell: list[float] = []
    for _ in range(DRAWS):
        rows = rng.integers(0, number, number)
        drawn = _Grouped(grouped.distance, grouped.uptake[rows], grouped.cells[rows])
        for logs, each in ((by_unit, drawn), (by_cell, cells.drawn(rng))):
            if each.uptake.sum() > 0:
                logs.append(float(np.log(_fitted(each, longest, start)[0])))
    error = float(np.std(by_unit, ddof=1)) * np.sqrt(number / (number - 1))
    # few replicates may agree by chance: they cannot be surer than their cells
    reach = max(float(stats.t.ppf(0.975, number - 1)) * error, 1.96 * float(np.std(by_cell, ddof=1)))
    return replace(
        found,
        low=float(found.length * np.exp(-reach)),
        high=float(found.length * np.exp(min(reach, 50.0))),
        note="interval: replicates, and cells within them, drawn anew",
    )


@dataclass(frozen=True)
class _Cells:
    """Recipients: number of their place among the distances, uptake, and number of their replicate."""

    places: Floats
    place: npt.NDArray[np.int64]
    uptake: Floats
    unit: npt.NDArray[np.int64]
    units: int

    @classmethod
    def of(cls, distance: Floats, uptake: Floats, unit: npt.NDArray[np.object_], names: list[str]) -> _Cells:
        step = float(distance.max()) * _STEP
        places, place = np.unique(np.round(distance / step), return_inverse=True)
        row = np.searchsorted(np.array(names, object).astype(str), unit.astype(str))
        order = np.argsort(row, kind="stable")
        return cls(places * step, place[order], uptake[order], row[order], len(names))

    def grouped(self, chosen: npt.NDArray[np.int64] | None = None) -> _Grouped:
        """Return all cells, or some of them, by replicate and distance."""
        at = np.arange(len(self.unit)) if chosen is None else chosen
        size = (self.units, len(self.places))
        where = self.unit[at] * size[1] + self.place[at]
        sums, cells = (
            np.asarray(np.bincount(where, weights, size[0] * size[1]), np.float64).reshape(size)
            for weights in (self.uptake[at], np.ones(len(where)))
        )
        return _Grouped(self.places, sums, cells)

    def drawn(self, rng: np.random.Generator) -> _Grouped:
        """Return cells that are drawn anew within each replicate."""
        counts = np.bincount(self.unit, minlength=self.units)
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        own = np.floor(rng.random(len(self.unit)) * counts[self.unit]).astype(np.int64)
        return self.grouped(starts[self.unit] + own)


def _shape(distance: Floats, length: float, far: float) -> Floats:
    return np.asarray(far + (1 - far) * np.exp(-distance / length))


def _fitted(
    grouped: _Grouped, longest: float, start: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Return length and far that are most likely: from a coarse grid, then by Fisher's scoring."""
    limits = np.array([[np.log(longest / 200), 1e-6], [np.log(2 * longest), 1.0]])
    starts = [start] if start else []
    starts += [
        (float(length), far)
        for length in np.geomspace(longest / 60, longest, 10 if start is None else 0)
        for far in (0.02, 0.2, 0.5, 0.8)
    ]
    length, far = min(starts, key=lambda at: grouped.loss(*at))
    at, loss = np.array([np.log(length), far]), grouped.loss(length, far)
    for _ in range(60):
        step = grouped.step(float(np.exp(at[0])), float(at[1]))
        step /= max(1.0, abs(step[0]))
        for half in 0.5 ** np.arange(12):
            other = np.clip(at + half * step, *limits)
            found = grouped.loss(float(np.exp(other[0])), float(other[1]))
            if found < loss:
                break
        else:
            break
        done = loss - found < 1e-12
        at, loss = other, found
        if done:
            break
    return float(np.exp(at[0])), float(at[1])

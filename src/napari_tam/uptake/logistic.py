"""The four-parameter logistic: fitted to means of wells, with intervals by the profile likelihood."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

Floats = npt.NDArray[np.float64]

#: Parameters of the curve, in their order.
PARAMETERS = ("ec50", "top", "bottom", "hill")
#: Limits of the steepness.
HILL = (0.2, 8.0)
#: A curve that the doses do not reach: EC50 at most so many times above the highest, or below the lowest.
BEYOND = 30.0


def logistic(dose: Floats, ec50: float, top: float, bottom: float, hill: float) -> Floats:
    """Return ``bottom + (top - bottom) / (1 + (ec50 / dose) ** hill)``; bottom at dose 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(bottom + (top - bottom) / (1 + (ec50 / dose) ** hill))


@dataclass(frozen=True)
class Wells:
    """Means of wells (replicate × dose).

    Attributes
    ----------
    dose, value
        Dose (0: none) and mean.
    variance
        Of the mean, from the spread of its cells.
    unit
        The replicate's number, from 0.
    highest
        No mean can be above (1 for shares).
    """

    dose: Floats
    value: Floats
    variance: Floats
    unit: npt.NDArray[np.int64]
    highest: float = np.inf

    @property
    def has_levels(self) -> bool:
        """Whether replicates have levels of their own: several, each with three doses or more."""
        counts = [len(np.unique(self.dose[self.unit == k])) for k in np.unique(self.unit)]
        return len(counts) > 1 and min(counts) >= 3 and not np.isfinite(self.highest)


@dataclass
class LogisticFit:
    """A fitted curve.

    Attributes
    ----------
    values
        `PARAMETERS` to their values.
    limits
        To their 95 % intervals; NaN where a side is open.
    p
        Of the curve against a constant (F test).
    """

    values: dict[str, float]
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    p: float = np.nan

    def curve(self, dose: Floats) -> Floats:
        """Return the fitted uptake at some doses."""
        return logistic(dose, *(self.values[name] for name in PARAMETERS))


def fit_logistic(wells: Wells, intervals: tuple[str, ...] = PARAMETERS) -> LogisticFit:
    """Fit the curve to the means of wells.

    Weighted least squares; the variance of a well is that of its cells' mean and (a × fitted value)², a the
    spread between wells that were treated alike, which is what the residuals ask for (the estimator of
    Paule and Mandel 1982, J Res NBS 87:377). Replicates have a level each, by which the curve is multiplied.
    An interval holds the values at which the weighted sum of squares, with all else fitted again, is less
    than t² above its least (profile likelihood: Bates & Watts 1988, Nonlinear Regression Analysis, chapter
    6), t of Student's distribution with as many degrees of freedom as wells above parameters.

    Parameters
    ----------
    wells
        More of them than parameters (4, and a level for every replicate but one).
    intervals
        The parameters whose intervals are wanted.
    """
    problem = _Problem.of(wells)
    best, weights = _weighted(problem)
    least = problem.squares(best, weights)
    freedom = max(len(wells.value) - problem.count, 1)
    scale = max(least / freedom, 1.0)
    found = LogisticFit(problem.named(best))
    found.p = _against_constant(problem, weights, least, freedom, scale)
    from scipy import stats

    allowed = float(stats.t.ppf(0.975, freedom)) ** 2 * scale
    for name in intervals:
        found.limits[name] = _limits(problem, best, weights, least + allowed, name)
    return found


@dataclass(frozen=True)
class _Problem:
    """Parameters as fitted: ln EC50, top, bottom, ln Hill, and ln of the levels of all replicates but one."""

    wells: Wells
    low: Floats
    high: Floats

    @property
    def count(self) -> int:
        return len(self.low)

    @classmethod
    def of(cls, wells: Wells) -> _Problem:
        doses = wells.dose[wells.dose > 0]
        most = 20 * max(float(wells.value.max()), 1e-12)
        levels = int(wells.unit.max()) if wells.has_levels else 0
        low = [np.log(doses.min() / BEYOND), 0.0, 0.0, np.log(HILL[0]), *[-3.0] * levels]
        most = min(most, wells.highest)
        high = [np.log(doses.max() * BEYOND), most, most, np.log(HILL[1]), *[3.0] * levels]
        return cls(wells, np.array(low), np.array(high))

    def named(self, at: Floats) -> dict[str, float]:
        return {
            "ec50": float(np.exp(at[0])),
            "top": float(at[1]),
            "bottom": float(at[2]),
            "hill": float(np.exp(at[3])),
        }

    def mean(self, at: Floats) -> Floats:
        curve = logistic(self.wells.dose, np.exp(at[0]), at[1], at[2], np.exp(at[3]))
        if self.count == len(PARAMETERS):
            return curve
        # the levels' product is 1, so that the curve is that of a typical replicate
        levels = np.array([*at[4:], -at[4:].sum()])
        return np.asarray(curve * np.exp(levels[self.wells.unit]))

    def slopes(self, at: Floats) -> Floats:
        """Return the derivatives of the means by all parameters (wells × parameters)."""
        dose, hill = self.wells.dose, np.exp(at[3])
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            log = np.where(dose > 0, at[0] - np.log(dose), 0.0)
            share = np.where(dose > 0, 1 / (1 + np.exp(np.minimum(hill * log, 700.0))), 0.0)
        rise = (at[1] - at[2]) * share * (1 - share)
        found = np.stack([-hill * rise, share, 1 - share, -hill * log * rise], axis=1)
        if self.count > len(PARAMETERS):
            unit, last = self.wells.unit, self.count - len(PARAMETERS)
            levels = np.array([*at[4:], -at[4:].sum()])
            found *= np.exp(levels[unit])[:, None]
            own = (unit[:, None] == np.arange(last)).astype(np.float64) - (unit == last)[:, None]
            found = np.concatenate([found, own * self.mean(at)[:, None]], axis=1)
        return np.asarray(found)

    def squares(self, at: Floats, weights: Floats) -> float:
        return float((weights * (self.wells.value - self.mean(at)) ** 2).sum())

    def fitted(self, weights: Floats, start: Floats, fixed: tuple[int, float] | None = None) -> Floats:
        """Return the parameters with the least weighted squares, one of them perhaps fixed."""
        from scipy.optimize import least_squares

        root = np.sqrt(weights)
        free = np.array([k for k in range(self.count) if fixed is None or k != fixed[0]])
        base = start.copy()
        if fixed is not None:
            base[fixed[0]] = fixed[1]

        def residuals(part: Floats) -> Floats:
            at = base.copy()
            at[free] = part
            return np.asarray(root * (self.wells.value - self.mean(at)))

        def jacobian(part: Floats) -> Floats:
            at = base.copy()
            at[free] = part
            return np.asarray(-root[:, None] * self.slopes(at)[:, free])

        margin = 1e-9 * (self.high[free] - self.low[free])
        inside = np.clip(start[free], self.low[free] + margin, self.high[free] - margin)
        scale = np.maximum(np.abs(np.where(np.isin(free, (1, 2)), self.wells.value.max(), 1.0)), 1e-12)
        found = least_squares(
            residuals,
            inside,
            jacobian,
            bounds=(self.low[free], self.high[free]),
            x_scale=scale,
            xtol=1e-10,
            max_nfev=200,
        )
        base[free] = found.x
        return base

    def starts(self) -> list[Floats]:
        wells = self.wells
        doses = np.unique(wells.dose[wells.dose > 0])
        means = np.array([wells.value[wells.dose == dose].mean() for dose in doses])
        none = wells.value[wells.dose == 0]
        bottom = float(none.mean()) if len(none) else 0.5 * float(means.min())
        rest = [0.0] * (self.count - len(PARAMETERS))
        return [
            np.array([np.log(doses[k]), float(means.max()) * 1.1, bottom, np.log(hill), *rest])
            for k in range(1, len(doses), 2)
            for hill in (1.0, 2.0)
        ]


def _weighted(problem: _Problem) -> tuple[Floats, Floats]:
    """Return the parameters and the weights (1 / variance), which depend on one another."""
    wells = problem.wells
    freedom = max(len(wells.value) - problem.count, 1)
    floor = (1e-3 * max(float(wells.value.max()), 1e-12)) ** 2
    weights = 1 / (wells.variance + (0.1 * np.maximum(wells.value, 0)) ** 2 + floor)
    tried = [problem.fitted(weights, start) for start in problem.starts()]
    at = min(tried, key=lambda found: problem.squares(found, weights))
    for _ in range(6):
        left, mean = (wells.value - problem.mean(at)) ** 2, problem.mean(at) ** 2
        between = _spread(left, mean, wells.variance + floor, freedom)
        new = 1 / (wells.variance + floor + between * mean)
        at = problem.fitted(new, at)
        done = np.allclose(new, weights, rtol=1e-3)
        weights = new
        if done:
            break
    return at, weights


def _spread(left: Floats, mean: Floats, variance: Floats, freedom: int) -> float:
    """Return the squared relative spread between wells at which the weighted squares are as many as due."""
    from scipy.optimize import brentq

    def excess(between: float) -> float:
        return float((left / (variance + between * mean)).sum()) - freedom

    if excess(0.0) <= 0:
        return 0.0
    highest = 1.0
    while excess(highest) > 0 and highest < 1e6:
        highest *= 10
    return float(brentq(excess, 0.0, highest)) if excess(highest) < 0 else highest


def _against_constant(problem: _Problem, weights: Floats, least: float, freedom: int, scale: float) -> float:
    from scipy import stats

    value = problem.wells.value
    if problem.count > len(PARAMETERS):
        unit = problem.wells.unit
        sums = np.bincount(unit, weights * value) / np.bincount(unit, weights)
        flat = float((weights * (value - sums[unit]) ** 2).sum())
    else:
        flat = float((weights * (value - (weights * value).sum() / weights.sum()) ** 2).sum())
    return float(stats.f.sf(max(flat - least, 0) / 3 / scale, 3, freedom))


def _limits(
    problem: _Problem, best: Floats, weights: Floats, allowed: float, name: str
) -> tuple[float, float]:
    """Return where a parameter's profile leaves what is allowed; NaN where it does not."""
    place = PARAMETERS.index(name)
    in_logs = name in ("ec50", "hill")
    step = 0.1 if in_logs else 0.05 * max(float(problem.wells.value.max()), 1e-12)
    found = []
    for direction, end in ((-1, problem.low[place]), (1, problem.high[place])):
        limit = _crossing(problem, best, weights, allowed, place, direction * step, float(end))
        found.append(float(np.exp(limit)) if in_logs else limit)
    return found[0], found[1]


def _crossing(
    problem: _Problem,
    best: Floats,
    weights: Floats,
    allowed: float,
    place: int,
    step: float,
    end: float,
) -> float:
    from scipy.optimize import brentq

    state = {"at": best}

    def excess(value: float) -> float:
        state["at"] = problem.fitted(weights, state["at"], (place, value))
        return problem.squares(state["at"], weights) - allowed

    inside, before = float(best[place]), -1.0
    while True:
        outside = inside + step
        if (outside - end) * step >= 0:
            outside = end
        value = excess(outside)
        if value > 0:
            break
        if outside == end:
            # at 0 nothing is open: uptake cannot be less
            return 0.0 if end == 0 and step < 0 else np.nan
        inside, before, step = outside, value, 1.7 * step
    walk: Callable[[float], float] = excess
    return float(brentq(walk, inside, outside, rtol=1e-3)) if before <= 0 else inside

"""The curve of uptake: ``offset + plateau * (1 - exp(-rate t))`` fitted to points.

The model is that of one step into a compartment that fills up: the rate does not depend on when the
clock is started, because whatever happened before the first time is in the offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Fewest times that a curve of three parameters is fitted to.
MIN_TIMES = 4
#: Number of rates on the search grid.
RATES = 200

Floats = npt.NDArray[np.float64]


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
    1973), so that `scipy.optimize.least_squares` optimises the logarithm of the rate only. The interval is
    computed for this logarithm from its standard error and Student's t, with the residuals taken as
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
        rise = 1 - np.exp(-np.exp(log_rate) * time)
        return np.asarray(np.stack([root, rise * root], axis=1))

    def solve(log_rate: float) -> Floats:
        found: Floats = np.linalg.lstsq(design(log_rate), value * root, rcond=None)[0]
        return found

    def residual(log_rate: Floats) -> Floats:
        x = float(log_rate[0])
        return np.asarray(design(x) @ solve(x) - value * root)

    logs = log_rates(times)
    start = best_log_rate(logs, time, value[None], (root**2)[None])[0]
    inner = 1e-6 * (logs[-1] - logs[0])
    start = np.clip(start, logs[0] + inner, logs[-1] - inner)
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
    high = half * float(np.exp(reach)) if reach < 20 else np.nan
    return UptakeFit(rate, plateau, offset, half, half * float(np.exp(-reach)), high)


def _half_time(log_rate: float, plateau: float, times: Floats, flat: bool) -> tuple[float, str]:
    """Return the half-time, or why there is none."""
    span, step = times[-1] - times[0], np.diff(times).min()
    half = float(np.log(2) / np.exp(log_rate))
    if flat:
        return half, "no rise that can be told from none"
    if plateau < 0:
        return half, "it falls"
    if half > span:
        return (
            half,
            f"still rising: the half-time is longer than the {span:.3g} observed",
        )
    if half < step / 2:
        return half, f"all of the rise is within the first step of {step:.3g}"
    return half, ""


def log_rates(times: Floats) -> Floats:
    """Return the rates to try (logarithms): half-times of an eighth of a step to eight times the span."""
    span, step = times[-1] - times[0], np.diff(times).min()
    return np.asarray(np.linspace(np.log(np.log(2) / (8 * span)), np.log(np.log(2) / (step / 8)), RATES))


def best_log_rate(logs: Floats, time: Floats, curves: Floats, weights: Floats) -> Floats:
    """Return the best rate of every curve: the least squares over a grid, refined by a parabola.

    Parameters
    ----------
    logs
        The grid.
    time
        Of the columns.
    curves, weights
        One row per curve; a weight of 0 leaves a point out.
    """
    total = weights.sum(axis=1)
    y = np.where(weights > 0, curves, 0.0)
    y = np.where(weights > 0, y - ((weights * y).sum(axis=1) / total)[:, None], 0.0)
    yy = (weights * y**2).sum(axis=1)
    rises = 1 - np.exp(-np.exp(logs)[:, None] * time)
    variance = weights @ (rises**2).T - (weights @ rises.T) ** 2 / total[:, None]
    # y has no mean, so that the plateau is cov(rise, y) / var(rise)
    errors = yy[:, None] - ((weights * y) @ rises.T) ** 2 / np.maximum(variance, 1e-300)
    at = np.clip(errors.argmin(axis=1), 1, len(logs) - 2)
    row = np.arange(len(curves))
    before, here, after = (errors[row, at + d] for d in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend > 0, 0.5 * (before - after) / np.where(bend > 0, bend, 1.0), 0.0)
    found: Floats = logs[at] + np.clip(shift, -1, 1) * (logs[1] - logs[0])
    return found


def with_interval(fit: UptakeFit, time: Floats, curves: Floats, weights: Floats) -> tuple[UptakeFit, str]:
    """Return a fit with the 95 % interval of resampled curves; a limit that cannot be told is open."""
    logs = log_rates(np.unique(time))
    usable = (weights > 0).sum(axis=1) >= MIN_TIMES
    found = np.log(2) / np.exp(best_log_rate(logs, time, curves[usable], weights[usable]))
    low, high = map(float, np.percentile(found, [2.5, 97.5]))
    longest = float(time.max() - time.min())
    note = ""
    if high > 4 * longest:
        high, note = np.nan, "no upper limit can be told"
    return UptakeFit(fit.rate, fit.plateau, fit.offset, fit.half_time, low, high, fit.note), note

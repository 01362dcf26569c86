"""A linear mixed model of the cells: the group as fixed effect, the unit as random intercept.

The variances, between units and between cells, are each group's own: with common ones, a group of few
replicates that vary much borrows certainty from another that varies little, and one test in four finds an
effect where there is none. With one random intercept the model is that of a random-effects meta-analysis of
the units' means, for which the standard error of Knapp and Hartung keeps its level with few units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.uptake.unequal_variances import welch_freedom, welch_p

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.uptake.group_tests import Groups

_Row = dict[str, Any]
_Floats = npt.NDArray[np.float64]


def mixed_test(both: Groups, cells: pd.DataFrame, readout: str, *, paired: bool) -> _Row:
    """Compare two groups by a linear mixed model of their cells.

    Unpaired: unit means weighted by 1 / (variance between units + variance of cells / number of cells), the
    first by Paule and Mandel, the second pooled within the group's units; standard error by Knapp and
    Hartung; degrees of freedom by Satterthwaite, and p as of Welch's test (`welch_p`). Paired: the same of
    the units' differences, by Student's t.

    Parameters
    ----------
    both
        The units' means, which are described.
    cells
        `group` ("A" or "B"), `unit` and the readout, one row per cell.
    readout
        The column to compare, no share (see `napari_tam.uptake.fraction_tests`).
    """
    import pandas as pd
    from scipy import stats

    note = both.too_few() or both.constant()
    if note:
        return both.untested(note, paired=paired)
    values = pd.to_numeric(cells[readout].astype("Float64"), errors="coerce")
    data = pd.DataFrame(
        {
            "value": values.to_numpy(float, na_value=np.nan),
            "group": cells["group"].to_numpy(str),
            "unit": cells["unit"].to_numpy(str),
        }
    ).dropna()
    groups = [_units_of(data[data["group"] == name]) for name in ("A", "B")]
    if paired:
        found = combined(*_differences(*groups))
        effect, error, freedom = found.mean, np.sqrt(found.variance), float(found.units - 1)
    else:
        first, second = (
            combined(table["mean"].to_numpy(float), table["variance"].to_numpy(float)) for table in groups
        )
        effect, error = second.mean - first.mean, np.sqrt(first.variance + second.variance)
        a, b = ((mean.variance * mean.units, mean.units) for mean in (first, second))
    if not np.isfinite(error) or error <= 0:
        return both.untested("not tested: the mixed model finds no variance", paired=paired)
    if paired:
        p, reach = 2 * float(stats.t.sf(abs(effect) / error, freedom)), float(stats.t.ppf(0.975, freedom))
    else:
        freedom = welch_freedom(a, b)
        p, reach = welch_p(effect / error, a, b, 0.05)
    return {
        **both.described(paired=paired),
        "difference": effect,
        "test": "linear mixed model",
        "ci_low": effect - reach * error,
        "ci_high": effect + reach * error,
        "p": p,
        "note": f"{len(data)} cells, {freedom:.3g} degrees of freedom"
        + ("" if paired else " (Satterthwaite)")
        + ", standard error by Knapp and Hartung",
    }


def _units_of(cells: pd.DataFrame) -> pd.DataFrame:
    """Return mean and variance of the mean for every unit of a group; the cells' variance is pooled."""
    table = cells.groupby("unit", sort=True)["value"].agg(["mean", "count", "var"])
    freedom = (table["count"] - 1).sum()
    within = float((table["var"].fillna(0) * (table["count"] - 1)).sum() / freedom) if freedom > 0 else 0.0
    return table.assign(variance=within / table["count"])


def _differences(first: pd.DataFrame, second: pd.DataFrame) -> tuple[_Floats, _Floats]:
    shared = first.index.intersection(second.index)
    first, second = first.loc[shared], second.loc[shared]
    return (
        (second["mean"] - first["mean"]).to_numpy(float),
        (first["variance"] + second["variance"]).to_numpy(float),
    )


@dataclass(frozen=True)
class Mean:
    """A mean of units, its variance, and the number of units."""

    mean: float
    variance: float
    units: int


def combined(values: _Floats, variances: _Floats) -> Mean:
    """Return the weighted mean of units, and its variance by Knapp and Hartung (2003, Stat Med 22:2693)."""
    weights = 1 / (variances + _between(values, variances))
    mean = float((weights * values).sum() / weights.sum())
    spread = float((weights * (values - mean) ** 2).sum()) / (len(values) - 1)
    return Mean(mean, spread / float(weights.sum()), len(values))


def _between(values: _Floats, variances: _Floats) -> float:
    """Return the variance between units by Paule and Mandel (1982): that which explains their spread."""
    from scipy.optimize import brentq

    least = 1e-12 * max(float(values.var()), float((values**2).mean()) * 1e-12, 1e-300)

    def excess(between: float) -> float:
        weights = 1 / (variances + between)
        mean = (weights * values).sum() / weights.sum()
        return float((weights * (values - mean) ** 2).sum()) - (len(values) - 1)

    if excess(least) <= 0:
        return least
    return float(brentq(excess, least, 10 * float(np.ptp(values)) ** 2 + 10 * least))

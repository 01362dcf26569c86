"""Tests of two or more groups of independent units, each returning the figures of one row.

Two-sided; the 95 % interval belongs to the same model as the p value. A group of fewer than three
units is described, not tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.uptake.unequal_variances import welch_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

#: Groups with fewer units are not tested.
LEAST_UNITS = 3

_Row = dict[str, Any]


@dataclass(frozen=True)
class Groups:
    """Two groups to compare: one value per unit, the index being the unit's name."""

    name_a: str
    name_b: str
    values_a: pd.Series[float]
    values_b: pd.Series[float]
    #: Number of cells behind each value; needed for shares alone.
    cells_a: pd.Series[float] | None = None
    cells_b: pd.Series[float] | None = None

    def paired(self) -> tuple[Groups, int]:
        """Return the units that are in both groups, and how many values are left out."""
        shared = self.values_a.index.intersection(self.values_b.index)
        cells = [None if cells is None else cells[shared] for cells in (self.cells_a, self.cells_b)]
        pairs = Groups(self.name_a, self.name_b, self.values_a[shared], self.values_b[shared], *cells)
        return pairs, len(self.values_a) + len(self.values_b) - 2 * len(shared)

    def constant(self) -> str:
        """Why there is nothing to test where no group has any spread; empty if one has."""
        return _CONSTANT if _constant(self.values_a, self.values_b) else ""

    def described(self, *, paired: bool = False) -> _Row:
        """Return n, means, difference, ratio and effect size."""
        a, b = self.values_a.to_numpy(float), self.values_b.to_numpy(float)
        mean_a, mean_b = (float(x.mean()) if len(x) else np.nan for x in (a, b))
        return {
            "group_a": self.name_a,
            "group_b": self.name_b,
            "paired": paired,
            "n_a": len(a),
            "n_b": len(b),
            "mean_a": mean_a,
            "mean_b": mean_b,
            "difference": mean_b - mean_a,
            "ratio": mean_b / mean_a if mean_a > 0 and mean_b > 0 else np.nan,
            "effect_size": hedges_g(a, b, paired=paired),
        }

    def untested(self, note: str, *, paired: bool = False) -> _Row:
        """Describe the groups and say why they are not tested."""
        return {**self.described(paired=paired), "note": note}

    def too_few(self) -> str:
        """Why the groups are too small to test; empty if they are not."""
        small = [
            f"{name} {len(values)}"
            for name, values in ((self.name_a, self.values_a), (self.name_b, self.values_b))
            if len(values) < LEAST_UNITS
        ]
        return f"not tested: fewer than {LEAST_UNITS} replicates ({', '.join(small)})" if small else ""


def hedges_g(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], *, paired: bool = False) -> float:
    """Return Hedges' g of b against a; NaN where it is not defined.

    (mean_b - mean_a) / SD × (1 - 3/(4 df - 1)). Unpaired: SD pooled over both groups, df = n_a + n_b - 2
    (Hedges 1981). Paired: SD = √((s_a² + s_b²)/2), df = n - 1 (Lakens 2013, d_av).
    """
    if min(len(a), len(b)) < 2:
        return float("nan")
    variances = a.var(ddof=1), b.var(ddof=1)
    if paired:
        freedom, variance = len(a) - 1, sum(variances) / 2
    else:
        freedom = len(a) + len(b) - 2
        variance = ((len(a) - 1) * variances[0] + (len(b) - 1) * variances[1]) / freedom
    if variance <= 0 or freedom < 2:  # of one degree of freedom the correction leaves nothing
        return float("nan")
    return float((b.mean() - a.mean()) / np.sqrt(variance) * (1 - 3 / (4 * freedom - 1)))


_CONSTANT = "not tested: the replicates do not differ at all"


def welch_test(both: Groups) -> _Row:
    """Welch's t-test: the groups' variances may differ. Its p value and interval: see `welch_p`."""
    note = both.too_few() or both.constant()
    if note:
        return both.untested(note)
    a, b = (values.to_numpy(float) for values in (both.values_a, both.values_b))
    groups = (float(a.var(ddof=1)), len(a)), (float(b.var(ddof=1)), len(b))
    difference = float(b.mean() - a.mean())
    error = float(np.sqrt(sum(variance / units for variance, units in groups)))
    p, reach = welch_p(difference / error, *groups, level=0.05)
    return {
        **both.described(),
        "test": "Welch's t-test",
        "ci_low": difference - reach * error,
        "ci_high": difference + reach * error,
        "p": p,
    }


def paired_test(both: Groups) -> _Row:
    """Paired t-test over the units that are in both groups."""
    from scipy import stats

    pairs, left = both.paired()
    differences = (pairs.values_b - pairs.values_a).to_numpy(float)
    note = ""
    if len(differences) < LEAST_UNITS:
        note = f"not tested: fewer than {LEAST_UNITS} replicates ({len(differences)} in both groups)"
    elif np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        note = "not tested: all pairs differ by the same"
    if note:
        return pairs.untested(note, paired=True)
    found = stats.ttest_1samp(differences, 0.0)
    interval = found.confidence_interval(0.95)
    return {
        **pairs.described(paired=True),
        "test": "paired t-test",
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p": float(found.pvalue),
        "note": f"{left} values without a partner left out" if left else "",
    }


def tukey_test(both: Groups, groups: Sequence[pd.Series[float]], a: int, b: int) -> _Row:
    """Tukey's test of one pair among several groups: equal variances, corrected for all pairs.

    Parameters
    ----------
    both
        The pair.
    groups, a, b
        All groups, and the pair's numbers in them.
    """
    from scipy import stats

    large = [k for k, values in enumerate(groups) if len(values) >= LEAST_UNITS]
    note = both.too_few()
    if not note and _constant(*(groups[k] for k in large)):
        note = _CONSTANT
    if note:
        return both.untested(note)
    if len(large) < 3:
        return welch_test(both)
    found = stats.tukey_hsd(*(groups[k].to_numpy(float) for k in large))
    interval = found.confidence_interval(0.95)
    place = large.index(b), large.index(a)
    return {
        **both.described(),
        "test": "Tukey's HSD test",
        "ci_low": float(interval.low[place]),
        "ci_high": float(interval.high[place]),
        "p": float(found.pvalue[place]),
        "note": "interval and p hold for all pairs of groups",
    }


def anova(groups: Sequence[pd.Series[float]]) -> _Row:
    """One-way analysis of variance by Welch (variances may differ): does any group differ."""
    from statsmodels.stats.oneway import anova_oneway

    sizes = [len(values) for values in groups]
    row: _Row = {"n_a": sum(sizes)}
    small = sum(size < LEAST_UNITS for size in sizes)
    if small:
        return row | {"note": f"not tested: fewer than {LEAST_UNITS} replicates in {small} of the groups"}
    values = [group.to_numpy(float) for group in groups]
    if any(np.ptp(each) == 0 for each in values):
        return row | {"note": "not tested: a group's replicates do not differ at all"}
    found = anova_oneway(values, use_var="unequal")
    return row | {"test": "Welch's ANOVA", "p": float(found.pvalue)}


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's method (Holm 1979)."""
    # statsmodels' multipletests collects all garbage at each call, which takes half a second
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(np.asarray(values, float)[order] * factors), 1)
    return [float(value) for value in adjusted[np.argsort(order, kind="stable")]]


def _constant(*groups: pd.Series[float]) -> bool:
    """Whether no group has any spread, except for rounding."""
    values = [group.to_numpy(float) for group in groups]
    top = max(float(np.abs(each).max()) for each in values)
    return all(float(np.ptp(each)) <= 1e-12 * top for each in values)

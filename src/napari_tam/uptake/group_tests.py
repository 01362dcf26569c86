"""Tests of two or more groups of independent units, each returning the figures of one row.

Two-sided; the 95 % interval belongs to the same model as the p value. A group of fewer than three
units is described, not tested.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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
    if variance <= 0:
        return float("nan")
    return float((b.mean() - a.mean()) / np.sqrt(variance) * (1 - 3 / (4 * freedom - 1)))


_CONSTANT = "not tested: the replicates do not differ at all"


def welch_test(both: Groups) -> _Row:
    """Welch's t-test: the groups' variances may differ."""
    from scipy import stats

    note = both.too_few()
    if not note and _constant(both.values_a, both.values_b):
        note = _CONSTANT
    if note:
        return both.untested(note)
    with warnings.catch_warnings():
        # about one group without spread, e.g. 100 % positive everywhere: Welch's test can do without
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(both.values_b.to_numpy(float), both.values_a.to_numpy(float), equal_var=False)
        interval = found.confidence_interval(0.95)
    return {
        **both.described(),
        "test": "Welch's t-test",
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p": float(found.pvalue),
    }


def paired_test(both: Groups) -> _Row:
    """Paired t-test over the units that are in both groups."""
    from scipy import stats

    shared = both.values_a.index.intersection(both.values_b.index)
    pairs = Groups(both.name_a, both.name_b, both.values_a[shared], both.values_b[shared])
    differences = (pairs.values_b - pairs.values_a).to_numpy(float)
    note = ""
    if len(shared) < LEAST_UNITS:
        note = f"not tested: fewer than {LEAST_UNITS} replicates ({len(shared)} in both groups)"
    elif np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        note = "not tested: all pairs differ by the same"
    if note:
        return pairs.untested(note, paired=True)
    found = stats.ttest_1samp(differences, 0.0)
    interval = found.confidence_interval(0.95)
    left = len(both.values_a) + len(both.values_b) - 2 * len(shared)
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
        "note": "interval and p hold for all pairs together",
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


def mixed_test(both: Groups, cells: pd.DataFrame, readout: str, *, paired: bool) -> _Row:
    """Linear mixed model of the cells: the group as fixed effect, the unit as random intercept.

    Paired: the unit's effect on the group (unit × group) is random, too. The effect is compared with
    a t distribution of n_a + n_b - 2 (paired: n - 1) degrees of freedom, as the units are what is
    repeated; the normal distribution of large samples would find too many effects.

    Parameters
    ----------
    both
        The units' means, which are described.
    cells
        `group` ("A" or "B"), `unit` and the readout, one row per cell.
    readout
        The column to compare; a share is modelled by its cells' 0 and 1.
    """
    import pandas as pd
    import statsmodels.formula.api as formulas
    from scipy import stats

    note = both.too_few()
    if not note and _constant(both.values_a, both.values_b):
        note = _CONSTANT
    if note:
        return both.untested(note, paired=paired)
    column = "positive" if readout == "positive_fraction" else readout
    data = pd.DataFrame(
        {
            "value": pd.to_numeric(cells[column].astype("Float64"), errors="coerce").to_numpy(
                float, na_value=np.nan
            ),
            "b": (cells["group"] == "B").to_numpy(float),
            "unit": cells["unit"].to_numpy(str),
            "well": (cells["unit"] + "/" + cells["group"]).to_numpy(str),
        }
    ).dropna()
    scale = float(data["value"].std()) or 1.0
    data["value"] /= scale
    try:
        with warnings.catch_warnings():
            # about variances at zero: checked below by the figures themselves
            warnings.simplefilter("ignore")
            if paired:
                model = formulas.mixedlm(
                    "value ~ b", data, groups="unit", re_formula="1", vc_formula={"well": "0 + C(well)"}
                )
            else:
                model = formulas.mixedlm("value ~ b", data, groups="well")
            # Powell's method needs no gradient, which misleads the others where a variance is near zero
            found = model.fit(reml=True, method=["powell"])
    except (np.linalg.LinAlgError, ValueError) as error:
        return both.untested(f"not tested: the mixed model cannot be fitted ({error})", paired=paired)
    sd = float(found.bse["b"])
    if not found.converged or not np.isfinite(sd) or sd <= 0:
        return both.untested("not tested: the mixed model did not converge", paired=paired)
    effect = float(found.params["b"])
    freedom = len(both.values_a) - 1 if paired else len(both.values_a) + len(both.values_b) - 2
    reach = float(stats.t.ppf(0.975, freedom)) * sd
    return {
        **both.described(paired=paired),
        "difference": effect * scale,
        "test": "linear mixed model",
        "ci_low": (effect - reach) * scale,
        "ci_high": (effect + reach) * scale,
        "p": float(2 * stats.t.sf(abs(effect) / sd, freedom)),
        "note": f"{len(data)} cells, {freedom} degrees of freedom",
    }


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

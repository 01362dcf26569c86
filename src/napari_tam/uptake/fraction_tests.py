"""Tests of shares of cells: counts in replicates, whose spread is never less than that of counting.

Where nearly all cells are positive, or a replicate has few cells, the replicates of a group may all be 1.0
by chance. A t-test takes that for certainty: a quarter of its findings are then wrong. Here a group's
variance is at least that which counting gives to the share of all cells, and the statistic is compared with
what it is in experiments without effect that are drawn with the same numbers of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.uptake.group_tests import LEAST_UNITS, Groups
from napari_tam.uptake.unequal_variances import welch_p

if TYPE_CHECKING:
    from collections.abc import Sequence

_Row = dict[str, Any]
_Floats = npt.NDArray[np.float64]

#: Experiments without effect that are drawn; so many more where p may matter (below `_MAY_MATTER`).
DRAWN, DRAWN_MORE, _MAY_MATTER = 999, 9999, 0.15
#: The draws are the same in every run.
_SEED = 20_260_101
#: Below this p of an F test of the groups' variances (each relative to what its cells lead to expect), it is
#: not relied on that they are the same. High, as three replicates say little about a variance.
_VARIANCES_DIFFER = 0.85
_SAME = "not tested: all cells of all replicates are the same (all positive, or all negative)"


@dataclass(frozen=True)
class _Share:
    """The shares of one or many experiments: the last axis is the replicates."""

    values: _Floats
    cells: _Floats

    @property
    def units(self) -> int:
        return int(self.values.shape[-1])

    @property
    def of_counting(self) -> float:
        """Variance of a replicate by counting alone, relative to share × (1 - share)."""
        return float((1 / self.cells).mean())

    def variance(self, binomial: Any) -> Any:
        """Variance of a replicate: between replicates, and at least that of counting."""
        return np.maximum(self.values.var(axis=-1, ddof=1), binomial * self.of_counting)


def _pooled(*groups: _Share) -> Any:
    """Return share × (1 - share) of all cells together."""
    positive = sum((group.values * group.cells).sum(axis=-1) for group in groups)
    share = positive / sum(group.cells.sum() for group in groups)
    return share * (1 - share)


def fraction_test(both: Groups, *, pairs: int = 1) -> _Row:
    """Compare the shares of two groups of independent replicates.

    The statistic is Welch's, with the variance of counting as the least one. Its p value is the share of
    beta-binomial experiments without effect with a larger one (parametric bootstrap): the same cells, the
    share of all cells, and for each group a spread between replicates that is drawn from what the measured
    one, pooled over the groups, leaves possible (its chi-squared distribution). Where the groups' spreads
    may differ, the larger one of this p value and that of `welch_p` is given.

    Parameters
    ----------
    both
        The shares, and the number of cells behind each (`cells_a`, `cells_b`).
    pairs
        So many pairs are compared: interval and p hold for all of them (Bonferroni).
    """
    from scipy import stats

    note = both.too_few()
    if note:
        return both.untested(note)
    a, b = (_Share(values, cells) for values, cells in _arrays(both))
    binomial = float(_pooled(a, b))
    if binomial <= 1e-12:
        return both.untested(_SAME)
    found, error = _statistic(a, b)
    for drawn in (DRAWN, DRAWN_MORE):
        without = _draw(a, b, binomial, drawn)
        p = (1 + float((without >= float(found) * (1 - 1e-9)).sum())) / (drawn + 1)
        if p > _MAY_MATTER:
            break
    level = 0.05 / pairs
    reach = float(np.quantile(without, 1 - level, method="higher"))
    note = f"{int(a.cells.sum() + b.cells.sum())} cells; {drawn:,} drawn experiments without effect"
    variances = float(a.variance(binomial)), float(b.variance(binomial))
    f_test = stats.f(a.units - 1, b.units - 1)
    between = _beyond_counting(a, b, binomial)
    due = between + binomial * a.of_counting, between + binomial * b.of_counting
    ratio = variances[0] / due[0] * due[1] / variances[1]
    if 2 * min(f_test.cdf(ratio), f_test.sf(ratio)) < _VARIANCES_DIFFER:
        by_welch = welch_p(float(found), (variances[0], a.units), (variances[1], b.units), level)
        p, reach = max(p, by_welch[0]), max(reach, by_welch[1])
        note += "; the groups vary differently: at least Welch's p"
    described = both.described()
    return {
        **described,
        "test": "beta-binomial test of shares",
        "ci_low": max(described["difference"] - reach * float(error), -1.0),
        "ci_high": min(described["difference"] + reach * float(error), 1.0),
        "p": min(p * pairs, 1.0),
        "note": note + (f"; for {pairs} pairs together" if pairs > 1 else ""),
    }


def paired_fraction_test(both: Groups) -> _Row:
    """Paired t-test of shares; the variance of the differences is at least that of counting."""
    from scipy import stats

    pairs, left = both.paired()
    if len(pairs.values_a) < LEAST_UNITS:
        short = f"not tested: fewer than {LEAST_UNITS} replicates ({len(pairs.values_a)} in both groups)"
        return pairs.untested(short, paired=True)
    a, b = (_Share(values, cells) for values, cells in _arrays(pairs))
    binomial = float(_pooled(a, b))
    if binomial <= 1e-12:
        return pairs.untested(_SAME, paired=True)
    differences = b.values - a.values
    variance = max(differences.var(ddof=1), binomial * (a.of_counting + b.of_counting))
    error = float(np.sqrt(variance / a.units))
    mean = float(differences.mean())
    reach = float(stats.t.ppf(0.975, a.units - 1)) * error
    return {
        **pairs.described(paired=True),
        "test": "paired t-test of shares",
        "ci_low": max(mean - reach, -1.0),
        "ci_high": min(mean + reach, 1.0),
        "p": 2 * float(stats.t.sf(abs(mean) / error, a.units - 1)),
        "note": f"{left} values without a partner left out" if left else "",
    }


def fraction_anova(groups: Sequence[tuple[_Floats, _Floats]]) -> _Row:
    """Welch's analysis of variance of shares, the variance of counting being the least one.

    Parameters
    ----------
    groups
        For every group the shares of its replicates, and their numbers of cells.
    """
    from statsmodels.stats.oneway import anova_generic

    row: _Row = {"n_a": sum(len(values) for values, _ in groups)}
    small = sum(len(values) < LEAST_UNITS for values, _ in groups)
    if small:
        return row | {"note": f"not tested: fewer than {LEAST_UNITS} replicates in {small} of the groups"}
    shares = [_Share(values, cells) for values, cells in groups]
    binomial = float(_pooled(*shares))
    if binomial <= 1e-12:
        return row | {"note": _SAME}
    found = anova_generic(
        np.array([share.values.mean() for share in shares]),
        np.array([share.variance(binomial) for share in shares]),
        np.array([share.units for share in shares]),
        use_var="unequal",
    )
    return row | {"test": "Welch's ANOVA of shares", "p": float(found.pvalue)}


def _arrays(both: Groups) -> list[tuple[_Floats, _Floats]]:
    assert both.cells_a is not None
    assert both.cells_b is not None
    return [
        (values.to_numpy(np.float64), cells[values.index].to_numpy(np.float64))
        for values, cells in ((both.values_a, both.cells_a), (both.values_b, both.cells_b))
    ]


def _statistic(a: _Share, b: _Share) -> tuple[Any, Any]:
    """Return |difference| / standard error and that error, for one or many experiments."""
    binomial = _pooled(a, b)
    error = np.sqrt(a.variance(binomial) / a.units + b.variance(binomial) / b.units)
    difference = np.abs(a.values.mean(axis=-1) - b.values.mean(axis=-1))
    return np.divide(difference, error, out=np.zeros_like(error), where=error > 0), error


def _beyond_counting(a: _Share, b: _Share, binomial: float) -> float:
    """Return the variance between replicates, pooled over the groups, without that of counting."""
    own = sum((x.units - 1) * (float(x.values.var(ddof=1)) - binomial * x.of_counting) for x in (a, b))
    return max(own / (a.units + b.units - 2), 0.0)


def _draw(a: _Share, b: _Share, binomial: float, experiments: int) -> _Floats:
    """Return the statistic of experiments without effect."""
    rng = np.random.default_rng(_SEED)
    freedom = a.units + b.units - 2
    between = _beyond_counting(a, b, binomial)
    positive = float((a.values * a.cells).sum() + (b.values * b.cells).sum())
    share = positive / float(a.cells.sum() + b.cells.sum())
    drawn = []
    for group in (a, b):
        counting = group.of_counting
        # of the pooled variance only its chi-squared distribution is known, and the groups may differ;
        # never less than was measured, as that may lie at its lower limit
        scale = np.maximum(freedom / rng.chisquare(freedom, experiments), 1.0)
        total = (between + binomial * counting) * scale
        correlation = np.clip((total / binomial - counting) / max(1 - counting, 1e-9), 1e-6, 0.9)[:, None]
        size = 1 / correlation - 1
        cells = np.maximum(np.rint(group.cells), 1).astype(int)
        chance = rng.beta(share * size, (1 - share) * size, (experiments, group.units))
        drawn.append(_Share(rng.binomial(cells, chance) / cells, cells.astype(np.float64)))
    statistic: _Floats = _statistic(*drawn)[0]
    return statistic

"""Welch's t for two means of few units whose variances may differ, with a level that holds whatever they are.

Welch's t distribution is an approximation: with three units against eight it finds up to 6 % where 5 % are
due (7 % with Satterthwaite's degrees of freedom as they are), most where the smaller group varies more. How
often it finds what at a given ratio of variances is one integral; its largest value over all ratios is the p
value here, as in exact tests of tables that have an unknown share (Barnard 1947, Biometrika 34:123).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

#: Nodes of the integral, and ratios of variances.
_NODES, _RATIOS = 240, 49
#: The part of the first group in the variance of the difference, as log odds: from nothing to all.
_WIDEST = 8.0
#: Below this the p value is no more told from zero.
_LEAST = 1e-12


def welch_freedom(a: tuple[Any, int], b: tuple[Any, int]) -> Any:
    """Return the degrees of freedom of a difference of two means, by Satterthwaite.

    At most those that equal variances would give: where the smaller group happens to vary little, the formula
    counts the other one's units for it.

    Parameters
    ----------
    a, b
        Variance of a unit (or those of many experiments), and number of units, of each group.
    """
    first, second = a[0] / a[1], b[0] / b[1]
    return _freedom(first / (first + second), a[1], b[1])[()]


def welch_reach(a: tuple[Any, int], b: tuple[Any, int], level: float) -> Any:
    """Return the t that the interval of a level reaches to (beyond it p is below the level), as `welch_p`."""
    from scipy import special

    return -special.stdtrit(welch_freedom(a, b), _nominal(level, a[1], b[1]) / 2)


def welch_p(
    statistic: float, a: tuple[float, int], b: tuple[float, int], level: float
) -> tuple[float, float]:
    """Return the two-sided p value of Welch's t, and the t that the interval reaches to.

    Of normally distributed units p is below a level in at most that share of experiments without effect,
    whatever the variances of the groups.

    Parameters
    ----------
    statistic
        |difference of means| / its standard error.
    a, b
        Variance of a unit, and number of units (2 or more), of each group.
    level
        1 - the level of confidence of the interval: 0.05.
    """
    from scipy import special

    nominal = 2 * float(special.stdtr(welch_freedom(a, b), -abs(statistic)))
    p = _largest(nominal, a[1], b[1]) if nominal > _LEAST else nominal
    return p, float(welch_reach(a, b, level))


def _freedom(part: Any, n_a: int, n_b: int) -> _Floats:
    """Degrees of freedom where the first group has this part of the variance of the difference."""
    equal = n_b / (n_a + n_b)

    def by_satterthwaite(share: Any) -> Any:
        return 1 / (share**2 / (n_a - 1) + (1 - share) ** 2 / (n_b - 1))

    return np.asarray(np.minimum(by_satterthwaite(part), by_satterthwaite(equal)), np.float64)


def _largest(nominal: float, n_a: int, n_b: int) -> float:
    """Return how often Welch's p is at most `nominal` without effect, at the worst ratio of variances.

    With the ratio given, the variances measured differ from the true ones by independent chi-squared factors;
    the share of the first in their sum is beta-distributed and independent of that sum, so that the
    statistic, given the share, is a multiple of Student's t with n_a + n_b - 2 degrees of freedom.
    """
    from scipy import special

    f_a, f_b = n_a - 1, n_b - 1
    true = special.expit(np.linspace(-_WIDEST, _WIDEST, _RATIOS))[:, None]
    angle = (np.arange(_NODES) + 0.5) / _NODES * (np.pi / 2)
    share = np.sin(angle) ** 2
    density = (f_a - 1) * np.log(np.sin(angle)) + (f_b - 1) * np.log(np.cos(angle))
    weight = np.exp(density - density.max())
    first, second = true * share / f_a, (1 - true) * (1 - share) / f_b
    freedom = _freedom(first / (first + second), n_a, n_b)
    reach = -special.stdtrit(freedom, nominal / 2) * np.sqrt((f_a + f_b) * (first + second))
    found = 2 * special.stdtr(f_a + f_b, -reach) @ (weight / weight.sum())
    return float(max(found.max(), nominal))


@lru_cache(maxsize=1024)
def _nominal(level: float, n_a: int, n_b: int) -> float:
    """Return the p value of Welch's t distribution that is found with this frequency at most."""
    from scipy.optimize import brentq

    def excess(log_nominal: float) -> float:
        return _largest(float(np.exp(log_nominal)), n_a, n_b) - level

    return float(np.exp(brentq(excess, np.log(level) - 6, np.log(level), xtol=1e-6)))

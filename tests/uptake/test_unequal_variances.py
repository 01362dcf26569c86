"""Welch's t with few units: the level holds at every ratio of variances, and p and interval agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_tam.uptake.unequal_variances import welch_freedom, welch_p

GROUPS = [(3, 3), (3, 8), (4, 4), (4, 30)]


def nominal(t: np.ndarray, a: tuple[np.ndarray, int], b: tuple[np.ndarray, int]) -> np.ndarray:
    """Return p by Welch's t distribution, its degrees of freedom being those of `welch_freedom`."""
    freedom = [welch_freedom((x, a[1]), (y, b[1])) for x, y in zip(a[0], b[0], strict=True)]
    return 2 * stats.t.sf(t, freedom)


@pytest.mark.parametrize(("n_a", "n_b"), GROUPS)
def test_normal_units_keep_the_level_at_every_ratio_and_use_it_up_at_one(n_a: int, n_b: int) -> None:
    rng, number = np.random.default_rng(3), 20_000
    # the t of the interval at equal variances tells which nominal p the level of 5 % has
    freedom = welch_freedom((1.0, n_a), (1.0, n_b))
    limit = 2 * stats.t.sf(welch_p(0.0, (1.0, n_a), (1.0, n_b), 0.05)[1], freedom)
    found = []
    for ratio in (0.03, 0.3, 1.0, 3.0, 30.0):
        a, b = rng.normal(0, ratio, (number, n_a)), rng.normal(0, 1, (number, n_b))
        variances = (a.var(axis=1, ddof=1), n_a), (b.var(axis=1, ddof=1), n_b)
        error = np.sqrt(sum(variance / units for variance, units in variances))
        p = nominal(np.abs(a.mean(axis=1) - b.mean(axis=1)) / error, *variances)
        found.append(float((p < limit).mean()))
    assert max(found) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / number)
    assert max(found) > 0.04


@settings(deadline=None, max_examples=40)
@given(
    statistic=st.floats(0.01, 40),
    ratio=st.floats(1e-4, 1e4),
    n_a=st.integers(2, 40),
    n_b=st.integers(2, 40),
    level=st.sampled_from([0.05, 0.01]),
)
def test_p_is_never_below_welchs_and_agrees_with_the_interval(
    statistic: float, ratio: float, n_a: int, n_b: int, level: float
) -> None:
    a, b = (ratio, n_a), (1.0, n_b)
    p, reach = welch_p(statistic, a, b, level)
    assert 2 * stats.t.sf(statistic, welch_freedom(a, b)) <= p * (1 + 1e-9) <= 1 + 1e-9
    if abs(statistic - reach) > 1e-3 * reach:
        assert (p < level) == (statistic > reach)
    assert welch_p(-statistic, b, a, level) == pytest.approx((p, reach))
    assert welch_p(1.1 * statistic, a, b, level)[0] <= p


def test_many_units_are_students_t_test() -> None:
    p, reach = welch_p(2.1, (1.0, 400), (1.0, 400), 0.05)
    assert p == pytest.approx(2 * stats.t.sf(2.1, 798), rel=1e-3)
    assert reach == pytest.approx(stats.t.ppf(0.975, 798), rel=1e-3)

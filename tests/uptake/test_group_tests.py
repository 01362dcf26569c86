"""Tests of group means against textbook figures and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from napari_tam.uptake.group_tests import (
    Groups,
    anova,
    hedges_g,
    holm,
    mixed_test,
    paired_test,
    tukey_test,
    welch_test,
)


def units(*values: float) -> pd.Series:
    return pd.Series(values, index=[f"r{k}" for k in range(len(values))], dtype=float)


A, B = units(1.0, 1.2, 0.9, 1.1), units(1.6, 1.4, 1.9, 1.5)


def test_welch_gives_p_interval_and_effect() -> None:
    row = welch_test(Groups("a", "b", A, B))
    expected = stats.ttest_ind(B, A, equal_var=False)
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert row["difference"] == pytest.approx(0.55)
    assert row["ratio"] == pytest.approx(1.6 / 1.05)
    assert (row["n_a"], row["n_b"], row["paired"]) == (4, 4, False)


def test_hedges_g_is_the_textbook_one() -> None:
    pooled = np.sqrt((A.var() + B.var()) / 2)
    assert hedges_g(A.to_numpy(), B.to_numpy()) == pytest.approx(0.55 / pooled * (1 - 3 / 23))
    assert np.isnan(hedges_g(np.array([1.0]), B.to_numpy()))
    assert np.isnan(hedges_g(np.ones(3), np.ones(3)))


def test_pairs_remove_what_donors_differ_by() -> None:
    shift = units(10.0, 20.0, 30.0, 40.0)
    row = paired_test(Groups("a", "b", A + shift, B + shift))
    assert row["p"] == pytest.approx(stats.ttest_rel(B, A).pvalue)
    assert row["p"] < 0.05 < welch_test(Groups("a", "b", A + shift, B + shift))["p"]
    left = paired_test(Groups("a", "b", A, B[1:]))
    assert (left["n_a"], left["note"]) == (3, "1 values without a partner left out")


@pytest.mark.parametrize("test", [welch_test, paired_test])
def test_fewer_than_three_replicates_are_described_and_not_tested(test) -> None:
    row = test(Groups("a", "b", A[:2], B[:2]))
    assert "fewer than 3 replicates" in row["note"]
    assert "p" not in row
    assert row["mean_a"] == pytest.approx(1.1)


def test_values_without_any_spread_are_not_tested() -> None:
    ones = units(1, 1, 1)
    assert "do not differ" in welch_test(Groups("a", "b", ones, ones * 2))["note"]
    assert "differ by the same" in paired_test(Groups("a", "b", ones, ones * 2))["note"]
    assert "p" in welch_test(Groups("a", "b", ones, B))


def test_several_groups() -> None:
    groups = [A, B, A + 0.05]
    row = anova(groups)
    assert row["p"] < 0.05
    assert row["n_a"] == 12
    assert "not tested" in anova([A, B[:2], A])["note"]
    pair = tukey_test(Groups("a", "b", A, B), groups, 0, 1)
    expected = stats.tukey_hsd(*groups)
    assert pair["p"] == pytest.approx(expected.pvalue[0, 1])
    assert pair["ci_low"] == pytest.approx(expected.confidence_interval().low[1, 0])
    assert pair["ci_low"] < pair["difference"] < pair["ci_high"]


def test_holm_is_monotonous_and_at_most_one() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]


@pytest.mark.parametrize("paired", [False, True])
def test_a_balanced_mixed_model_is_the_t_test_of_the_means(paired: bool) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"unit": f"r{k}", "group": group, "x": value}
        for k in range(4)
        for group, mean in (("A", 5 + k), ("B", 7 + k))
        for value in mean + rng.normal(0, 0.5) + rng.normal(0, 1, 30)
    ]
    cells = pd.DataFrame(rows)
    means = cells.groupby(["group", "unit"])["x"].mean()
    both = Groups("a", "b", means["A"], means["B"])
    row = mixed_test(both, cells, "x", paired=paired)
    simple = paired_test(both)["p"] if paired else stats.ttest_ind(means["B"], means["A"]).pvalue
    assert row["test"] == "linear mixed model"
    assert row["p"] == pytest.approx(simple, rel=0.05)
    assert row["difference"] == pytest.approx(both.described()["difference"], rel=1e-3)

"""Tests of group means against textbook figures and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_tam.uptake.fraction_tests import fraction_anova, fraction_test, paired_fraction_test
from napari_tam.uptake.group_tests import (
    Groups,
    anova,
    hedges_g,
    holm,
    paired_test,
    tukey_test,
    welch_test,
)
from napari_tam.uptake.mixed_model import mixed_test


def units(*values: float) -> pd.Series:
    return pd.Series(values, index=[f"r{k}" for k in range(len(values))], dtype=float)


A, B = units(1.0, 1.2, 0.9, 1.1), units(1.6, 1.4, 1.9, 1.5)


def test_welch_gives_p_interval_and_effect() -> None:
    row = welch_test(Groups("a", "b", A, B))
    expected = stats.ttest_ind(B, A, equal_var=False)
    # of so few units Welch's own p is too low where the variances differ
    assert expected.pvalue < row["p"] < 2 * expected.pvalue
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert row["difference"] == pytest.approx(0.55)
    assert row["ratio"] == pytest.approx(1.6 / 1.05)
    assert (row["n_a"], row["n_b"], row["paired"]) == (4, 4, False)


def test_hedges_g_is_the_textbook_one() -> None:
    pooled = np.sqrt((A.var() + B.var()) / 2)
    assert hedges_g(A.to_numpy(), B.to_numpy()) == pytest.approx(0.55 / pooled * (1 - 3 / 23))
    assert np.isnan(hedges_g(np.array([1.0]), B.to_numpy()))
    assert np.isnan(hedges_g(np.ones(3), np.ones(3)))
    two = np.array([1.0, 2.0]), np.array([4.0, 6.0])
    assert np.isnan(hedges_g(*two, paired=True))  # not "no effect"
    assert hedges_g(*two) > 0


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


def shares(*values: float, cells: int | tuple[int, ...] = 100) -> tuple[pd.Series, pd.Series]:
    found = units(*values)
    many = np.broadcast_to(np.asarray(cells, float), len(found))
    return found, pd.Series(many, index=found.index)


def compared(first: tuple[pd.Series, pd.Series], second: tuple[pd.Series, pd.Series]) -> Groups:
    return Groups("a", "b", first[0], second[0], first[1], second[1])


def false_positives(test, draw, experiments: int) -> float:
    """Return how often a test finds an effect where there is none."""
    rng = np.random.default_rng(1)
    return float(np.mean([test(draw(rng)).get("p", 1.0) < 0.05 for _ in range(experiments)]))


@pytest.mark.parametrize(
    ("share", "replicates", "cells"),
    [
        (0.98, (3, 8), ((5, 11), (60, 140))),
        (0.98, (3, 3), ((60, 140), (60, 140))),
        (0.02, (3, 8), ((5, 11), (60, 140))),
        (0.5, (3, 8), ((5, 11), (60, 140))),
    ],
)
def test_shares_of_few_cells_are_not_taken_for_certain(share, replicates, cells) -> None:
    def draw(rng: np.random.Generator) -> Groups:
        groups = []
        for n, (low, high) in zip(replicates, cells, strict=True):
            many = rng.integers(low, high + 1, n)
            chance = rng.beta(share * 80, (1 - share) * 80, n)
            groups.append(shares(*(rng.binomial(many, chance) / many), cells=tuple(many)))
        return compared(*groups)

    # a level of 5 % gives more than 22 of 200 once in 2,000 times
    assert false_positives(fraction_test, draw, 200) <= 0.11


def test_an_effect_on_shares_is_found_and_swapping_the_groups_turns_it_round() -> None:
    low, high = shares(0.5, 0.45, 0.55, 0.5), shares(0.8, 0.85, 0.75, 0.8)
    row, swapped = fraction_test(compared(low, high)), fraction_test(compared(high, low))
    assert row["p"] < 0.01
    assert 0 < row["ci_low"] < row["difference"] < row["ci_high"] <= 1
    assert swapped["difference"] == pytest.approx(-row["difference"])
    assert swapped["p"] == pytest.approx(row["p"], abs=0.002)
    assert fraction_test(compared(low, high), pairs=3)["p"] == pytest.approx(3 * row["p"])


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_test_of_shares_always_answers_with_a_p_or_a_reason(data) -> None:
    def group() -> tuple[pd.Series, pd.Series]:
        many = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
        return shares(*(data.draw(st.integers(0, n)) / n for n in many), cells=tuple(many))

    both = compared(group(), group())
    for row in (fraction_test(both), paired_fraction_test(both)):
        assert ("p" in row) != ("not tested" in row["note"])
        if "p" in row:
            assert 0 < row["p"] <= 1
            assert -1 <= row["ci_low"] <= row["difference"] + 1e-12
            assert row["difference"] - 1e-12 <= row["ci_high"] <= 1


def test_shares_that_are_all_the_same_are_not_tested() -> None:
    ones = shares(1, 1, 1, cells=8)
    assert "all positive, or all negative" in fraction_test(compared(ones, ones))["note"]
    assert "all positive, or all negative" in paired_fraction_test(compared(ones, ones))["note"]
    # one group without any spread is no certainty
    assert fraction_test(compared(ones, shares(0.97, 0.98, 0.99)))["p"] > 0.2
    several = [tuple(part.to_numpy() for part in group) for group in (ones, ones, ones)]
    assert "not tested" in fraction_anova(several)["note"]
    other = tuple(part.to_numpy() for part in shares(0.4, 0.5, 0.6))
    assert fraction_anova([*several, other])["p"] < 0.05


def test_paired_shares_are_never_surer_than_counting_allows() -> None:
    before, after = shares(0.9, 0.8, 0.7, cells=10), shares(1.0, 0.9, 0.801, cells=10)
    row = paired_fraction_test(compared(before, after))
    assert row["p"] > 0.1 > paired_test(Groups("a", "b", before[0], after[0]))["p"]


@pytest.mark.parametrize("spread", [(0.4, 0.05), (0.12, 0.12)])
def test_few_replicates_against_many_keep_the_level(spread) -> None:
    def draw(rng: np.random.Generator) -> Groups:
        return Groups(
            "a", "b", *(units(*np.exp(rng.normal(0, s, n))) for s, n in zip(spread, (3, 8), strict=True))
        )

    assert false_positives(welch_test, draw, 400) <= 0.09

    def mixed(both: Groups) -> dict:
        rng = np.random.default_rng(int(1e6 * both.values_a.iloc[0]))
        groups = (("A", both.values_a), ("B", both.values_b))
        cells = [
            pd.DataFrame({"group": name, "unit": unit, "x": rng.normal(level, 0.4, 30)})
            for name, values in groups
            for unit, level in values.items()
        ]
        return mixed_test(both, pd.concat(cells), "x", paired=False)

    assert false_positives(mixed, draw, 150) <= 0.12


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
    simple = paired_test(both)["p"] if paired else welch_test(both)["p"]
    assert row["test"] == "linear mixed model"
    assert row["p"] == pytest.approx(simple, rel=0.05)
    assert row["difference"] == pytest.approx(both.described()["difference"], rel=1e-3)

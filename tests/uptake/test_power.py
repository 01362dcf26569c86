"""Power from a pilot, against experiments that are really drawn and tested."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_tam.errors import InputError
from napari_tam.settings import Settings
from napari_tam.uptake.group_tests import Groups, welch_test
from napari_tam.uptake.power import Spread, enough, power, power_table, spread_of

SETTINGS = Settings(comparison_min_cells=2)


def pilot(
    rng: np.random.Generator,
    replicates: int,
    cells: int,
    between: float = 0.2,
    conditions: tuple[float, ...] = (1.0, 1.0),
    donors: float = 0.0,
) -> pd.DataFrame:
    """Return cells of conditions with a known relative spread between replicates and cells (0.5)."""
    levels = np.exp(rng.normal(0, donors, replicates)) if donors else np.ones(replicates)
    parts = []
    for k, level in enumerate(conditions):
        for unit in range(replicates):
            sd = np.sqrt(np.log1p(between**2))
            mean = 10 * level * levels[unit] * np.exp(rng.normal(-(sd**2) / 2, sd))
            shape = 1 / 0.5**2
            light = rng.gamma(shape, mean / shape, cells)
            parts.append(pd.DataFrame({"light": light, "condition": f"c{k}", "replicate": str(unit + 1)}))
    table = pd.concat(parts, ignore_index=True)
    table["positive"] = pd.array(table["light"] > 10, dtype="boolean")
    table["donor"] = table["replicate"] if donors else ""
    return table.assign(dose=np.nan, time=np.nan, plate="", well="", control_role="")


def test_the_spread_of_a_large_pilot_is_the_true_one() -> None:
    found = spread_of(pilot(np.random.default_rng(1), 150, 30), "light", SETTINGS)
    assert found.between == pytest.approx(0.2, rel=0.12)
    assert found.within == pytest.approx(0.5, rel=0.06)
    assert found.freedom == 298 and found.cells == 30 and not found.paired


def test_pairs_of_donors_count_without_their_level() -> None:
    cells = pilot(np.random.default_rng(2), 120, 40, between=0.1, donors=0.5)
    found = spread_of(cells, "light", SETTINGS)
    assert found.paired and found.freedom == 119
    # a donor's own level scales both of its conditions
    assert found.between < 0.2
    alone = spread_of(cells, "light", SETTINGS.updated(comparison_paired_by="none"))
    assert alone.between > 0.4


@pytest.mark.parametrize(("replicates", "cells", "effect"), [(3, 20, 1.8), (5, 60, 1.4)])
def test_power_is_the_share_of_experiments_that_find_the_effect(
    replicates: int, cells: int, effect: float
) -> None:
    stated = power(Spread(0.2, 0.5, 100, cells), effect, replicates, cells)
    rng = np.random.default_rng(replicates)
    found = 0
    for _ in range(300):
        table = pilot(rng, replicates, cells, conditions=(1.0, effect))
        means = table.groupby(["condition", "replicate"])["light"].mean()
        found += welch_test(Groups("a", "b", means["c0"], means["c1"]))["p"] < 0.05
    # three standard errors of 300 experiments
    assert stated == pytest.approx(found / 300, abs=0.087)


def test_power_grows_with_replicates_cells_and_effect_and_falls_with_spread() -> None:
    base = Spread(0.2, 0.8, 6, 30)
    by_replicates = [power(base, 1.5, n, 30) for n in (3, 5, 8, 15)]
    assert by_replicates == sorted(by_replicates) and by_replicates[-1] > 0.9
    assert power(base, 1.5, 4, 10) < power(base, 1.5, 4, 100)
    assert power(base, 1.2, 5, 30) < power(base, 1.5, 5, 30) < power(base, 2.5, 5, 30)
    assert power(base, 1.5, 5, 30) == pytest.approx(power(base, 1 / 1.5, 5, 30), abs=0.05)
    assert power(replace(base, between=0.5), 1.5, 5, 30) < power(base, 1.5, 5, 30)
    assert power(base, 1.5, 2, 30) == 0
    assert power(base, 1.0001, 5, 30) == pytest.approx(0.045, abs=0.02)
    assert base.upper > base.between and replace(base, freedom=200).upper < base.upper


def test_the_table_says_how_many_are_enough() -> None:
    cells = pilot(np.random.default_rng(4), 5, 40)
    table, spreads = power_table(cells, ["light"], [1.5, 3.0], SETTINGS)
    assert spreads["light"].cells == 40
    assert (table["power_low"] <= table["power"] + 0.03).all()
    small, large = (enough(table[(table["effect"] == e) & (table["cells"] == 40)], 0.8) for e in (1.5, 3.0))
    assert small is not None and large is not None and 3 <= large <= small
    assert enough(table, 1.01) is None


def test_shares_are_planned_with_their_own_test() -> None:
    cells = pilot(np.random.default_rng(5), 6, 60)
    found = spread_of(cells, "positive_fraction", SETTINGS)
    assert found.share and found.within == pytest.approx(cells["positive"].mean(), abs=0.01)
    assert power(found, 1.1, 3, 60) < power(found, 12.0, 5, 60)


def test_a_pilot_without_replicates_is_one_sentence() -> None:
    cells = pilot(np.random.default_rng(0), 1, 40)
    with pytest.raises(InputError, match="no condition has two replicates"):
        spread_of(cells, "light", SETTINGS)
    with pytest.raises(InputError, match="no condition has two replicates"):
        spread_of(cells.assign(condition=""), "light", SETTINGS)

"""Comparisons: what is one experiment, what is compared with what, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_tam.errors import InputError
from napari_tam.settings import Settings
from napari_tam.uptake.comparisons import compare
from napari_tam.uptake.replicates import replicate_table, unit_of

ONE = Settings(comparison_readouts="puncta_count")


def simulated(
    effect: dict[str, float], *, units: int = 4, cells: int = 40, seed: int = 0, m2: float = 1.0,
    column: str = "replicate", doses: tuple[float, ...] = (1.0,), donors: float = 0.0,
) -> pd.DataFrame:  # fmt: skip
    """Return the cells of conditions with a mean each; wells spread by 10 %, donors by `donors`."""
    rng = np.random.default_rng(seed)
    parts = []
    own = rng.normal(0, donors, units)
    for condition, mean in effect.items():
        for dose in doses:
            for k in range(units):
                phenotype = np.where(rng.random(cells) < 0.5, "M1", "M2")
                level = mean * dose * np.exp(own[k] + rng.normal(0, 0.1)) * np.where(phenotype == "M2", m2, 1)
                part = pd.DataFrame({"phenotype": phenotype, "puncta_count": rng.poisson(level)})
                parts.append(part.assign(condition=condition, dose=dose, **{column: str(k)}))
    table = pd.concat(parts, ignore_index=True)
    for name in ("donor", "plate", "replicate", "well", "control_role"):
        if name not in table:
            table[name] = ""
    positive = pd.array(table["puncta_count"] > 3, dtype="boolean")
    return table.assign(time=4.0, positive=positive, area_um2=300.0)


def judged(cells: pd.DataFrame, settings: Settings = ONE) -> pd.DataFrame:
    return compare(cells, replicate_table(cells, settings), settings).set_index("comparison")


def test_a_replicate_is_one_row_of_all_cells_and_one_of_each_phenotype() -> None:
    cells = simulated({"a": 5, "b": 5})
    table = replicate_table(cells, ONE)
    assert table.groupby("phenotype")["cells"].sum().to_dict() == {
        "": 320, **cells["phenotype"].value_counts().to_dict(),
    }  # fmt: skip
    row = table[(table["condition"] == "a") & (table["replicate"] == "2") & (table["phenotype"] == "")]
    here = cells[(cells["condition"] == "a") & (cells["replicate"] == "2")]
    assert row["puncta_count"].item() == pytest.approx(here["puncta_count"].mean())
    assert row["positive_fraction"].item() == pytest.approx(here["positive"].mean())


def test_an_effect_is_found_and_n_is_the_replicates() -> None:
    row = judged(simulated({"LPS": 5, "IL-4": 9})).loc["LPS - IL-4"]
    assert (row["n_a"], row["n_b"], row["unit"], row["test"]) == (4, 4, "replicate", "Welch's t-test")
    assert row["p"] < 0.01
    assert row["ci_low"] < row["difference"] < row["ci_high"] < 0


def test_the_reference_is_subtracted_and_an_unknown_one_is_one_sentence() -> None:
    cells = simulated({"LPS": 5, "IL-4": 9, "none": 5})
    table = judged(cells, ONE.updated(comparison_reference="none"))
    pairs = [name for name in table.index if "all" not in name and "M2" not in name]
    assert pairs == ["IL-4 - none", "LPS - none"]
    with pytest.raises(InputError, match=r"no condition 'nome' \(did you mean 'none'\?\)"):
        judged(cells, ONE.updated(comparison_reference="nome"))


def test_more_than_two_groups_get_an_anova_and_corrected_pairs() -> None:
    cells = simulated({"a": 5, "b": 5, "c": 9})
    table = judged(cells)
    assert table.loc["all 3 groups of condition", "test"] == "Welch's ANOVA"
    assert table.loc["c - a", "p_adjusted"] > table.loc["c - a", "p"]
    assert "Holm over 3 tests" in table.loc["c - a", "correction"]
    tukey = judged(cells, ONE.updated(comparison_correction="tukey"))
    assert tukey.loc["c - a", "test"] == "Tukey's HSD test"
    assert tukey.loc["c - a", "p_adjusted"] == tukey.loc["c - a", "p"]


def test_the_correction_goes_over_the_readouts() -> None:
    cells = simulated({"a": 5, "b": 9})
    settings = Settings(comparison_readouts="puncta_count, positive_fraction")
    table = judged(cells, settings).loc["b - a"]
    assert len(table) == 2
    assert table["p_adjusted"].min() == pytest.approx(2 * table["p"].min())


@pytest.mark.parametrize("units", [1, 2])
def test_fewer_than_three_replicates_are_not_tested(units: int) -> None:
    table = judged(simulated({"a": 5, "b": 9}, units=units))
    assert table["p"].isna().all()
    assert table["note"].str.contains("fewer than 3 replicates").all()
    assert table.loc["b - a", "ratio"] == pytest.approx(1.8, rel=0.3)


def test_phenotypes_are_paired_within_and_across_conditions() -> None:
    cells = simulated({"a": 5, "b": 9}, m2=1.6)
    table = judged(cells)
    for name in ("M2 - M1 across all conditions", "M2 - M1 within a", "M2 - M1 within b"):
        row = table.loc[name]
        assert row["paired"]
        assert row["p"] < 0.05
        assert row["ratio"] == pytest.approx(1.6, rel=0.15)
        assert row["n_a"] == 4


def test_donors_are_paired_if_the_layout_names_them() -> None:
    cells = simulated({"a": 5, "b": 8}, column="donor", donors=0.8)
    table = judged(cells)
    assert table.loc["b - a", "test"] == "paired t-test"
    assert table.loc["b - a", "unit"] == "donor"
    unpaired = judged(cells, ONE.updated(comparison_paired_by="none"))
    assert unpaired.loc["b - a", "p"] > table.loc["b - a", "p"]
    wrong = judged(cells, ONE.updated(comparison_paired_by="replicate"))
    assert "not tested" in wrong.loc["b - a", "note"]


def test_replicates_of_a_donor_are_no_further_experiments() -> None:
    cells = simulated({"a": 5, "b": 9}, units=12)
    cells["donor"] = "D" + (cells["replicate"].astype(int) % 3).astype(str)
    assert unit_of(cells, ONE) == "donor"
    assert judged(cells).loc["b - a", "n_a"] == 3


def test_doses_are_compared_apart_or_with_one_another() -> None:
    cells = simulated({"a": 5, "b": 9}, doses=(1.0, 2.0))
    assert {"b - a at dose 1", "b - a at dose 2"} <= set(judged(cells).index)
    between = judged(cells, ONE.updated(comparison_between="dose"))
    assert between.loc["2 - 1 at a", "ratio"] == pytest.approx(2, rel=0.2)


def test_controls_without_exosomes_are_no_group() -> None:
    cells = simulated({"a": 5, "b": 9})
    cells.loc[cells["condition"] == "b", "control_role"] = "dye_only"
    table = judged(cells)
    assert table["note"].iloc[0] == (
        "not tested: one condition only (a); wells with the role dye_only are no group"
    )
    assert "dye_only" in set(replicate_table(cells, ONE)["control_role"])


def test_what_cannot_be_compared_says_why() -> None:
    cells = simulated({"": 5})
    assert judged(cells)["note"].tolist() == ["not tested: no layout names a condition"]
    cells = simulated({"a": 5, "b": 9}).assign(positive=pd.array([pd.NA] * 320, dtype="boolean"))
    note = judged(cells, Settings(comparison_readouts="positive_fraction"))["note"].iloc[0]
    assert note == "not tested: no cell was called positive or negative"
    with pytest.raises(InputError, match="'punctacount' is no readout"):
        judged(cells, Settings(comparison_readouts="punctacount"))


def test_the_mixed_model_agrees_with_the_means() -> None:
    cells = simulated({"a": 5, "b": 9})
    row = judged(cells, ONE.updated(comparison_mixed=True)).loc["b - a"]
    assert row["test"] == "linear mixed model"
    assert row["p"] < 0.01
    means = cells.groupby("condition")["puncta_count"].mean()
    assert row["difference"] == pytest.approx(means["b"] - means["a"], rel=1e-3)


def test_there_are_no_more_false_positives_than_stated() -> None:
    found = [
        judged(simulated({"a": 8, "b": 8}, cells=10, seed=seed)).loc["b - a", "p"] < 0.05
        for seed in range(40)
    ]
    assert sum(found) <= 6  # 2 are expected; 7 or more would happen once in 300 times

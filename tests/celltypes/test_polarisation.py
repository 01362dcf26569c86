"""The score of polarisation by markers, and the area under the ROC curve of shape against markers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marked_cells import cells_of, images_of, light
from sklearn.metrics import roc_auc_score

from napari_tam.celltypes.agreement import agreement
from napari_tam.celltypes.marked import mark
from napari_tam.settings import Settings

RULES = {"M1": "CD86+", "M2": "CD206+ CD163+"}
GATES = {"CD86": 100.0, "CD206": 200.0, "CD163": 50.0}
SETTINGS = Settings(marker_phenotypes=RULES, gates=GATES)


def plate(roles: dict[str, str], seed: int = 0, cells: int = 60, name: str = "p") -> pd.DataFrame:
    """Return cells of images: dark ones in those of role m0; in the others they lean either way."""
    rng = np.random.default_rng(seed)
    parts = []
    for image, role in roles.items():
        lean = rng.random(cells) < 0.5 if not role else np.zeros(cells, bool)
        first = ~lean if not role else lean
        marks = {"CD86": light(rng, first), "CD206": light(rng, lean), "CD163": light(rng, lean)}
        table = cells_of(image, marks, role, name)
        parts.append(table.assign(truth=np.where(lean, "M2", "M1")))
    return pd.concat(parts, ignore_index=True)


def scores(cells: pd.DataFrame, settings: Settings = SETTINGS) -> np.ndarray:
    found: np.ndarray = mark(cells, images_of(cells), settings).cells["polarisation"].to_numpy()
    return found


def test_the_score_is_the_difference_of_log_ratios_in_units_of_the_untreated_cells() -> None:
    cells = plate({"a": "", "dark": "m0"})
    found = scores(cells)
    ratio = {
        name: np.log2(np.maximum(cells[f"marker_{name}_median"] / gate, 1 / 32))
        for name, gate in GATES.items()
    }
    raw = (ratio["CD206"] + ratio["CD163"]) / 2 - ratio["CD86"]
    known = raw[cells["control_role"] == "m0"]
    np.testing.assert_allclose(found, (raw - known.mean()) / known.std(ddof=1))
    stained = cells["control_role"] == ""
    leaning = [np.median(found[stained & (cells["truth"] == name)]) for name in ("M1", "M2")]
    assert leaning[0] < -3 < 3 < leaning[1]
    # without such a control all cells are the reference
    alone = scores(cells[cells["control_role"] == ""].reset_index(drop=True))
    assert alone.mean() == pytest.approx(0) and alone.std(ddof=1) == pytest.approx(1)


@pytest.mark.parametrize(("gain", "seed"), [(0.1, 0), (20.0, 1)])
def test_a_plate_that_is_brighter_gives_the_same_scores(gain: float, seed: int) -> None:
    one, other = plate({"a": "", "m": "m0"}, seed), plate({"b": "", "n": "m0"}, seed, name="q")
    for name in GATES:
        other[f"marker_{name}_median"] *= gain
    whole = pd.concat([one, other], ignore_index=True)
    # each plate has gates of its own: suggested ones follow the light
    settings = Settings(marker_phenotypes=RULES)
    found = scores(whole, settings)
    np.testing.assert_allclose(found[: len(one)], found[len(one) :], rtol=1e-6, atol=1e-6)


def test_a_negative_marker_counts_the_other_way() -> None:
    cells = plate({"a": ""})
    against = Settings(marker_phenotypes={"M1": "CD206-", "M2": "CD206+"}, gates=GATES)
    found = scores(cells, against)
    order = np.argsort(cells["marker_CD206_median"].to_numpy())
    assert (np.diff(found[order]) >= 0).all()


def test_without_a_gate_there_is_no_score() -> None:
    cells = plate({"a": ""}, cells=10)
    found = mark(cells, images_of(cells), Settings(marker_phenotypes=RULES)).cells["polarisation"]
    assert found.isna().all()
    controls = plate({"a": "", "dark": "unstained"})
    assert np.isnan(scores(controls)[controls["control_role"] == "unstained"]).all()


@given(st.integers(0, 50), st.booleans())
def test_the_area_is_that_of_scikit_learn(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    number = 80
    second = rng.random(number) < 0.5
    p = np.clip(0.5 + 0.3 * (second - 0.5) + rng.normal(0, 0.3, number), 0, 1)
    cells = cells_of("a", {"CD86": np.ones(number)}).assign(
        marker_phenotype=np.where(second, "M2", "M1"),
        phenotype="uncertain",
        p_m2=np.round(p, 1) if ties else p,
        replicate=rng.integers(0, 4, number).astype(str),
        condition="x",
    )
    row = agreement(cells, Settings(marker_phenotypes=RULES)).iloc[0]
    assert row["auc"] == pytest.approx(roc_auc_score(second, cells["p_m2"]))
    assert row["auc_low"] <= row["auc"] + 1e-9 and row["auc"] <= row["auc_high"] + 1e-9
    assert row["auc_cells"] == number and row["units"] in (0, 4)


def test_an_interval_needs_three_replicates_and_a_shape_that_knows_nothing_is_at_chance() -> None:
    rng = np.random.default_rng(1)
    inside = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        number = 400
        cells = cells_of("a", {"CD86": np.ones(number)}).assign(
            marker_phenotype=np.where(rng.random(number) < 0.4, "M2", "M1"),
            phenotype="M1",
            p_m2=rng.random(number),
            replicate=np.repeat(list("abcde"), number // 5),
        )
        row = agreement(cells, Settings(marker_phenotypes=RULES)).iloc[0]
        assert row["auc"] == pytest.approx(0.5, abs=0.12)
        inside.append(row["auc_low"] <= 0.5 <= row["auc_high"])
    # five replicates: a bootstrap of so few is narrow, but most of its intervals hold the truth
    assert np.mean(inside) > 0.7
    few = cells.assign(replicate=np.repeat(["a", "b"], 200))
    assert np.isnan(agreement(few, Settings(marker_phenotypes=RULES)).iloc[0]["auc_low"])

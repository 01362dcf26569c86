"""Positive cells and aggregates, against populations whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.settings import Settings
from napari_tam.uptake.decide import decide

SETTINGS = Settings(positive_readout="puncta_intensity_sum")


def plate(
    *, controls: int = 300, treated: int = 300, share: float = 0.6, aggregates: float = 0.05, seed: int = 0,
    role: str = "dye_only", name: str = "", light: float = 1000.0,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, np.ndarray]:  # fmt: skip
    """Return cells, puncta, images and which cells truly took up: a control and a treated image."""
    rng = np.random.default_rng(seed)
    n = controls + treated
    image = np.where(np.arange(n) < controls, f"{name}control", f"{name}treated")
    takes = (np.arange(n) >= controls) & (rng.random(n) < share)
    single = rng.poisson(0.2, n) + np.where(takes, rng.poisson(12, n), 0)
    owner = np.repeat(np.arange(n), single)
    holders = np.flatnonzero(rng.random(n) < aggregates)
    intensity = np.append(
        light * np.exp(rng.normal(0, 0.35, len(owner))),
        light * 15 * np.exp(rng.normal(0, 0.35, len(holders))),
    )
    width = np.append(rng.normal(1, 0.05, len(owner)), rng.uniform(1.5, 2.5, len(holders)))
    owner = np.append(owner, holders)
    puncta = pd.DataFrame(
        {"image": image[owner], "label": owner + 1, "intensity": intensity, "width_um": width}
    )
    puncta = puncta.assign(y_um=10.0 * np.arange(len(puncta)), x_um=0.0)
    cells = pd.DataFrame(
        {
            "image": image,
            "label": np.arange(n) + 1,
            "area_um2": 400.0,
            "puncta_count": np.bincount(owner, minlength=n),
            "puncta_intensity_sum": np.bincount(owner, intensity, minlength=n),
            "plate": name,
            "control_role": np.where(np.arange(n) < controls, role, ""),
        }
    )
    cells["puncta_per_um2"] = cells["puncta_count"] / cells["area_um2"]
    cells["exosome_integrated"] = cells["puncta_intensity_sum"] + rng.normal(0, 300, n)
    images = pd.DataFrame(
        {"image": [f"{name}control", f"{name}treated"], "plate": name, "control_role": [role, ""]}
    )
    return cells, puncta, images, takes


@pytest.mark.parametrize(
    "readout", ["puncta_intensity_sum", "puncta_count", "puncta_per_um2", "exosome_integrated"]
)
def test_the_share_of_positive_cells_is_the_true_one_although_the_control_holds_aggregates(
    readout: str,
) -> None:
    cells, puncta, images, takes = plate(seed=1)
    found = decide(cells, puncta, images, Settings(positive_readout=readout))  # type: ignore[arg-type]
    treated = (cells["control_role"] == "").to_numpy()
    positive = found.cells["positive"].to_numpy(bool)
    assert positive[treated].mean() == pytest.approx(takes[treated].mean(), abs=0.03)
    assert positive[~treated].mean() <= 0.02
    row = found.thresholds.iloc[0]
    assert (row["control_cells"], row["control_images"], row["note"]) == (300, 1, "")
    assert row["rule"] == "quantile 0.99 of dye_only"


def test_aggregates_are_flagged_counted_and_make_no_cell_positive() -> None:
    cells, puncta, images, _ = plate(share=0, treated=500, seed=2)
    found = decide(cells, puncta, images, SETTINGS)
    true = puncta["intensity"].to_numpy() > 5000
    flagged = found.puncta["aggregate"].to_numpy(bool)
    assert (flagged == true).mean() > 0.98
    assert found.cells["aggregate_count"].sum() == flagged.sum()
    assert found.cells["aggregate_intensity"].sum() == pytest.approx(puncta["intensity"][flagged].sum())
    alone = ((found.cells["aggregate_count"] == 1) & (cells["puncta_count"] == 1)).to_numpy(bool)
    assert alone.sum() > 10
    assert not found.cells["positive"][alone].any()


def test_without_a_control_no_cell_is_called_and_the_note_says_why() -> None:
    cells, puncta, images, _ = plate(role="m1")
    found = decide(cells, puncta, images, SETTINGS)
    assert found.cells["positive"].isna().all()
    note = found.thresholds["note"].item()
    assert note == "no cell is called positive: no image has the control_role dye_only or no_exosome"
    assert np.isnan(found.thresholds["threshold"].item())


def test_a_control_without_cells_is_one_sentence() -> None:
    cells, puncta, images, _ = plate()
    cells = cells[cells["control_role"] == ""].reset_index(drop=True)
    found = decide(cells, puncta, images, SETTINGS)
    assert found.cells["positive"].isna().all()
    assert found.thresholds["note"].item() == "no cell is called positive: the dye_only control has no cells"
    assert found.thresholds["control_images"].item() == 1


def test_each_plate_has_its_own_threshold_and_one_without_control_none() -> None:
    parts = [plate(name="a"), plate(name="b", light=4000), plate(name="c", role="")]
    cells, puncta, images = (pd.concat([p[k] for p in parts], ignore_index=True) for k in range(3))
    found = decide(cells, puncta, images, SETTINGS)
    limits = found.thresholds.set_index("plate")["threshold"]
    assert limits["b"] == pytest.approx(4 * limits["a"])
    positive = found.cells["positive"]
    assert positive[cells["plate"] == "c"].isna().all()
    shares = [positive[cells["plate"] == name].astype(bool).mean() for name in "ab"]
    assert shares[0] == shares[1]


def test_no_exosome_stands_in_for_dye_only_and_can_be_asked_for() -> None:
    cells, puncta, images, _ = plate(role="no_exosome")
    assert decide(cells, puncta, images, SETTINGS).thresholds["control_role"].item() == "no_exosome"
    wanted = SETTINGS.updated(positive_control="dye_only")
    assert "control_role dye_only" in decide(cells, puncta, images, wanted).thresholds["note"].item()


def test_the_threshold_is_mean_and_sd_on_request() -> None:
    cells, puncta, images, _ = plate(aggregates=0)
    found = decide(cells, puncta, images, SETTINGS.updated(positive_rule="mean_sd", positive_sd=2))
    control = cells.loc[cells["control_role"] == "dye_only", "puncta_intensity_sum"]
    assert found.thresholds["threshold"].item() == pytest.approx(control.mean() + 2 * control.std())
    assert found.thresholds["rule"].item() == "mean + 2 SD of dye_only"


def test_a_small_control_is_noted() -> None:
    cells, puncta, images, _ = plate(controls=40)
    assert "only 40 control cells" in decide(cells, puncta, images, SETTINGS).thresholds["note"].item()


def test_few_puncta_say_nothing_about_aggregates() -> None:
    cells, puncta, images, _ = plate()
    found = decide(cells, puncta[:9], images, SETTINGS)
    assert found.puncta["aggregate"].isna().all()
    assert found.cells["puncta_equivalents"].isna().all()
    assert found.cells.loc[cells["image"] == "control", "aggregate_count"].isna().all()


def test_empty_tables_give_empty_decisions() -> None:
    cells, puncta, images, _ = plate()
    found = decide(cells[:0], puncta[:0], images[:0], SETTINGS)
    assert (len(found.cells), len(found.puncta), len(found.thresholds)) == (0, 0, 1)


@settings(max_examples=10, deadline=None)
@given(scale=st.sampled_from([0.25, 0.5, 2.0, 8.0, 64.0]), seed=st.integers(0, 50))
def test_decisions_do_not_depend_on_the_exposure(scale: float, seed: int) -> None:
    cells, puncta, images, _ = plate(controls=60, treated=60, seed=seed)
    brighter: Any = puncta.assign(intensity=puncta["intensity"] * scale)
    sums = cells.assign(puncta_intensity_sum=cells["puncta_intensity_sum"] * scale)
    one, other = (decide(c, p, images, SETTINGS) for c, p in ((cells, puncta), (sums, brighter)))
    pd.testing.assert_frame_equal(one.puncta, other.puncta)
    pd.testing.assert_series_equal(one.cells["aggregate_count"], other.cells["aggregate_count"])
    pd.testing.assert_series_equal(one.cells["positive"], other.cells["positive"])

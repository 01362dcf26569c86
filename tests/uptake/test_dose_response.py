"""The four-parameter logistic against curves and simulated plates that are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from napari_tam.settings import Settings
from napari_tam.simulate.tables import DoseTables
from napari_tam.uptake.dose_response import dose_response, dose_responses
from napari_tam.uptake.logistic import PARAMETERS, Wells, fit_logistic, logistic

PLATE = DoseTables(replicates=3, cells=40)
DOSES = np.array([0, 0.3, 1, 3, 10, 30, 100.0])


def exact(ec50: float, top: float, bottom: float, hill: float, levels: Any = (1.0, 1.3, 0.8)) -> Wells:
    dose = np.tile(DOSES, len(levels))
    unit = np.repeat(np.arange(len(levels)), len(DOSES))
    value = logistic(dose, ec50, top, bottom, hill) * np.asarray(levels)[unit]
    return Wells(dose, value, np.full(len(dose), 1e-6), unit)


@hypothesis_settings(max_examples=15, deadline=None)
@given(st.floats(0.8, 30), st.floats(5, 500), st.floats(0, 0.3), st.floats(0.7, 3))
def test_a_curve_without_noise_is_found_exactly(ec50: float, top: float, share: float, hill: float) -> None:
    fit = fit_logistic(exact(ec50, top, share * top, hill), ())
    mean = np.exp(np.mean(np.log([1.0, 1.3, 0.8])))
    expected = (ec50, top * mean, share * top * mean, hill)
    for name, value in zip(PARAMETERS, expected, strict=True):
        assert fit.values[name] == pytest.approx(value, rel=0.02, abs=0.004 * top), name


def test_intervals_are_those_of_the_profile() -> None:
    """On either end of an interval the fit with that value fixed is worse by t² and no more."""
    cells = PLATE.draw(1)
    cells["unit"] = cells["replicate"]
    row = dose_response(cells, "puncta_count")
    for name in PARAMETERS:
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"], name
    assert row["ec50_low"] < 8 < row["ec50_high"]
    assert row["note"] == ""


def test_most_intervals_hold_the_truth_and_more_cells_narrow_them() -> None:
    held, widths = [], []
    for seed in range(12):
        for plate in (PLATE, replace(PLATE, replicates=6)):
            cells = plate.draw([seed, 2])
            cells["unit"] = cells["replicate"]
            row = dose_response(cells, "puncta_count")
            held.append(row["ec50_low"] < 8 < row["ec50_high"])
            widths.append(np.log(row["ec50_high"] / row["ec50_low"]))
    assert np.mean(held) > 0.85
    assert np.mean(widths[1::2]) < np.mean(widths[::2])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ec50": 900.0, "hill": 1.5}, "do not reach a plateau"),
        ({"ec50": 60.0}, "do not reach a plateau"),
        ({"top": 0.8}, "does not change with the dose"),
        ({"doses": (0.0, 1.0, 10.0, 100.0)}, "fewer than 4 doses"),
        ({"doses": (0.0, 1.0, 10.0, 100.0), "replicates": 1}, "fewer than 4 doses"),
        ({"replicates": 1, "doses": (1.0, 3.0, 10.0, 30.0)}, "too few replicates"),
        ({"ec50": 0.01, "bottom": 1.0}, ""),
    ],
)
def test_what_the_doses_do_not_tell_is_said(changes: dict[str, Any], told: str) -> None:
    cells = replace(PLATE, **changes).draw(4)
    cells["unit"] = cells["replicate"]
    row = dose_response(cells, "puncta_count")
    assert told in row["note"]
    if changes.get("ec50", 0) > 100 or changes.get("ec50", 1) < 0.3:
        assert not np.isfinite(row.get("ec50", np.nan))


def test_every_condition_and_readout_has_a_row() -> None:
    cells = PLATE.draw(0)
    weak = replace(PLATE, top=6.0, ec50=3.0).draw(1).assign(condition="none")
    both = pd.concat([cells, weak], ignore_index=True)
    both["positive"] = pd.array(both["puncta_count"] > 3, dtype="boolean")
    table = dose_responses(both, Settings(comparison_readouts="puncta_count, positive_fraction"))
    assert table is not None
    assert list(zip(table["condition"], table["readout"], strict=True)) == [
        (condition, readout)
        for condition in ("none", "tumour EV")
        for readout in ("puncta_count", "positive_fraction")
    ]
    shares = table[table["readout"] == "positive_fraction"]
    assert ((shares["top"] <= 1) & (shares["bottom"] >= 0)).all()
    assert (table["units"] == 3).all() and (table["doses"] == 6).all()


def test_without_doses_there_is_no_table() -> None:
    cells = PLATE.draw(0)
    assert dose_responses(cells.assign(dose=np.nan), Settings()) is None
    assert dose_responses(cells[cells["dose"].isin([0, 10])], Settings()) is None

"""How many exosomes puncta stand for, against crowds whose number is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_tam.settings import Settings
from napari_tam.uptake.decide import decide
from napari_tam.uptake.equivalents import Counted, Equivalents, count_by_light, unknown
from napari_tam.uptake.singles import Single, places_um, single_puncta

#: Width (FWHM) of a punctum in µm, and SD of its log light.
WIDTH, SPREAD = 0.36, 0.3


def light_of(count: int, rng: np.random.Generator, mean: float = 1000.0) -> npt.NDArray[np.float64]:
    return mean * np.exp(rng.normal(-(SPREAD**2) / 2, SPREAD, count))


def crowd(
    cells: int, least: int, most: int, radius_um: float, blind_um: float, seed: int
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """Puncta as seen, and the true number of each cell: those nearer than `blind_um` are one."""
    rng, parts = np.random.default_rng(seed), []
    true = rng.integers(least, most + 1, cells)
    for cell, count in enumerate(true):
        away, angle = radius_um * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
        places = np.stack([away * np.sin(angle), away * np.cos(angle) + 100 * cell], axis=1)
        light, seen = light_of(count, rng), np.ones(count, bool)
        for one, other in sorted(cKDTree(places).query_pairs(blind_um)):
            if seen[one] and seen[other]:
                light[one] += light[other]
                seen[other] = False
        parts.append(
            pd.DataFrame({"y_um": places[seen, 0], "x_um": places[seen, 1], "intensity": light[seen]}).assign(
                label=cell + 1
            )
        )
    table = pd.concat(parts, ignore_index=True)
    return table.assign(image="crowd", width_um=WIDTH, score=1.0, snr=30.0), true


def lone(count: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "image": "lone", "label": 0, "y_um": 10.0 * np.arange(count), "x_um": 0.0,
            "intensity": light_of(count, rng), "width_um": WIDTH, "score": 1.0, "snr": 30.0,
        }
    )  # fmt: skip


def counted(table: pd.DataFrame) -> Counted:
    """Count with single puncta learnt from lone ones beside the table."""
    both = pd.concat([table, lone()], ignore_index=True)
    single = single_puncta(both)
    assert single is not None
    return count_by_light(table, single, honest_scores=True)


def of_cells(table: pd.DataFrame, cells: int) -> Equivalents:
    return counted(table).of_cells(table["label"].to_numpy() - 1, cells)


@pytest.mark.parametrize(
    ("radius_um", "blind_um"), [(1.25, 0.0), (1.25, 0.15), (1.25, 0.25), (2.5, 0.15), (2.5, 0.25)]
)
def test_what_crowding_hides_comes_back_and_the_interval_holds_the_truth(
    radius_um: float, blind_um: float
) -> None:
    table, true = crowd(80, 20, 60, radius_um, blind_um, seed=4)
    found = of_cells(table, 80)
    resolved = table["label"].value_counts().sort_index().to_numpy()
    off = found.number / true - 1
    assert abs(np.mean(off)) < 0.04
    assert np.median(np.abs(off)) < 0.05
    if blind_um:
        assert np.abs(off).mean() < 0.6 * np.abs(resolved / true - 1).mean()
    inside = (found.low <= true) & (true <= found.high)
    assert inside.mean() >= 0.9
    # ... and says something: less than half of the number.
    assert np.median((found.high - found.low) / true) < 0.5


def test_those_that_stand_alone_count_as_one_however_bright_single_ones_are() -> None:
    table, true = crowd(60, 8, 20, 5.0, 0.1, seed=5)
    found = of_cells(table, 60)
    assert np.median(np.abs(found.number / true - 1)) < 0.03
    each = counted(lone(seed=8)).each()
    assert each.number.mean() == pytest.approx(1, abs=0.02)
    assert (each.number < 1.1).mean() > 0.97
    assert (each.low == 1).all()


def test_a_lone_spot_that_is_far_too_bright_for_one_is_several() -> None:
    table = lone()
    table.loc[7, "intensity"] = 4000
    found = counted(table).each()
    assert 1.8 < found.number[7] < 4.5
    assert found.high[7] > 3
    assert np.median(found.number) == pytest.approx(1, abs=0.01)


def test_false_splits_are_taken_back() -> None:
    table, true = crowd(80, 20, 60, 2.5, 0.0, seed=6)
    rng = np.random.default_rng(1)
    chosen = rng.random(len(table)) < 0.06
    half = table[chosen].assign(intensity=table["intensity"] / 2)
    half = half.assign(y_um=half["y_um"] + 0.2)
    table.loc[chosen, "intensity"] /= 2
    table = pd.concat([table, half], ignore_index=True)
    found = of_cells(table, 80)
    resolved = table["label"].value_counts().sort_index().to_numpy()
    assert abs(np.mean(found.number / true - 1)) < 0.7 * np.mean(resolved / true - 1)


@settings(max_examples=8, deadline=None)
@given(scale=st.sampled_from([0.01, 0.5, 3.0, 1000.0]), seed=st.integers(0, 20))
def test_the_number_depends_on_no_exposure_and_the_parts_add_up(scale: float, seed: int) -> None:
    table, _ = crowd(6, 5, 40, 1.5, 0.15, seed=seed)
    both = pd.concat([table, lone()], ignore_index=True)
    one, other = single_puncta(both), single_puncta(both.assign(intensity=both["intensity"] * scale))
    assert one is not None
    assert other is not None
    first = count_by_light(table, one, honest_scores=True)
    brighter = table.assign(intensity=table["intensity"] * scale)
    second = count_by_light(brighter, other, honest_scores=True)
    assert second.number == pytest.approx(first.number)
    cells = first.of_cells(table["label"].to_numpy() - 1, 6)
    assert cells.number.sum() == pytest.approx(first.each().number.sum())
    assert (cells.low <= cells.number).all()
    assert (cells.number <= cells.high).all()


def test_the_light_of_a_single_one_is_that_of_lone_puncta_away_from_the_edges_of_cells() -> None:
    table = lone(300).assign(edge_distance_um=10.0)
    edge = lone(200, seed=1).assign(edge_distance_um=0.2, y_um=lambda t: t["y_um"] + 1e5)
    edge["intensity"] *= 1.4  # the haze of the cell
    clumps = pd.DataFrame({"intensity": [30_000.0] * 10, "width_um": 0.8, "edge_distance_um": 10.0})
    clumps = clumps.assign(image="lone", y_um=-20.0 * np.arange(1, 11), x_um=0.0, snr=300.0)
    single = single_puncta(pd.concat([table, edge, clumps], ignore_index=True))
    assert single is not None
    assert single.intensity == pytest.approx(1000, rel=0.04)
    assert single.relative_sd == pytest.approx(0.31, abs=0.05)
    assert single.error == pytest.approx(0.31 / np.sqrt(310), rel=0.2)


def test_dim_puncta_have_wider_intervals() -> None:
    table, _ = crowd(20, 20, 40, 1.5, 0.15, seed=2)

    def width(snr: float) -> float:
        single = Single(np.log(1000) - 0.045, 0.3, WIDTH, 1000.0, snr, 400)
        found = count_by_light(table, single, honest_scores=True).of_cells(table["label"].to_numpy() - 1, 20)
        return float(np.median(found.high - found.low))

    assert width(4) > 1.3 * width(10) > 1.3 * width(100)


def test_a_crowd_alone_does_not_say_what_a_single_one_is_like() -> None:
    table, _ = crowd(20, 20, 60, 1.25, 0.15, seed=3)
    cells = pd.DataFrame({"image": "crowd", "label": np.arange(1, 21), "area_um2": 5.0})
    cells = cells.assign(plate="", control_role="", puncta_count=1, puncta_intensity_sum=1.0)
    images = pd.DataFrame({"image": ["crowd"], "plate": "", "control_role": ""})
    found = decide(cells, table, images, Settings(positive_readout="puncta_count"))
    assert found.cells["puncta_equivalents"].isna().all()
    assert found.puncta["puncta_equivalents_high"].isna().all()
    note = found.thresholds["single_note"].item()
    assert note.startswith("no puncta_equivalents: only ")
    assert unknown(None).startswith("no puncta_equivalents: only 0 puncta stand alone")


def test_aggregates_stand_for_no_number_but_full_spots_of_a_crowd_do() -> None:
    table, true = crowd(40, 20, 60, 1.25, 0.3, seed=9)
    dye = lone(seed=3).assign(label=0)
    dye.loc[::40, ["intensity", "width_um"]] = [25_000.0, 0.8]
    both = pd.concat([table, dye], ignore_index=True)
    cells = pd.DataFrame({"image": "crowd", "label": np.arange(1, 41), "area_um2": 5.0})
    cells = cells.assign(plate="", control_role="", puncta_count=1, puncta_intensity_sum=1.0)
    images = pd.DataFrame({"image": ["crowd", "lone"], "plate": "", "control_role": ""})
    found = decide(cells, both, images, Settings(positive_readout="puncta_count"))
    aggregate = found.puncta["aggregate"].to_numpy(bool)
    assert aggregate[len(table) :].nonzero()[0].tolist() == list(range(0, 400, 40))
    assert found.puncta.loc[aggregate, "puncta_equivalents"].isna().all()
    assert aggregate[: len(table)].mean() < 0.02
    number = found.cells["puncta_equivalents"].to_numpy(float)
    assert np.median(np.abs(number / true - 1)) < 0.08


def test_in_a_stack_what_is_near_is_told_by_the_width_along_z() -> None:
    rng = np.random.default_rng(4)
    deep = lone().assign(z_um=0.0, width_z_um=4 * WIDTH)
    above = deep.iloc[::2].assign(z_um=2 * WIDTH, intensity=light_of(200, rng))
    both = pd.concat([deep, above], ignore_index=True)
    single = single_puncta(both)
    assert single is not None
    # Half of the places hold two; these overlap along z, so that the others tell what a single one is like.
    assert single.alone == 200
    group = count_by_light(both, single, honest_scores=True).group
    assert len(np.unique(group)) == 400
    # Merged, they come back by their light.
    merged = deep.copy()
    merged.loc[::2, "intensity"] += above["intensity"]
    crowded = merged.assign(y_um=merged["y_um"] / 40, label=1, image="crowd")
    found = count_by_light(crowded, single, honest_scores=True).of_cells(np.zeros(400, np.intp), 1)
    assert found.low[0] < 600 < found.high[0]


def test_errors_of_puncta_that_cover_each_other_are_opposite() -> None:
    """Two in one place may each hold any share of their light, but the light of both is known well."""
    parted, true = crowd(40, 20, 60, 1.3, 0.0, seed=2)  # every one found
    both = pd.concat([lone(), parted], ignore_index=True)
    error = np.where(both["image"] == "lone", 60.0, 10000.0)
    inside = of_cells(both.assign(intensity_se=error), 40).number
    assert np.median(np.abs(inside / true - 1)) < 0.05


def test_places_in_a_volume_are_shrunk_along_z_and_the_table_stays_as_it_is() -> None:
    table = pd.DataFrame(
        {"z_um": [0.0, 3.0], "y_um": [1.0, 2.0], "x_um": [5.0, 6.0], "width_um": 0.5, "width_z_um": 1.5}
    )
    assert places_um(table) == pytest.approx(np.array([[0, 1, 5], [1, 2, 6]]))
    assert table["z_um"].tolist() == [0.0, 3.0]
    assert single_puncta(lone().assign(z_um=0.0, width_z_um=3 * WIDTH)) == single_puncta(lone())

"""Traffic between cell types on tables with a known truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_tam.errors import InputError
from napari_tam.results.folder import mask_path, write_mask
from napari_tam.settings import Settings
from napari_tam.simulate.tables import CocultureTables
from napari_tam.traffic.communicate import Communication, communicate
from napari_tam.traffic.decay import fit_decay
from napari_tam.traffic.distances import CENTRES, EDGES, outlines_of
from napari_tam.traffic.labels import routes

SETTINGS = Settings(
    types={"macrophage": "CD11b+", "tumour": "EpCAM+"},
    marker_phenotypes={"M1": "CD86+", "M2": "CD206+"},
    neighbour_radius_um=20,
)
TABLES = CocultureTables(images=3, shift=0.05)


def puncta_of(cells: pd.DataFrame, outside: int = 0) -> pd.DataFrame:
    """Return the puncta of cells, and some between the cells of every image."""
    inside = cells.loc[cells.index.repeat(cells["puncta_count"]), ["image", "label"]]
    free = pd.DataFrame({"image": np.repeat(cells["image"].unique(), outside), "label": 0})
    return pd.concat([inside, free], ignore_index=True).assign(intensity=100.0)


def measured(tables: CocultureTables = TABLES, seed: int = 0, **changes: Any) -> Communication:
    cells, images = tables.draw(seed)
    cells = cells.assign(**changes)
    return communicate(None, cells, puncta_of(cells), images, SETTINGS)


@pytest.fixture(scope="module")
def found() -> Communication:
    return measured(CocultureTables(images=6, shift=0.05))


def test_distances_and_neighbours_are_those_of_the_nearest_donors() -> None:
    cells, images = TABLES.draw(3)
    columns = communicate(None, cells, puncta_of(cells), images, SETTINGS).cells
    takers = (cells["cell_type"] == "macrophage").to_numpy()
    assert columns["donor_distance_um"][takers].to_numpy() == pytest.approx(
        cells["true_distance_um"][takers].to_numpy()
    )
    one = cells[cells["image"] == cells["image"][0]]
    at = one[["centroid_y_px", "centroid_x_px"]].to_numpy()
    donors = (one["cell_type"] == "tumour").to_numpy()
    between = np.linalg.norm(at[:, None] - at[None, donors], axis=2)
    expected = ((between <= 20) & (between > 0)).sum(axis=1)
    assert columns["donor_neighbours"][: len(one)].tolist() == expected.tolist()


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 2))
def test_edges_are_as_far_as_the_distance_transform_says(seed: int, pixel: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((60, 70), np.int64)
    for k in range(1, 9):
        y, x, r = rng.uniform(0, 60), rng.uniform(0, 70), rng.uniform(2, 9)
        rows, columns = np.indices(labels.shape)
        labels[((rows - y) ** 2 + (columns - x) ** 2 <= r**2) & (labels == 0)] = k
    numbers = np.array([k for k in np.unique(labels) if k])
    cells = pd.DataFrame({"label": numbers})
    donors = rng.random(len(numbers)) < 0.5
    where = outlines_of(cells, labels, (pixel, pixel), pixel)
    assert where.kind == EDGES
    nearest = where.nearest(donors)
    radius = 5 * pixel
    pairs = {tuple(pair) for pair in where.pairs(radius).tolist()}
    for k, number in enumerate(numbers):
        away = ndimage.distance_transform_edt(labels != number) * pixel
        apart = [max(float(away[labels == other].min()) - pixel, 0) for other in numbers]
        others = [d for j, d in enumerate(apart) if donors[j] and j != k]
        if others:
            assert nearest[k] == pytest.approx(min(others), abs=1e-6)
        else:
            assert np.isnan(nearest[k])
        near = {(min(j, k), max(j, k)) for j, d in enumerate(apart) if j != k and d <= radius - 1e-6}
        assert near <= pairs
        far = {(min(j, k), max(j, k)) for j, d in enumerate(apart) if j != k and d > radius + 1e-6}
        assert not far & pairs


def test_masks_at_hand_give_distances_between_edges(tmp_path: Any) -> None:
    cells, images = replace(TABLES, replicates=1, images=1, cells=4).draw(0)
    labels = np.zeros((40, 40), np.uint16)
    for k, (y, x) in enumerate(((2, 2), (2, 10), (20, 2), (20, 30)), 1):
        labels[y : y + 4, x : x + 4] = k
    (tmp_path / "masks").mkdir()
    write_mask(mask_path(tmp_path, "r1_1", "cells"), labels, 0.5)
    cells["cell_type"] = ["macrophage", "tumour", "macrophage", "tumour"]
    images["pixel_size_um"] = 0.5
    columns = communicate(tmp_path, cells, puncta_of(cells), images, SETTINGS).cells
    # 4 pixels between the first and the second cell
    assert columns["donor_distance_um"].tolist()[0] == pytest.approx(2.0)
    assert communicate(None, cells, puncta_of(cells), images, SETTINGS).tables["traffic"].empty is False
    assert set(
        communicate(None, cells, puncta_of(cells), images, SETTINGS).tables["traffic"]["distance_kind"]
    ) == {CENTRES}


def test_the_decay_length_is_found_and_its_interval_holds_it(found: Communication) -> None:
    table = found.tables["traffic"]
    row = table.iloc[0]
    assert row["decay_um"] == pytest.approx(25, rel=0.2)
    assert row["decay_low"] < 25 < row["decay_high"]
    assert row["offset"] == pytest.approx(0.15 * 20, rel=0.35)
    means = table["mean"].to_numpy()
    assert means[0] > 2 * means[-1]
    assert (table["cells"] >= 10).all() and (table["units"] == 4).all()


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.floats(5, 60), st.floats(0, 0.5), st.floats(0.1, 100))
@example(57.0, 0.40625, 1.0)  # a ridge: a step cut short in one direction only led nowhere
def test_without_noise_the_curve_is_exact_whatever_the_levels(
    length: float, far: float, level: float
) -> None:
    rng = np.random.default_rng(0)
    distance = rng.uniform(0, 150, 400)
    unit = np.repeat(np.array(["a", "b", "c", "d"], object), 100)
    factor = np.repeat([1.0, 2.0, 0.5, 1.5], 100)
    uptake = level * factor * (far + (1 - far) * np.exp(-distance / length))
    fit = fit_decay(distance, uptake, unit)
    assert fit.length == pytest.approx(length, rel=0.02)
    assert fit.offset / (fit.offset + fit.amplitude) == pytest.approx(far, abs=0.01)
    assert fit.low == pytest.approx(fit.length, rel=0.02)


@pytest.mark.parametrize(
    ("uptake", "number", "told"),
    [
        (lambda d: 5 + 0 * d, 200, "does not fall"),
        (lambda d: 5 + d, 200, "does not fall"),
        (lambda d: 0 * d, 200, "took anything up"),
        (lambda d: 100 - 0.3 * d, 200, "longer than the distances"),
        (lambda d: np.exp(-d), 5, "fewer than 20"),
    ],
)
def test_a_curve_without_length_says_why(uptake: Any, number: int, told: str) -> None:
    distance = np.linspace(0, 100, number)
    unit = np.array([str(k % 3) for k in range(number)], object)
    fit = fit_decay(distance, uptake(distance), unit)
    assert np.isnan(fit.length) and told in fit.note


def test_shares_of_the_matrix_are_those_of_the_truth() -> None:
    cells, images = TABLES.draw(5)
    outside = 40
    puncta = puncta_of(cells, outside)
    table = communicate(None, cells, puncta, images, SETTINGS).tables["transfer_matrix"].set_index("place")
    shares = []
    for _, part in cells.groupby("replicate"):
        own = part.groupby("cell_type")["puncta_count"].sum()
        free = outside * part["image"].nunique()
        shares.append([own["macrophage"], own["tumour"], free] / (own.sum() + free))
    expected = np.mean(shares, axis=0)
    assert table.loc[["macrophage", "tumour", "between cells"], "puncta_share"].to_numpy() == pytest.approx(
        expected
    )
    assert table["puncta_share"].sum() == pytest.approx(1)
    assert table["puncta"].sum() == len(puncta)
    assert (table["puncta_share_low"] <= table["puncta_share"]).all()


def test_several_labels_go_their_own_ways() -> None:
    cells, images = TABLES.draw(6)
    for name in ("puncta_count", "exosome_integrated", "puncta_intensity_sum"):
        cells[f"{name}_GFP"] = cells[name]
        cells[f"{name}_PKH26"] = np.where(cells["cell_type"] == "tumour", 4, 9)
    one, other = puncta_of(cells), puncta_of(cells.assign(puncta_count=cells["puncta_count_PKH26"]))
    puncta = pd.concat([one.assign(exosome_label="GFP"), other.assign(exosome_label="PKH26")])
    both = SETTINGS.updated(donor_types="GFP=tumour, PKH26=macrophage")
    found = communicate(None, cells, puncta, images, both)
    assert list(found.cells) == [
        "donor_distance_um_GFP",
        "donor_neighbours_GFP",
        "donor_distance_um_PKH26",
        "donor_neighbours_PKH26",
    ]
    matrix = found.tables["transfer_matrix"]
    counts = matrix.set_index(["exosome_label", "place"])["puncta"]
    assert counts["GFP", "macrophage"] == cells.loc[cells["cell_type"] == "macrophage", "puncta_count"].sum()
    assert counts["PKH26", "tumour"] == 4 * (cells["cell_type"] == "tumour").sum()
    traffic = found.tables["traffic"].drop_duplicates("exosome_label").set_index("exosome_label")
    assert traffic.loc["GFP", ["donors", "recipients"]].tolist() == ["tumour", "macrophage"]
    assert traffic.loc["PKH26", ["donors", "recipients"]].tolist() == ["macrophage", "tumour"]
    assert np.isfinite(traffic.loc["GFP", "decay_um"]) and np.isnan(traffic.loc["PKH26", "decay_um"])
    alone = measured(seed=6).tables["traffic"]
    assert found.tables["traffic"]["mean"][: len(alone)].tolist() == alone["mean"].tolist()


def whole(found: Communication, question: str) -> pd.Series:
    table = found.tables["spatial_association"]
    return table[(table["question"] == question) & (table["unit"] == "")].iloc[0]


def test_types_at_random_are_no_association_and_attraction_is_one() -> None:
    none = TABLES
    drawn = replace(TABLES, attraction=3.0, near_factor=2.0)
    by_chance, attracted = whole(measured(none, 2), "neighbours"), whole(measured(drawn, 2), "neighbours")
    assert 0.8 < by_chance["ratio"] < 1.25
    assert attracted["ratio"] > 1.3 and attracted["p"] < 0.05 and attracted["p_shuffled"] < 0.01
    assert attracted["ci_low"] < attracted["ratio"] < attracted["ci_high"]


def test_uptake_beside_donors_is_compared_within_images() -> None:
    flat = replace(TABLES, far=1.0, images=6)
    assert whole(measured(flat, 3), "uptake")["p_shuffled"] > 0.05
    more = whole(measured(replace(flat, near_factor=1.5), 3), "uptake")
    assert more["ratio"] == pytest.approx(1.5, rel=0.15) and more["p"] < 0.05
    # images of different brightness change nothing
    cells, images = replace(flat, near_factor=1.5).draw(3)
    factor = cells["image"].map({name: 1 + k % 3 for k, name in enumerate(cells["image"].unique())})
    scaled = cells.assign(puncta_count=cells["puncta_count"] * factor)
    other = whole(communicate(None, scaled, puncta_of(scaled), images, SETTINGS), "uptake")
    assert other["ratio"] == pytest.approx(1.5, rel=0.2)


def test_uptake_that_polarises_is_found_with_its_slope(found: Communication) -> None:
    row = found.tables["uptake_polarisation"].iloc[0]
    assert row["ci_low"] < 0.05 < row["ci_high"] and row["p"] < 0.01
    assert row["slope"] == pytest.approx(0.05, rel=0.25)
    assert row["score"] == "ln(CD206 / CD86)"
    none = measured(replace(TABLES, shift=0.0), 4).tables["uptake_polarisation"].iloc[0]
    assert none["ci_low"] < 0 < none["ci_high"]


def test_a_score_by_gates_takes_precedence() -> None:
    cells, images = TABLES.draw(1)
    cells["polarisation"] = -0.1 * cells["puncta_count"] + np.random.default_rng(0).normal(0, 1, len(cells))
    row = communicate(None, cells, puncta_of(cells), images, SETTINGS).tables["uptake_polarisation"].iloc[0]
    assert row["score"] == "polarisation" and row["slope"] == pytest.approx(-0.1, rel=0.25)


def test_levels_of_replicates_make_no_slope() -> None:
    cells, images = replace(TABLES, shift=0.0).draw(1)
    level = cells["replicate"].astype(int)
    cells["puncta_count"] += 20 * level
    cells["marker_CD206_median"] *= np.exp(2.0 * level)
    row = communicate(None, cells, puncta_of(cells), images, SETTINGS).tables["uptake_polarisation"].iloc[0]
    assert abs(row["slope"]) < 0.03


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cell_type": "macrophage"}, "no cell is a donor (tumour)"),
        ({"cell_type": "tumour"}, "no cell is a recipient (macrophage)"),
        ({"replicate": "1"}, "one replicate with cells of known type"),
        ({"control_role": "dye_only"}, "no cell is a donor"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(changes: dict[str, Any], told: str) -> None:
    found = measured(TABLES, 1, **changes)
    assert [note for note in found.notes if told in note] and len(found.notes) <= 2
    assert set(found.tables) == {"traffic", "transfer_matrix", "spatial_association", "uptake_polarisation"}


def test_one_replicate_has_figures_but_no_interval_and_no_test() -> None:
    found = measured(TABLES, 1, replicate="1")
    row = found.tables["traffic"].iloc[0]
    assert np.isfinite(row["decay_um"]) and np.isnan(row["decay_low"]) and "fewer than 3" in row["note"]
    for question in ("neighbours", "uptake"):
        tested = whole(found, question)
        assert np.isnan(tested["p"]) and np.isfinite(tested["p_shuffled"]) and "not tested" in tested["note"]
    slope = found.tables["uptake_polarisation"].iloc[0]
    assert np.isnan(slope["p"]) and np.isfinite(slope["slope"]) and "not tested" in slope["note"]


def test_without_rules_nothing_is_measured_and_with_one_type_nobody_gives() -> None:
    cells, images = TABLES.draw(0)
    nothing = communicate(None, cells, puncta_of(cells), images, Settings())
    assert not nothing.tables and not nothing.notes and nothing.cells.empty
    one = Settings(types={"macrophage": "CD11b+"})
    notes = communicate(None, cells, puncta_of(cells), images, one).notes
    assert notes == ("no donor: types has rules for recipients only, and none for the cells that give",)


def test_who_gives_and_takes_follows_from_the_settings() -> None:
    three = SETTINGS.updated(types={**SETTINGS.types, "fibroblast": "FAP+"})
    only = routes([""], three)[0]
    assert (only.donors, only.recipients) == (("fibroblast", "tumour"), ("macrophage",))
    turned = routes([""], three.updated(donor_types="macrophage"))[0]
    assert (turned.donors, turned.recipients) == (("macrophage",), ("fibroblast", "tumour"))
    both = routes(["GFP", "PKH26"], three.updated(donor_types="GFP=tumour+fibroblast, PKH26=macrophage"))
    assert [(r.donors, r.recipients) for r in both] == [
        (("tumour", "fibroblast"), ("macrophage",)),
        (("macrophage",), ("fibroblast", "tumour")),
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"donor_types": "GFP=tumour"}, "no exosome label GFP"),
        ({"donor_types": "tumour, macrophage"}, "nobody is left"),
        ({"donor_types": "fibroblast"}, "no rule in types says what a fibroblast is"),
        ({"recipient_types": "fibroblast"}, "no rule in types says what a fibroblast is"),
        ({"donor_types": "GFP=tumour, macrophage"}, "every type or for none"),
        ({"donor_types": "GFP="}, "is no type"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        routes([""], SETTINGS.updated(**changes))

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_images import QUICK, disc, voronoi

from napari_tam.columns import CELL_COLUMNS, PUNCTA_COLUMNS, SUMMARY_COLUMNS
from napari_tam.io.field import Field
from napari_tam.measure.cells import measure
from napari_tam.settings import Settings

SEEDS = st.integers(0, 10**6)
SETTINGS = Settings()

#: What the tests of the laws start from: field, cells, nuclei, spots.
Scene = tuple[Field, npt.NDArray[Any], npt.NDArray[Any], pd.DataFrame]


def assert_same_summary(one: dict[str, Any], other: dict[str, Any], rel: float) -> None:
    assert list(one) == list(other)
    for name, value in one.items():
        assert value == (pytest.approx(other[name], rel=rel) if isinstance(value, float) else other[name]), (
            name
        )


def spots_at(y: Any, x: Any, intensity: Any = 1.0) -> pd.DataFrame:
    table = pd.DataFrame({"y_px": np.array(y, float), "x_px": np.array(x, float)})
    return table.assign(
        score=0.9, intensity=intensity, peak=0.5 * table.index, background=3.0, width_um=0.4, snr=7.0
    )


def random_scene(seed: int, shape: tuple[int, int] = (48, 70), puncta: int = 40) -> Scene:
    rng = np.random.default_rng(seed)
    cells = voronoi(rng, shape, 6)
    nuclei = np.where(rng.uniform(size=shape) < 0.7, voronoi(rng, shape, 5), 0)
    channels = {
        role: rng.integers(10, 900, shape).astype(np.uint16)
        for role in ("cell", "nucleus", "exosome", "lysosome")
    }
    # Never half way between two pixels, where the nearest one would turn with the image.
    y, x = (rng.integers(0, n, puncta) + rng.uniform(-0.45, 0.45, puncta) for n in shape)
    spots = spots_at(y, x, rng.uniform(5, 500, puncta))
    return Field("field", channels, 0.25), cells, nuclei, spots


def changed(field: Field, change: Any, pixel_size_um: float = 0.25) -> Field:
    return Field("field", {role: change(image) for role, image in field.channels.items()}, pixel_size_um)


def two_cells() -> Scene:
    """Two squares of 40 px at 0.5 µm, the first with a nucleus of 10 px in its middle."""
    cells = np.zeros((60, 120), np.uint16)
    cells[10:50, 10:50] = 3
    cells[10:50, 60:100] = 8
    nuclei = np.zeros_like(cells)
    nuclei[25:35, 25:35] = 1
    channels = {
        "cell": np.full(cells.shape, 50, np.uint16),
        "nucleus": np.full(cells.shape, 60, np.uint16),
        "exosome": np.where(cells == 3, 130, np.where(cells == 8, 115, 100)).astype(np.uint16),
    }
    # One over the nucleus, one near the edge, one between the two, one in the background.
    spots = spots_at([30, 30, 20, 5], [30, 11, 29.5, 5], [10.0, 30.0, 20.0, 99.0])
    return Field("two", channels, 0.5), cells, nuclei, spots


def test_puncta_of_two_cells() -> None:
    table, puncta, summary = measure(*two_cells(), SETTINGS)
    assert puncta["label"].tolist() == [3, 3, 3, 0]
    assert puncta["y_um"].tolist() == [15, 15, 10, 2.5]
    np.testing.assert_allclose(puncta["edge_distance_um"], [9.75, 0.75, 5.25, np.nan], atol=1e-6)
    np.testing.assert_allclose(puncta["nucleus_distance_um"], [0, 6.75, np.hypot(5, 0.5) / 2 - 0.25, np.nan])
    np.testing.assert_allclose(
        puncta["relative_radius"], 1 - np.array([9.75, 0.75, 5.25, np.nan]) / 9.75, atol=1e-6
    )
    first, second = (row for _, row in table.iterrows())
    assert table["label"].tolist() == [3, 8]
    assert table["puncta_count"].tolist() == [3, 0]
    assert table["puncta_intensity_sum"].tolist() == [60, 0]
    assert (first["puncta_intensity_mean"], first["puncta_intensity_median"]) == (20, 20)
    assert first["puncta_per_um2"] == 3 / 400
    assert first["puncta_edge_distance_um"] == pytest.approx(5.25)
    assert first["puncta_nucleus_distance_um"] == pytest.approx(np.hypot(5, 0.5) / 2 - 0.25)
    assert first["central_fraction"] == pytest.approx(2 / 3)
    assert first["perinuclear_fraction"] == pytest.approx(1 / 3)
    for name in table.columns[table.columns.str.contains("puncta_|_fraction")]:
        if name not in ("puncta_count", "puncta_per_um2", "puncta_intensity_sum") and "puncta" in name:
            assert np.isnan(second[name]), name
    assert np.isnan(second["central_fraction"]) and np.isnan(second["perinuclear_fraction"])
    assert (summary["puncta"], summary["puncta_in_cells"], summary["puncta_outside"]) == (4, 3, 1)


def test_intensities_and_nuclei_of_two_cells() -> None:
    table, _, summary = measure(*two_cells(), SETTINGS)
    assert table["exosome_mean"].tolist() == [130, 115]
    assert table["exosome_integrated"].tolist() == [1600 * 30, 1600 * 15]
    assert table["ctcf"].tolist() == [1600 * 30, 1600 * 15]
    assert table["cell_mean"].tolist() == [50, 50]
    assert table["nucleus_mean"].tolist() == [60, 60]
    assert table[["lysosome_mean", "extra_mean"]].isna().all(axis=None)
    assert table["nucleus_count"].tolist() == [1, 0]
    assert table["no_nucleus"].tolist() == [False, True]
    assert table["many_nuclei"].tolist() == [False, False]
    assert table["nucleus_area_um2"].tolist() == [25, 0]
    assert table["nucleus_cell_area_ratio"].tolist() == [25 / 400, 0]
    assert not table["touches_border"].any()
    assert table["contact_fraction"].tolist() == [0, 0]
    assert table["focus_score"].tolist() == [0, 0]
    assert (summary["cells"], summary["nuclei"], summary["exosome_background"]) == (2, 1, 100)
    assert summary["exosome_background_method"] == "outside cells"
    assert summary["cell_area_fraction"] == pytest.approx(3200 / 7200)


def test_ctcf_takes_the_mean_and_integrated_the_median_background() -> None:
    field, cells, nuclei, spots = two_cells()
    field.channels["exosome"][0, ::2] = 1100
    table, _, summary = measure(field, cells, nuclei, spots, SETTINGS)
    mean = summary["exosome_background_mean"]
    assert isinstance(mean, float) and mean > 101
    assert table["exosome_integrated"].tolist() == [48000, 24000]
    assert table["ctcf"].tolist() == pytest.approx([1600 * (130 - mean), 1600 * (115 - mean)])


def test_without_a_nuclear_stain_what_needs_one_is_missing() -> None:
    field, cells, _, spots = two_cells()
    del field.channels["nucleus"]
    table, puncta, summary = measure(field, cells, None, spots.assign(nucleus_distance_um=1.0), SETTINGS)
    names = ["nucleus_count", "no_nucleus", "many_nuclei", "nucleus_area_um2", "nucleus_cell_area_ratio"]
    assert table[[*names, "nucleus_mean", "perinuclear_fraction"]].isna().all(axis=None)
    assert puncta["nucleus_distance_um"].isna().all()
    assert summary["nuclei"] is None
    assert table["central_fraction"][0] == pytest.approx(2 / 3)


def test_many_nuclei_and_border_and_contact() -> None:
    field, cells, nuclei, spots = two_cells()
    cells[10:50, 50:60] = 8  # now the two touch along 40 px
    cells[10:50, 100:120] = 8
    nuclei[20:30, 62:70] = 2
    nuclei[20:30, 80:90] = 7
    table, _, summary = measure(field, cells, nuclei, spots, SETTINGS)
    assert table["nucleus_count"].tolist() == [1, 2]
    assert table["many_nuclei"].tolist() == [False, True]
    assert table["nucleus_area_um2"].tolist() == [25, 45]
    assert table["touches_border"].tolist() == [False, True]
    assert table["contact_fraction"].tolist() == [40 / 160, 40 / 220]
    assert summary["cells_touching_border"] == 1


def test_saturated_pixels_are_counted_per_cell_and_image() -> None:
    field, cells, nuclei, spots = two_cells()
    field.channels["exosome"][10:20, 10:50] = 4095
    table, _, summary = measure(field, cells, nuclei, spots, SETTINGS)
    assert table["saturated_fraction"].tolist() == [0.25, 0]
    assert summary["saturated_fraction"] == pytest.approx(400 / 7200)


def test_the_limits_of_central_and_perinuclear_are_settings() -> None:
    wide = SETTINGS.updated(central_radius=0.99, perinuclear_distance_um=50.0)
    table, _, _ = measure(*two_cells(), wide)
    assert table["central_fraction"][0] == table["perinuclear_fraction"][0] == 1


def test_notes_of_the_field_and_of_the_background_are_in_the_summary() -> None:
    field, cells, nuclei, spots = two_cells()
    field = Field("two", field.channels, 0.5, notes=("a z-stack was projected",))
    assert measure(field, cells, nuclei, spots, SETTINGS)[2]["notes"] == "a z-stack was projected"
    cells[:] = 1
    _, _, summary = measure(field, cells, nuclei, spots, SETTINGS)
    assert summary["exosome_background_method"] == "percentile"
    assert "low percentile" in str(summary["notes"])


def names(columns: Any) -> list[str]:
    return [column.name for column in columns]


@pytest.mark.parametrize("spots", [spots_at([], []), pd.DataFrame()], ids=["no rows", "no columns"])
@pytest.mark.parametrize("stain", [True, False])
def test_no_cells_and_no_puncta_give_complete_empty_tables(spots: pd.DataFrame, stain: bool) -> None:
    field, cells, nuclei, some = two_cells()
    full_table, full_puncta, full_summary = measure(field, cells, nuclei, some, SETTINGS)
    none = np.zeros_like(cells)
    table, puncta, summary = measure(field, none, none if stain else None, spots, SETTINGS)
    assert list(table.columns) == list(full_table.columns) == names(CELL_COLUMNS)
    assert list(puncta.columns) == list(full_puncta.columns) == names(PUNCTA_COLUMNS)
    assert list(summary) == list(full_summary) == names(SUMMARY_COLUMNS)
    assert table.dtypes.to_dict() == full_table.dtypes.to_dict()
    assert puncta.dtypes.to_dict() == full_puncta.dtypes.to_dict()
    assert (len(table), len(puncta)) == (0, 0)
    assert summary["cells"] == summary["puncta"] == 0


def test_cells_without_puncta_and_puncta_without_cells() -> None:
    field, cells, nuclei, spots = two_cells()
    table, puncta, _ = measure(field, cells, nuclei, spots[:0], SETTINGS)
    assert table["puncta_count"].tolist() == table["puncta_intensity_sum"].tolist() == [0, 0]
    assert len(puncta) == 0
    table, puncta, summary = measure(field, np.zeros_like(cells), nuclei, spots, SETTINGS)
    assert len(table) == 0
    assert puncta["label"].tolist() == [0] * 4
    assert summary["puncta_outside"] == 4


def test_spots_keep_their_order_and_further_columns_and_may_lack_known_ones() -> None:
    field, cells, nuclei, spots = two_cells()
    spots = spots.drop(columns="snr").assign(aggregate_candidate=[True, False, True, False])
    spots.index = pd.Index([9, 3, 3, 1])
    _, puncta, _ = measure(field, cells, nuclei, spots, SETTINGS)
    assert list(puncta.columns) == [*names(PUNCTA_COLUMNS), "aggregate_candidate"]
    assert puncta["aggregate_candidate"].tolist() == [True, False, True, False]
    assert puncta["peak"].tolist() == spots["peak"].tolist()
    assert puncta["snr"].isna().all()
    assert puncta.index.tolist() == [0, 1, 2, 3]


def test_measuring_the_puncta_table_again_changes_nothing() -> None:
    field, cells, nuclei, spots = random_scene(5)
    table, puncta, _ = measure(field, cells, nuclei, spots, SETTINGS)
    again, same, _ = measure(field, cells, nuclei, puncta, SETTINGS)
    pd.testing.assert_frame_equal(table, again)
    pd.testing.assert_frame_equal(puncta, same)


def test_labels_of_another_shape_are_refused() -> None:
    field, cells, nuclei, spots = two_cells()
    with pytest.raises(ValueError, match="nucleus labels"):
        measure(field, cells, nuclei[1:], spots, SETTINGS)


@QUICK
@given(SEEDS)
def test_every_punctum_is_counted_once(seed: int) -> None:
    field, cells, nuclei, spots = random_scene(seed)
    table, puncta, summary = measure(field, cells, nuclei, spots, SETTINGS)
    assert len(puncta) == len(spots)
    assert table["puncta_count"].sum() == (puncta["label"] > 0).sum() == summary["puncta_in_cells"]
    assert table["puncta_count"].sum() + summary["puncta_outside"] == len(spots)
    inside = spots["intensity"][(puncta["label"] > 0).to_numpy()]
    assert table["puncta_intensity_sum"].sum() == pytest.approx(inside.sum())
    for row in table.itertuples():
        own = spots[(puncta["label"] == row.label).to_numpy()]
        assert row.puncta_count == len(own)
        if len(own):
            assert row.puncta_intensity_median == pytest.approx(own["intensity"].median())
            assert row.puncta_intensity_mean == pytest.approx(own["intensity"].mean())
    radius = puncta["relative_radius"].dropna()
    assert radius.between(0, 1).all()


@QUICK
@given(SEEDS)
def test_relabelling_permutes_the_rows_only(seed: int) -> None:
    field, cells, nuclei, spots = random_scene(seed)
    names = np.random.default_rng(seed).permutation(np.arange(1, 60))
    lookup = np.concatenate([[0], names])
    table, puncta, summary = measure(field, cells, nuclei, spots, SETTINGS)
    other, moved, same = measure(field, lookup[cells], lookup[nuclei], spots, SETTINGS)
    table["label"] = lookup[table["label"]]
    puncta["label"] = lookup[puncta["label"]]
    pd.testing.assert_frame_equal(table.sort_values("label", ignore_index=True), other, rtol=1e-12)
    pd.testing.assert_frame_equal(puncta, moved)
    assert_same_summary(summary, same, 1e-12)


@QUICK
@given(SEEDS)
def test_turning_the_image_by_90_degrees_changes_nothing_but_the_positions(seed: int) -> None:
    field, cells, nuclei, spots = random_scene(seed)
    turned = spots.assign(y_px=cells.shape[1] - 1 - spots["x_px"], x_px=spots["y_px"])
    table, puncta, summary = measure(field, cells, nuclei, spots, SETTINGS)
    other, moved, same = measure(
        changed(field, np.rot90), np.rot90(cells), np.rot90(nuclei), turned, SETTINGS
    )
    # The random turns start elsewhere in each shell: the same to the width of a pixel.
    chance = [name for name in table if name.endswith("_random")]
    np.testing.assert_allclose(table[chance], other[chance], atol=0.2)
    position = ["centroid_y_px", "centroid_x_px", "orientation_deg", *chance]
    pd.testing.assert_frame_equal(
        table.drop(columns=position), other.drop(columns=position), rtol=1e-5, atol=1e-9
    )
    position = ["y_px", "x_px", "y_um", "x_um"]
    pd.testing.assert_frame_equal(
        puncta.drop(columns=position), moved.drop(columns=position), rtol=1e-5, atol=1e-9
    )
    assert_same_summary(summary, same, 1e-5)
    np.testing.assert_allclose(other["centroid_x_px"], table["centroid_y_px"])


@QUICK
@given(SEEDS)
def test_doubling_the_exposure_doubles_the_intensities_only(seed: int) -> None:
    field, cells, nuclei, spots = random_scene(seed)
    table, _, summary = measure(field, cells, nuclei, spots, SETTINGS)
    bright = spots.assign(intensity=2 * spots["intensity"])
    other, _, same = measure(changed(field, lambda image: image * 2), cells, nuclei, bright, SETTINGS)
    doubled = [c.name for c in CELL_COLUMNS if c.unit == "counts"]
    assert "ctcf" in doubled and "puncta_intensity_median" in doubled and "cell_mean" in doubled
    table[doubled] *= 2
    pd.testing.assert_frame_equal(table, other, rtol=1e-5)
    for column in SUMMARY_COLUMNS:
        factor = 2 if column.unit == "counts" else 1
        if column.kind == "number":
            assert same[column.name] == pytest.approx(factor * float(str(summary[column.name])), rel=1e-5)


@QUICK
@given(SEEDS)
def test_twice_the_pixel_size_is_twice_the_length_and_four_times_the_area(seed: int) -> None:
    field, cells, nuclei, spots = random_scene(seed)
    table, puncta, summary = measure(field, cells, nuclei, spots, SETTINGS)
    larger = SETTINGS.updated(perinuclear_distance_um=2 * SETTINGS.perinuclear_distance_um)
    other, moved, same = measure(changed(field, np.copy, 0.5), cells, nuclei, spots, larger)
    factors = {"µm": 2.0, "µm²": 4.0, "1/µm²": 0.25}
    for first, second, columns in ((table, other, CELL_COLUMNS), (puncta, moved, PUNCTA_COLUMNS)):
        for column in columns:
            if column.unit in factors and column.name not in ("puncta_width_um", "width_um"):
                first[column.name] *= factors[column.unit]
        pd.testing.assert_frame_equal(first, second)
    assert summary == same


def test_a_round_cell_with_uniform_puncta_has_the_expected_radii() -> None:
    cells = disc((201, 201), 100, 100, 90).astype(np.uint16)
    rng = np.random.default_rng(0)
    radius, angle = 90 * np.sqrt(rng.uniform(size=4000)), rng.uniform(0, 2 * np.pi, 4000)
    channels = {role: np.ones(cells.shape, np.uint16) for role in ("cell", "exosome")}
    spots = spots_at(100 + radius * np.sin(angle), 100 + radius * np.cos(angle))
    table, puncta, _ = measure(Field("disc", channels, 0.1), cells, None, spots, SETTINGS)
    inside = (puncta["label"] == 1).to_numpy()
    np.testing.assert_allclose(puncta["relative_radius"][inside], radius[inside] / 90, atol=0.02)
    assert table["puncta_relative_radius"][0] == pytest.approx(2 / 3, abs=0.02)
    assert table["central_fraction"][0] == pytest.approx(1 / 4, abs=0.02)


def test_importing_it_loads_no_torch() -> None:
    code = (
        "import sys, napari_tam.measure.cells; sys.exit(bool({'torch', 'napari', 'qtpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

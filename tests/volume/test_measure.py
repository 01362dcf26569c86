from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.columns import (
    CELL_COLUMNS,
    PUNCTA_COLUMNS,
    VOLUME_CELL_COLUMNS,
    VOLUME_PUNCTA_COLUMNS,
    VOLUME_SUMMARY_COLUMNS,
)
from napari_tam.io.field import Field
from napari_tam.settings import Settings
from napari_tam.volume.measure import measure_volume, membrane_distance

STEP, UM = 0.5, 0.25
SHAPE = (29, 80, 160)
RADIUS = 4.0  # µm
CENTRES = ((14, 40, 40), (14, 40, 110))
SETTINGS = Settings(membrane_distance_um=0.6)


def balls(radius: float) -> np.ndarray:
    grid = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint16)
    for number, (z, y, x) in enumerate(CENTRES, 1):
        far = ((grid[0] - z) * STEP) ** 2 + ((grid[1] - y) ** 2 + (grid[2] - x) ** 2) * UM**2
        labels[far <= radius**2] = number
    return labels


CELLS, NUCLEI = balls(RADIUS), balls(1.6)


def field(times: int = 1) -> Field:
    """Two balls of known light on a flat background."""
    stain = 100 + 200 * (CELLS > 0)
    exosome = times * (50 + 30 * (CELLS == 1) + 10 * (CELLS == 2))
    channels = {"cell": stain, "nucleus": 100 + 300 * (NUCLEI > 0), "exosome": exosome}
    return Field("a", {role: c.astype(np.uint16) for role, c in channels.items()}, UM, z_step_um=STEP)


def spots(
    depths: list[float], cell: int = 0, direction: tuple[float, float, float] = (1, 0, 0)
) -> pd.DataFrame:
    """Puncta at depths below the surface of a ball."""
    voxel = np.array([STEP, UM, UM])
    points = np.array(CENTRES[cell]) + np.outer(RADIUS - np.array(depths), direction) / voxel
    table = pd.DataFrame(points, columns=["z_px", "y_px", "x_px"])
    return table.assign(intensity=100.0, width_um=0.5, width_z_um=1.3, snr=10.0, score=0.9)


def test_a_ball_has_the_volume_surface_and_shape_of_a_ball() -> None:
    table, _, _ = measure_volume(field(), CELLS, NUCLEI, spots([]), SETTINGS)
    assert table["volume_um3"].to_numpy() == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.03)
    assert table["surface_um2"].to_numpy() == pytest.approx(4 * np.pi * RADIUS**2, rel=0.05)
    assert table["sphericity"].to_numpy() == pytest.approx(1, abs=0.05)
    assert table["equivalent_diameter_3d_um"].to_numpy() == pytest.approx(2 * RADIUS, rel=0.02)
    assert table["inscribed_radius_3d_um"].to_numpy() == pytest.approx(RADIUS, abs=0.3)
    assert table["height_um"].to_numpy() == pytest.approx(2 * RADIUS, abs=STEP)
    assert table["centroid_z_px"].to_numpy() == pytest.approx(14)
    assert table["area_um2"].to_numpy() == pytest.approx(np.pi * RADIUS**2, rel=0.02)  # of the projection
    assert table["nucleus_count"].tolist() == [1, 1]
    assert table["nucleus_volume_um3"].to_numpy() == pytest.approx(4 / 3 * np.pi * 1.6**3, rel=0.1)
    assert not table["touches_stack_end"].any()
    assert not table["touches_border"].any()


def test_intensities_are_those_of_the_volume() -> None:
    table, _, summary = measure_volume(field(), CELLS, None, spots([]), SETTINGS)
    assert table["exosome_mean"].tolist() == [80, 60]
    voxels = np.bincount(CELLS.ravel())[1:]
    assert table["exosome_integrated"].to_numpy() == pytest.approx(voxels * [30, 10])
    assert summary["exosome_background"] == 50
    assert table["nucleus_count"].isna().all()
    assert table["no_nucleus"].isna().all()


def test_puncta_are_inside_on_the_membrane_or_outside_and_none_is_lost() -> None:
    depths = [2.0, 1.4, 0.2, -0.3, -1.5]
    given_spots = pd.concat([spots(depths), spots(depths, 1, (0, 1, 0))], ignore_index=True)
    table, puncta, summary = measure_volume(field(), CELLS, NUCLEI, given_spots, SETTINGS)
    assert puncta["location"].tolist() == ["inside", "inside", "membrane", "membrane", "outside"] * 2
    assert puncta["label"].tolist() == [1, 1, 1, 1, 0, 2, 2, 2, 2, 0]
    assert puncta["depth_um"].to_numpy() == pytest.approx(np.array(depths * 2), abs=0.3)
    assert table["puncta_count"].tolist() == [4, 4]
    assert table["internal_fraction"].tolist() == [0.5, 0.5]
    assert table["membrane_fraction"].tolist() == [0.5, 0.5]
    assert (summary["puncta_in_cells"], summary["puncta_outside"]) == (8, 2)
    assert (summary["puncta_internal"], summary["puncta_membrane"]) == (4, 4)
    # 2 µm deep is 2 µm from the centre, 0.4 µm from the nucleus
    assert puncta["nucleus_distance_um"][0] == pytest.approx(0.4, abs=0.3)
    assert puncta["z_um"].to_numpy() == pytest.approx(puncta["z_px"].to_numpy() * STEP)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(-1.5, 3.9), max_size=6), st.floats(0.1, 2.0))
def test_every_punctum_is_counted_once(depths: list[float], membrane: float) -> None:
    table, puncta, summary = measure_volume(
        field(), CELLS, None, spots(depths), Settings(membrane_distance_um=membrane)
    )
    assert table["puncta_count"].sum() + summary["puncta_outside"] == len(depths)
    assert (table["internal_count"] + table["membrane_count"]).tolist() == table["puncta_count"].tolist()
    assert (puncta["location"] == "outside").sum() == summary["puncta_outside"]


def test_a_doubled_exposure_doubles_the_intensities_only() -> None:
    once, _, _ = measure_volume(field(), CELLS, NUCLEI, spots([1.0]), SETTINGS)
    twice, _, _ = measure_volume(field(2), CELLS, NUCLEI, spots([1.0]), SETTINGS)
    assert twice["exosome_integrated"].tolist() == pytest.approx((2 * once["exosome_integrated"]).tolist())
    assert twice["volume_um3"].tolist() == once["volume_um3"].tolist()


def test_all_columns_are_there_with_cells_and_without() -> None:
    for cells in (CELLS, np.zeros(SHAPE, np.uint16)):
        table, puncta, summary = measure_volume(field(), cells, NUCLEI, spots([1.0]), SETTINGS)
        assert list(table) == [column.name for column in (*CELL_COLUMNS, *VOLUME_CELL_COLUMNS)]
        names = [column.name for column in (*PUNCTA_COLUMNS, *VOLUME_PUNCTA_COLUMNS)]
        assert list(puncta)[: len(names)] == names
        assert {column.name for column in VOLUME_SUMMARY_COLUMNS} <= set(summary)
    assert puncta["location"].tolist() == ["outside"]


def test_a_cell_cut_by_the_first_plane_is_marked() -> None:
    table, _, _ = measure_volume(field(), np.roll(CELLS, -8, axis=0), None, spots([]), SETTINGS)
    assert table["touches_stack_end"].all()


def test_the_membrane_distance_follows_the_microscope_unless_it_is_given() -> None:
    found = spots([1.0, 2.0])
    assert membrane_distance(found, SETTINGS, 0.25) == 0.6
    assert membrane_distance(found, Settings(), 0.25) == pytest.approx(0.65)
    assert membrane_distance(found, Settings(spot_sigma_z_um=0.4), 0.25) == pytest.approx(0.471, abs=1e-3)
    assert membrane_distance(found[:0], Settings(), 0.25) == 0.25


def test_labels_of_another_shape_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="cell labels"):
        measure_volume(field(), CELLS[1:], None, spots([]), SETTINGS)


def test_a_lysosome_channel_is_measured_in_the_volume_and_saturation_before_corrections() -> None:
    plain = field()
    lysosome = np.where(CELLS > 0, 70, 20).astype(np.uint16)
    both = Field("a", {**plain.channels, "lysosome": lysosome}, UM, z_step_um=STEP)
    raw = np.where(CELLS == 2, 65535, plain.channels["exosome"]).astype(np.uint16)
    table, _, summary = measure_volume(both, CELLS, NUCLEI, spots([1.0]), SETTINGS, {"exosome": raw})
    assert table["lysosome_mean"].tolist() == [70, 70]
    assert table["saturated_fraction"].tolist() == [0, 1]
    assert summary["saturated_fraction"] == pytest.approx((CELLS == 2).mean())

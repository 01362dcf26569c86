from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_images import QUICK, disc, grid, voronoi
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import regionprops_table

from napari_tam.measure.place import boundary_distance
from napari_tam.measure.regions import Regions
from napari_tam.measure.shape import convex_hulls, feret, shape

SEEDS = st.integers(0, 10**6)


def measured(mask: npt.NDArray[Any], pixel_size_um: float = 1.0) -> dict[str, npt.NDArray[Any]]:
    regions = Regions(mask.astype(np.uint16))
    return shape(regions, boundary_distance(regions), pixel_size_um)


def only(mask: npt.NDArray[Any], pixel_size_um: float = 1.0) -> dict[str, float]:
    columns = measured(mask, pixel_size_um)
    assert all(len(values) == 1 for values in columns.values())
    return {name: float(values[0]) for name, values in columns.items()}


def ellipse(shape: tuple[int, int], major: float, minor: float, degrees: float) -> npt.NDArray[np.bool_]:
    """Half axes; the angle is counted upwards from the x axis."""
    y, x = grid(shape)
    y, x = y - (shape[0] - 1) / 2, x - (shape[1] - 1) / 2
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(((x * cos - y * sin) / major) ** 2 + ((x * sin + y * cos) / minor) ** 2 <= 1)


def spindle(half_length: float, half_width: float) -> npt.NDArray[np.bool_]:
    """Return a lens of two arcs, its tips on the x axis."""
    arc = (half_length**2 + half_width**2) / (2 * half_width)
    size = 2 * int(half_length) + 21
    centre = size // 2
    apart = arc - half_width
    both = (disc((size, size), centre + side * apart, centre, arc) for side in (-1, 1))
    return np.asarray(np.logical_and(*both))


def test_disc() -> None:
    radius = 40.0
    columns = only(disc((101, 101), 50, 50, radius), 0.5)
    assert columns["area_um2"] == pytest.approx(np.pi * 20**2, rel=0.005)
    assert columns["perimeter_um"] == pytest.approx(2 * np.pi * 20, rel=0.01)
    assert columns["equivalent_diameter_um"] == pytest.approx(40, rel=0.003)
    assert columns["circularity"] == pytest.approx(1, abs=0.02)
    assert columns["solidity"] == pytest.approx(1, abs=0.03)
    assert columns["aspect_ratio"] == pytest.approx(1, abs=1e-9)
    assert columns["elongation"] == pytest.approx(0, abs=1e-9)
    assert columns["feret_max_um"] == pytest.approx(40, abs=0.75)
    assert columns["feret_min_um"] == pytest.approx(40, abs=0.75)
    assert columns["inscribed_radius_um"] == pytest.approx(20, abs=0.5)
    assert columns["protrusions"] == 0
    assert (columns["centroid_y_px"], columns["centroid_x_px"]) == (50, 50)


def test_rectangle_is_exact() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:22, 5:40] = True  # 12 × 35
    columns = only(mask)
    assert columns["area_um2"] == 420
    assert columns["solidity"] == 1
    assert columns["feret_max_um"] == pytest.approx(np.hypot(12, 35))
    assert columns["feret_min_um"] == pytest.approx(12)
    assert columns["aspect_ratio"] == pytest.approx(35 / 12)
    assert columns["elongation"] == pytest.approx(1 - 12 / 35)
    assert columns["major_axis_um"] == pytest.approx(4 * 35 / np.sqrt(12))
    assert columns["minor_axis_um"] == pytest.approx(4 * 12 / np.sqrt(12))
    assert columns["inscribed_radius_um"] == 5.5  # an even width has no pixel in the middle
    assert columns["orientation_deg"] == 0
    assert columns["perimeter_um"] == pytest.approx(94, rel=0.07)  # the worst case of four directions
    assert (columns["centroid_y_px"], columns["centroid_x_px"]) == (15.5, 22)
    assert columns["protrusions"] == 0


@pytest.mark.parametrize("degrees", [-60, -30, 0, 20, 45, 75, 90])
def test_ellipse(degrees: float) -> None:
    columns = only(ellipse((151, 151), 60, 24, degrees))
    assert columns["area_um2"] == pytest.approx(np.pi * 60 * 24, rel=0.005)
    assert columns["major_axis_um"] == pytest.approx(120, rel=0.01)
    assert columns["minor_axis_um"] == pytest.approx(48, rel=0.01)
    assert columns["elongation"] == pytest.approx(0.6, abs=0.01)
    assert columns["eccentricity"] == pytest.approx(np.sqrt(1 - 0.4**2), abs=0.005)
    assert columns["orientation_deg"] == pytest.approx(degrees, abs=0.5)
    assert columns["feret_max_um"] == pytest.approx(120, abs=1.5)
    assert columns["feret_min_um"] == pytest.approx(48, abs=1.5)
    # Ramanujan's perimeter of an ellipse
    assert columns["perimeter_um"] == pytest.approx(
        np.pi * (3 * 84 - np.sqrt((3 * 60 + 24) * (60 + 3 * 24))), rel=0.03
    )
    assert columns["protrusions"] == 0


def test_spindle_with_known_feret_has_two_protruding_tips() -> None:
    columns = only(spindle(80, 15))
    assert columns["feret_max_um"] == pytest.approx(160, abs=3)
    assert columns["feret_min_um"] == pytest.approx(30, abs=1.5)
    assert columns["inscribed_radius_um"] == pytest.approx(15, abs=1)
    assert columns["protrusions"] == 2


@pytest.mark.parametrize("arms", [1, 2, 3, 5])
def test_every_arm_of_a_star_is_one_protrusion(arms: int) -> None:
    y, x = grid((161, 161))
    y, x = y - 80, x - 80
    mask = disc((161, 161), 80, 80, 30)
    for angle in 0.3 + 2 * np.pi * np.arange(arms) / arms:
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        mask |= (along > 0) & (along < 65) & (np.abs(across) < 5)
    columns = only(mask)
    assert columns["protrusions"] == arms
    assert columns["protrusion_fraction"] == pytest.approx(arms * 35 * 10 / mask.sum(), rel=0.15)


def test_a_neighbour_changes_no_shape() -> None:
    labels = np.zeros((160, 200), np.uint16)
    arm = np.zeros(labels.shape, bool)
    arm[75:85, 60:120] = True
    star = disc(labels.shape, 80, 60, 28) | arm
    labels[star] = 1
    alone = only(labels)
    labels[(disc(labels.shape, 80, 150, 45) | arm | (np.abs(grid(labels.shape)[0] - 80) < 12)) & ~star] = 2
    together = measured(labels)
    assert alone["protrusions"] == 1
    for name, value in alone.items():
        assert together[name][0] == value, name


def test_one_pixel_has_finite_values() -> None:
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    columns = only(mask)
    assert all(np.isfinite(value) for value in columns.values())
    assert columns["aspect_ratio"] == 1
    assert columns["solidity"] == 1
    assert columns["feret_max_um"] == pytest.approx(np.sqrt(2))
    assert columns["feret_min_um"] == pytest.approx(1)


def test_an_empty_image_gives_all_columns_without_rows() -> None:
    columns = measured(np.zeros((20, 20), bool))
    assert {len(values) for values in columns.values()} == {0}


@QUICK
@given(SEEDS)
def test_agrees_with_regionprops(seed: int) -> None:
    labels = voronoi(np.random.default_rng(seed), (60, 80), 7)
    columns = measured(labels)
    truth = regionprops_table(
        labels,
        properties=(
            "area",
            "centroid",
            "equivalent_diameter_area",
            "perimeter_crofton",
            "inertia_tensor_eigvals",
        ),
    )
    np.testing.assert_allclose(columns["area_um2"], truth["area"])
    np.testing.assert_allclose(columns["centroid_y_px"], truth["centroid-0"])
    np.testing.assert_allclose(columns["centroid_x_px"], truth["centroid-1"])
    np.testing.assert_allclose(columns["equivalent_diameter_um"], truth["equivalent_diameter_area"])
    np.testing.assert_allclose(columns["perimeter_um"], truth["perimeter_crofton"])
    # Ours are the moments of unit squares, scikit-image's those of points.
    for name, column in (("major_axis_um", "0"), ("minor_axis_um", "1")):
        points = truth[f"inertia_tensor_eigvals-{column}"]
        np.testing.assert_allclose(columns[name], 4 * np.sqrt(points + 1 / 12), rtol=1e-6)


def test_large_cells_agree_with_regionprops_where_the_definitions_differ() -> None:
    labels = voronoi(np.random.default_rng(3), (400, 400), 12)
    columns = measured(labels)
    names = (
        "solidity",
        "eccentricity",
        "orientation",
        "feret_diameter_max",
        "axis_major_length",
        "perimeter",
    )
    truth = regionprops_table(labels, properties=names)
    np.testing.assert_allclose(columns["solidity"], truth["solidity"], rtol=0.02)
    np.testing.assert_allclose(columns["eccentricity"], truth["eccentricity"], atol=0.005)
    np.testing.assert_allclose(columns["feret_max_um"], truth["feret_diameter_max"], atol=1.5)
    np.testing.assert_allclose(columns["major_axis_um"], truth["axis_major_length"], rtol=0.005)
    # scikit-image counts from the rows' axis, upwards; both are angles of a line.
    turned = (columns["orientation_deg"] - np.degrees(truth["orientation"]) + 90) % 180
    np.testing.assert_allclose(np.minimum(turned, 180 - turned), 0, atol=0.5)


@QUICK
@given(SEEDS)
def test_feret_and_hull_agree_with_brute_force(seed: int) -> None:
    labels = voronoi(np.random.default_rng(seed), (40, 50), 6)
    regions = Regions(labels)
    hull = convex_hulls(regions)
    largest, smallest = feret(hull)
    solidity = measured(labels)["solidity"]
    for rank, label in enumerate(regions.ids):
        pixels = np.argwhere(labels == label)
        corners = np.concatenate([pixels + corner for corner in ((0, 0), (0, 1), (1, 0), (1, 1))])
        truth = ConvexHull(corners)
        assert solidity[rank] == pytest.approx(len(pixels) / truth.volume)
        assert largest[rank] == pytest.approx(pdist(corners[truth.vertices]).max())
        widths = np.ptp(corners @ truth.equations[:, :2].T, axis=0)
        assert smallest[rank] == pytest.approx(widths.min())


def test_many_large_hulls_are_measured_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = voronoi(np.random.default_rng(0), (60, 80), 7)
    whole = measured(labels)
    monkeypatch.setattr("napari_tam.measure.shape._BATCH", 1)
    single = measured(labels)
    np.testing.assert_array_equal(whole["feret_min_um"], single["feret_min_um"])
    np.testing.assert_array_equal(whole["feret_max_um"], single["feret_max_um"])

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_images import QUICK, disc, voronoi
from scipy import ndimage

from napari_tam.measure.place import (
    boundary_distance,
    edge_distance,
    nearest_pixel,
    nucleus_distance,
    nucleus_owners,
)
from napari_tam.measure.regions import Regions


def distances(labels: np.ndarray, y: list[float], x: list[float]) -> list[float]:
    regions = Regions(labels)
    ys, xs = np.array(y, float), np.array(x, float)
    rank = regions.rank_at(*nearest_pixel(ys, xs, regions.shape))
    return edge_distance(regions, boundary_distance(regions), ys, xs, rank).tolist()


@QUICK
@given(st.integers(0, 10**6))
def test_distance_is_that_of_each_cell_alone(seed: int) -> None:
    labels = voronoi(np.random.default_rng(seed), (40, 50), 6)
    regions = Regions(labels)
    distance = boundary_distance(regions)
    boundary = np.zeros(labels.shape, bool)
    boundary.ravel()[regions.boundary] = True
    for label in regions.ids:
        alone = ndimage.distance_transform_edt(~(boundary & (labels == label)))
        np.testing.assert_allclose(distance[labels == label], alone[labels == label], rtol=1e-6)
    outside = ndimage.distance_transform_edt(labels == 0)
    np.testing.assert_allclose(distance[labels == 0], outside[labels == 0], rtol=1e-6)


def test_without_cells_everything_is_infinitely_far() -> None:
    assert np.isinf(boundary_distance(Regions(np.zeros((4, 5), int)))).all()


def test_edge_distance_is_exact_to_straight_edges_between_pixels_too() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[10:50, 20:40] = 1  # its left edge is at x = 19.5
    x = [19.6, 20, 20.3, 24.75, 29.0, 39.4]
    found = distances(labels, [30.2] * 6, x)
    assert found == pytest.approx([0.1, 0.5, 0.8, 5.25, 9.5, 0.1], abs=1e-6)


def test_edge_distance_to_a_neighbour_is_as_to_background() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[10:50, 20:40] = 1
    alone = distances(labels, [30.2] * 5, [20, 29.9, 33.3, 38.1, 39.4])
    labels[10:50, 40:58] = 2
    labels[:10] = 3
    labels[50:] = 4
    assert distances(labels, [30.2] * 5, [20, 29.9, 33.3, 38.1, 39.4]) == pytest.approx(alone)


def test_edge_distance_in_a_disc() -> None:
    labels = disc((121, 121), 60, 60, 50).astype(np.uint8)
    rng = np.random.default_rng(1)
    radius, angle = 47 * np.sqrt(rng.uniform(size=200)), rng.uniform(0, 7, 200)
    found = distances(labels, list(60 + radius * np.sin(angle)), list(60 + radius * np.cos(angle)))
    np.testing.assert_allclose(found, 50 - radius, atol=0.8)


def test_the_image_border_is_an_edge() -> None:
    labels = np.ones((21, 31), np.uint8)
    found = distances(labels, [10, 10, 0, -0.4, 20.5], [3, 0, 5, 5, 5])
    assert found == pytest.approx([3.5, 0.5, 0.5, 0.1, 0.0], abs=1e-6)


def test_outside_cells_there_is_no_distance() -> None:
    assert np.isnan(distances(np.zeros((9, 9), int), [3, 8.4], [4, -0.2])).all()


def test_positions_fall_in_the_nearest_pixel_and_stay_in_the_image() -> None:
    row, col = nearest_pixel(
        np.array([-0.5, 0.49, 0.5, 1.5, 9.7]), np.array([3.2, 3.7, -3, 4.4, 4.6]), (9, 5)
    )
    assert row.tolist() == [0, 0, 1, 2, 8]
    assert col.tolist() == [3, 4, 0, 4, 4]


def test_a_nucleus_belongs_to_the_cell_with_over_half_of_it() -> None:
    cells = np.zeros((20, 40), np.uint8)
    cells[:, :20] = 5
    cells[:, 20:35] = 9
    nuclei = np.zeros_like(cells)
    nuclei[2:4, 2:6] = 1  # in 5
    nuclei[8:10, 17:21] = 2  # three quarters in 5
    nuclei[12:14, 18:22] = 3  # half and half
    nuclei[16:18, 34:38] = 4  # three quarters in no cell
    nuclei[2:4, 25:30] = 6  # in 9
    assert nucleus_owners(Regions(nuclei), Regions(cells)).tolist() == [0, 0, -1, -1, 1]


@QUICK
@given(st.integers(0, 10**6))
def test_nucleus_owners_agree_with_counting_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells, nuclei = voronoi(rng, (30, 40), 5), voronoi(rng, (30, 40), 9)
    found = nucleus_owners(Regions(nuclei), Regions(cells))
    for rank, nucleus in enumerate(Regions(nuclei).ids):
        under = cells[nuclei == nucleus]
        most = [i for i, cell in enumerate(Regions(cells).ids) if (under == cell).mean() > 0.5]
        assert found[rank] == (most[0] if most else -1)


def test_nucleus_distance_is_to_the_own_nucleus_only() -> None:
    cells = np.zeros((40, 80), np.uint8)
    cells[:, :40] = 1
    cells[:, 40:70] = 2
    nuclei = np.zeros_like(cells)
    nuclei[15:25, 5:15] = 3  # of cell 1; cell 2 has none
    nuclei[15:25, 36:40] = 8  # of cell 1 too
    y = np.array([20.0, 20.0, 20.0, 20.0, 20.0, 29.5, 20.0])
    x = np.array([10.0, 17.25, 33.0, 41.0, 75.0, 10.0, 14.4])
    regions = Regions(cells)
    rank = regions.rank_at(*nearest_pixel(y, x, cells.shape))
    owner = nucleus_owners(Regions(nuclei), regions)
    found = nucleus_distance(Regions(nuclei), owner, y, x, rank)
    np.testing.assert_allclose(found, [0, 2.75, 2.5, np.nan, np.nan, 5, 0])


@QUICK
@given(st.integers(0, 10**6))
def test_nucleus_distance_agrees_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = voronoi(rng, (40, 50), 4)
    nuclei = np.where(rng.uniform(size=cells.shape) < 0.02, cells, 0)
    y, x = rng.uniform(0, 39, 30), rng.uniform(0, 49, 30)
    regions, nuclear = Regions(cells), Regions(nuclei)
    rows, cols = nearest_pixel(y, x, cells.shape)
    rank = regions.rank_at(rows, cols)
    found = nucleus_distance(nuclear, nucleus_owners(nuclear, regions), y, x, rank)
    for i in range(len(y)):
        own = np.argwhere(nuclei == regions.ids[rank[i]]) if rank[i] >= 0 else np.zeros((0, 2))
        if not len(own):
            assert np.isnan(found[i])
        else:
            inside = nuclei[rows[i], cols[i]] == regions.ids[rank[i]]
            truth = 0 if inside else np.hypot(*(own - [y[i], x[i]]).T).min() - 0.5
            assert found[i] == pytest.approx(max(truth, 0))

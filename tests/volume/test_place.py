from __future__ import annotations

import numpy as np
import pytest

from napari_tam.measure.regions import Regions
from napari_tam.volume.place import Surfaces, assign, deepest_points, nucleus_distance_um

VOXEL = np.array([0.5, 0.25, 0.25])
CENTRE, RADIUS = np.array([7.5, 12.0, 12.0]), 5.0  # µm


def ball(radius: float = RADIUS, centre: np.ndarray = CENTRE) -> np.ndarray:
    """Return a ball of µm in anisotropic voxels."""
    grid = np.moveaxis(np.indices((31, 97, 97)), 0, -1) * VOXEL
    return (((grid - centre) ** 2).sum(axis=-1) <= radius**2).astype(np.uint16)


def regions_of(cells: np.ndarray) -> Regions:
    return Regions(cells.reshape(-1, cells.shape[2]))


def test_the_surface_of_a_ball_is_its_formula() -> None:
    cells = ball()
    surfaces = Surfaces(cells, np.array([1]), VOXEL)
    assert surfaces.area[0] == pytest.approx(4 * np.pi * RADIUS**2, rel=0.04)
    assert deepest_points(cells, np.array([1]), VOXEL)[0] == pytest.approx(RADIUS, abs=0.3)


@pytest.mark.parametrize("direction", [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, 0, -1), (0.6, 0.64, 0.48)])
def test_depth_is_measured_in_micrometres_in_every_direction(direction: tuple[float, float, float]) -> None:
    cells = ball()
    surfaces = Surfaces(cells, np.array([1]), VOXEL)
    depths = np.array([4.0, 2.0, 1.0, 0.0, -1.0, -1.5])
    points = (CENTRE + np.outer(RADIUS - depths, direction)) / VOXEL
    place = assign(cells, regions_of(cells), surfaces, points, VOXEL, 0.6)
    assert place.depth_um[[0, 1, 2, 4, 5]] == pytest.approx(depths[[0, 1, 2, 4, 5]], abs=0.3)
    assert place.location.tolist() == ["inside"] * 3 + ["membrane"] + ["outside"] * 2
    assert place.rank.tolist() == [0, 0, 0, 0, -1, -1]


def test_a_punctum_on_the_membrane_belongs_to_the_nearer_cell() -> None:
    cells = np.zeros((9, 20, 40), np.uint16)
    cells[2:7, 4:16, 4:16], cells[2:7, 4:16, 24:36] = 3, 8
    regions = regions_of(cells)
    surfaces = Surfaces(cells, regions.ids, np.array([1.0, 1.0, 1.0]))
    points = np.array([[4.0, 10, 16.2], [4.0, 10, 23.0], [4.0, 10, 20.0]])
    place = assign(cells, regions, surfaces, points, np.ones(3), 1.2)
    assert regions.ids[place.rank[:2]].tolist() == [3, 8]
    assert place.rank[2] == -1
    assert place.location.tolist() == ["membrane", "membrane", "outside"]


def test_without_cells_everything_is_outside() -> None:
    cells = np.zeros((4, 20, 20), np.uint16)
    regions = regions_of(cells)
    place = assign(cells, regions, Surfaces(cells, regions.ids, VOXEL), np.ones((2, 3)), VOXEL, 0.6)
    assert place.location.tolist() == ["outside"] * 2
    assert np.isnan(place.depth_um).all()


def test_the_distance_to_the_nucleus_counts_in_z_with_the_real_step() -> None:
    nuclei = np.zeros((20, 40, 40), np.uint16)
    nuclei[5:8, 10:20, 10:20] = 2
    points = np.array([[6.0, 15, 15], [17.0, 15, 15], [6.0, 15, 29], [6.0, 15, 29]])
    rank = np.array([0, 0, 0, 1])
    found = nucleus_distance_um(nuclei, np.array([0]), points, rank, np.array([0.5, 0.25, 0.25]))
    assert found[:3] == pytest.approx([0, 10 * 0.5 - 0.125, 10 * 0.25 - 0.125])
    assert np.isnan(found[3])


def test_where_the_stack_cuts_a_cell_there_is_no_membrane() -> None:
    cells = ball()[15:]  # cut through the middle
    surfaces = Surfaces(cells, np.array([1]), VOXEL)
    assert surfaces.area[0] == pytest.approx(2 * np.pi * RADIUS**2, rel=0.06)
    points = np.array([[0.0, 48, 48], [0.0, 48, 48 + 18.8]])
    place = assign(cells, regions_of(cells), surfaces, points, VOXEL, 0.6)
    assert place.location.tolist() == ["inside", "membrane"]
    assert place.depth_um[0] == pytest.approx(RADIUS, abs=0.3)


def test_a_cell_that_fills_the_stack_has_no_surface_and_holds_its_puncta() -> None:
    cells = np.ones((4, 20, 20), np.uint16)
    surfaces = Surfaces(cells, np.array([1]), VOXEL)
    place = assign(cells, regions_of(cells), surfaces, np.array([[1.0, 5, 5]]), VOXEL, 0.6)
    assert place.location.tolist() == ["inside"]
    assert np.isnan(place.depth_um[0])
    assert np.isnan(deepest_points(cells, np.array([1]), VOXEL)[0])

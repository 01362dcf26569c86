"""The width of a punctum in stacks whose width is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_tam.volume.psf_width import typical_sigma

SHAPE = (24, 60, 60)
APART = np.array([[8.3, 12.4, 14.7], [12.6, 40.2, 18.1], [10.0, 25.5, 44.3]])


def stack(points: np.ndarray, sigma: tuple[float, float], height: float = 300.0) -> np.ndarray:
    """Return Gaussians of one height on a level of 100."""
    grid = np.indices(SHAPE)
    image = np.full(SHAPE, 100.0)
    for z, y, x in points:
        far = ((grid[0] - z) / sigma[0]) ** 2 + ((grid[1] - y) ** 2 + (grid[2] - x) ** 2) / sigma[1] ** 2
        image += height * np.exp(-0.5 * far)
    return image.astype(np.float32)


def voxels(points: np.ndarray) -> np.ndarray:
    return np.clip(np.round(points), 0, np.array(SHAPE) - 1).astype(np.intp)


@pytest.mark.parametrize("sigma", [(1.9, 1.0), (0.8, 1.2), (3.0, 1.6), (1.2, 2.4)])
@pytest.mark.parametrize("start", [1.2, 2.5])
def test_the_width_of_the_microscope_is_measured(sigma: tuple[float, float], start: float) -> None:
    found = typical_sigma(stack(APART, sigma), voxels(APART), np.array([start, 1.4]))
    assert found == pytest.approx(sigma, rel=0.08)


def test_crowds_in_hazy_cells_have_the_width_of_single_puncta() -> None:
    rng = np.random.default_rng(4)
    points = rng.uniform((3, 15, 15), (21, 45, 45), (60, 3))
    haze = np.zeros(SHAPE[1:], np.float32)
    cv2.circle(haze, (30, 30), 20, 1.0, -1)
    haze = 600 * cv2.GaussianBlur(haze, (0, 0), 4)
    depth = np.exp(-0.5 * ((np.arange(SHAPE[0]) - 12) / 7) ** 2)
    image = stack(points, (1.6, 1.2)) + depth[:, None, None] * haze + rng.normal(0, 6, SHAPE)
    found = typical_sigma(image.astype(np.float32), voxels(points), np.array([2.5, 1.4]))
    assert found == pytest.approx([1.6, 1.2], rel=0.2)


@pytest.mark.parametrize("planes", [3, 5])
def test_a_stack_thinner_than_a_punctum_still_tells_its_width_in_the_plane(planes: int) -> None:
    points = APART - [APART[0, 0] - planes // 2, 0, 0]
    image = stack(points, (3.0, 1.0))[:planes]
    places = np.clip(voxels(points), 0, [planes - 1, 59, 59])
    assert typical_sigma(image, places, np.array([3.0, 1.4])) == pytest.approx([3.0, 1.0], rel=0.1)


def test_where_some_puncta_lie_beyond_a_thin_stack_its_width_in_the_plane_is_told() -> None:
    points = APART - [8, 0, 0]
    image = stack(points, (3.0, 1.0))[:5]
    places = np.clip(np.round(points), 0, [4, 59, 59]).astype(np.intp)
    assert typical_sigma(image, places, np.array([3.0, 1.4])) == pytest.approx([3.0, 1.0], rel=0.1)


def test_a_single_plane_keeps_what_is_expected_along_z() -> None:
    places = np.array([[0, 12, 15]])
    found = typical_sigma(stack(APART, (3.0, 1.0))[8:9], places, np.array([2.2, 1.4]))
    assert found[0] == 2.2

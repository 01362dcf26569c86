from __future__ import annotations

import numpy as np
import pytest

from napari_tam.volume.photometry import measure

SHAPE = (24, 60, 60)


def stack(points: np.ndarray, photons: float | np.ndarray, sigma: tuple[float, float]) -> np.ndarray:
    """Return Gaussians of known integral on a level of 100."""
    grid = np.indices(SHAPE)
    image = np.full(SHAPE, 100.0)
    for (z, y, x), light in zip(points, np.broadcast_to(photons, len(points)), strict=True):
        height = light / ((2 * np.pi) ** 1.5 * sigma[0] * sigma[1] ** 2)
        far = ((grid[0] - z) / sigma[0]) ** 2 + ((grid[1] - y) ** 2 + (grid[2] - x) ** 2) / sigma[1] ** 2
        image += height * np.exp(-0.5 * far)
    return image.astype(np.float32)


APART = np.array([[8.3, 12.4, 14.7], [12.6, 40.2, 18.1], [10.0, 25.5, 44.3]])


@pytest.mark.parametrize("sigma", [(1.1, 0.8), (2.0, 1.4), (0.75, 1.2)])
def test_place_intensity_and_widths_are_those_of_the_puncta(sigma: tuple[float, float]) -> None:
    image = stack(APART, 5000.0, sigma)
    found = measure(image, np.round(APART).astype(np.intp), np.array(sigma))
    assert np.abs(found.points - APART).max() < 0.06
    assert found.intensity == pytest.approx(5000, rel=0.05)
    assert found.level == pytest.approx(100, abs=0.5)
    assert found.sigma[:, 0] == pytest.approx(sigma[0], rel=0.08)
    assert found.sigma[:, 1] == pytest.approx(sigma[1], rel=0.05)


def test_neighbours_do_not_get_each_others_light() -> None:
    points = np.array([[10.0, 30.0, 30.0], [14.0, 30.0, 30.0], [10.0, 30.0, 34.0]])
    light = np.array([6000.0, 3000.0, 2000.0])
    found = measure(stack(points, light, (1.5, 1.4)), points.astype(np.intp), np.array([1.5, 1.4]))
    assert found.intensity == pytest.approx(light, rel=0.1)


def test_a_punctum_that_the_first_plane_cuts_is_made_up_for() -> None:
    points = np.array([[0.0, 30.0, 30.0]])
    found = measure(stack(points, 4000.0, (1.5, 1.3)), points.astype(np.intp), np.array([1.5, 1.3]))
    assert found.intensity == pytest.approx(4000, rel=0.08)


def test_doubled_light_is_doubled_intensity() -> None:
    peaks = np.round(APART).astype(np.intp)
    once, twice = (measure(stack(APART, n, (1.2, 1.1)), peaks, np.array([1.2, 1.1])) for n in (3000, 6000))
    assert twice.intensity == pytest.approx(2 * once.intensity, rel=1e-3)
    assert np.allclose(once.points, twice.points, atol=1e-3)

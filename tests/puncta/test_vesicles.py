"""Which objects are wider than a point, beyond the error of their width."""

from __future__ import annotations

import numpy as np
import pytest

from napari_tam.puncta.crowds.resolving import resolve_crowds
from napari_tam.puncta.detect import measure_spots
from napari_tam.puncta.vesicles import is_vesicle
from napari_tam.settings import Settings

SIGMA, LEVEL = 1.4, 40.0


def field(
    wide: float, height: float, seed: int, count: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image of count\u00b2 spots, every eighth `wide` times as wide; their places, and which are."""
    rng, step = np.random.default_rng(seed), 26
    places = step * (np.stack(np.divmod(np.arange(count**2), count), axis=1) + 0.5)
    places = places + rng.uniform(-4, 4, places.shape)
    chosen = np.arange(count**2) % 8 == 0
    y, x = np.mgrid[: step * count, : step * count]
    image = np.full(y.shape, LEVEL)
    for (row, column), is_wide in zip(places, chosen, strict=True):
        sigma = SIGMA * (wide if is_wide else rng.normal(1, 0.03))
        image += height * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / sigma**2)
    return rng.poisson(image).astype(np.float32), places, chosen


@pytest.mark.parametrize(("wide", "height"), [(2.0, 200.0), (2.5, 60.0), (1.6, 800.0)])
def test_wide_objects_are_vesicles_and_puncta_are_none(wide: float, height: float) -> None:
    image, places, chosen = field(wide, height, seed=1)
    table = measure_spots(image, places, np.full(len(places), 0.9, np.float32), 0.1, Settings())
    for found in (table, resolve_crowds(table, image, 0.1, None)):
        vesicle = found["vesicle"].to_numpy(bool)
        assert vesicle[chosen].mean() >= 0.9
        assert vesicle[~chosen].mean() <= 0.01


def test_noise_makes_no_vesicles() -> None:
    image, places, _ = field(1.0, 25.0, seed=2)
    table = measure_spots(image, places, np.full(len(places), 0.9, np.float32), 0.1, Settings())
    assert table["vesicle"].mean() <= 0.02


def test_the_error_of_the_width_is_what_it_says() -> None:
    image, places, _ = field(1.0, 150.0, seed=3, count=16)
    table = measure_spots(image, places, np.full(len(places), 0.9, np.float32), 0.1, Settings())
    spread = 1.4826 * np.median(np.abs(table["width_um"] - table["width_um"].median()))
    said = np.hypot(table["width_se_um"].median(), 0.03 * table["width_um"].median())
    assert spread == pytest.approx(said, rel=0.5)


def test_a_width_that_is_hardly_known_is_no_vesicle_and_a_known_one_is() -> None:
    sigma = np.array([2.5, 2.5, 1.5, 1.9])
    snr = np.array([3.0, 50.0, 1000.0, 1000.0])
    assert is_vesicle(sigma, snr, 1.4).tolist() == [False, True, False, True]

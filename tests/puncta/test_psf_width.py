"""The width of a single punctum, in images whose width is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from flow_images import spots_image
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.puncta.psf_width import (
    LEAST_PX,
    MOST_PX,
    TYPICAL_SIGMA_PX,
    roundness_of_tops,
    typical_sigma,
)

SHAPE = (200, 220)
Spot = tuple[float, float, float, float]


def scattered(sigma: float, density: float, seed: int = 0) -> list[Spot]:
    """Draw puncta anywhere, so many a pixel, of heights that differ by 30 %."""
    rng = np.random.default_rng(seed)
    count = max(12, int(density * SHAPE[0] * SHAPE[1]))
    y, x = rng.uniform(12, SHAPE[0] - 12, count), rng.uniform(12, SHAPE[1] - 12, count)
    height = 300 * np.exp(rng.normal(0, 0.3, count))
    return list(zip(y.tolist(), x.tolist(), height.tolist(), [sigma] * count, strict=True))


@given(
    sigma=st.floats(0.9, 3.2), density=st.sampled_from([0.0005, 0.002, 0.005, 0.01]), seed=st.integers(0, 99)
)
@settings(max_examples=30, deadline=None)
def test_the_typical_width_is_that_of_single_puncta_however_crowded(
    sigma: float, density: float, seed: int
) -> None:
    spots = scattered(sigma, density, seed)
    found = typical_sigma(spots_image(SHAPE, spots, noise=5, seed=seed), np.array(spots)[:, :2])
    assert found == pytest.approx(sigma, rel=0.12)


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_hazy_cells_are_no_part_of_a_punctums_width(sigma: float) -> None:
    spots = scattered(sigma, 0.002)
    body = np.zeros(SHAPE, np.float32)
    cv2.ellipse(body, (110, 100), (90, 60), 30, 0, 360, 900, -1)
    image = spots_image(SHAPE, spots, background=100 + cv2.GaussianBlur(body, (0, 0), 6), noise=8)
    assert typical_sigma(image, np.array(spots)[:, :2]) == pytest.approx(sigma, rel=0.08)


def test_the_typical_width_is_that_of_single_puncta() -> None:
    rng = np.random.default_rng(0)
    spots = [
        (
            20 + 40 * i + rng.uniform(-0.5, 0.5),
            20 + 40 * j + rng.uniform(-0.5, 0.5),
            rng.uniform(200, 600),
            1.7,
        )
        for i in range(4)
        for j in range(6)
    ]
    spots[3] = (*spots[3][:2], 900.0, 5.0)  # an aggregate does not count
    image = spots_image((160, 240), spots, noise=4)
    assert typical_sigma(image, np.array(spots)[:, :2]) == pytest.approx(1.7, rel=0.05)


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (9, 9)])
def test_small_and_empty_images_have_a_width_within_the_limits(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    for image in (np.zeros(shape, np.float32), noise):
        assert LEAST_PX <= typical_sigma(image, np.array([[0.0, 0.0], [0.0, 30.0]])) <= MOST_PX
    assert typical_sigma(np.zeros(shape, np.float32), np.zeros((1, 2))) == TYPICAL_SIGMA_PX


@given(sigma=st.floats(1.5, 6), level=st.floats(0, 5000), height=st.floats(0.1, 5000))
@settings(max_examples=30, deadline=None)
def test_a_gaussian_has_a_round_top_and_a_disc_a_flat_one(sigma: float, level: float, height: float) -> None:
    apart = np.hypot(*(np.mgrid[:120, :120] - np.array([60.0, 59.7])[:, None, None]))
    gaussian, disc = (
        level + height * shape for shape in (np.exp(-0.5 * (apart / sigma) ** 2), apart < 2.4 * sigma)
    )
    middle = np.array([[60.0, 60.0]])
    # 2 s²σ² / (σ² + s²)² at s = 0.6 σ, over the same at s = σ
    assert roundness_of_tops(gaussian.astype(np.float32), middle, sigma)[0] == pytest.approx(0.778, abs=0.05)
    assert roundness_of_tops(disc.astype(np.float32), middle, sigma)[0] < 0.45


def test_what_is_dark_has_no_top() -> None:
    dark = spots_image(SHAPE, [(100.0, 100.0, -300.0, 2.0)], noise=0, background=1000)
    assert roundness_of_tops(dark, np.array([[100.0, 100.0]]), 2.0)[0] == 0

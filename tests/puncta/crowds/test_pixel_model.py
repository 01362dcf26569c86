from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.puncta.crowds.emitters import Emitters, add_light
from napari_tam.puncta.crowds.pixel_model import background_image, pixel_variance

SHAPE, SIGMA = (96, 128), 1.4

#: Photons of the background that full cells lie on.
BEHIND = 40.0


def emitters(points: np.ndarray) -> Emitters:
    count = len(points)
    return Emitters(points, np.ones(count), np.full(count, SIGMA), np.arange(count))


def lit(background: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return an image with puncta on what is behind them."""
    y, x = np.indices(SHAPE)
    image = background.astype(np.float32)
    for row, column in points:
        image += 100 * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / SIGMA**2).astype(np.float32)
    return image


def around(points: np.ndarray, reach: int) -> np.ndarray:
    """Return squares around points."""
    taken = np.zeros(SHAPE, bool)
    for row, column in points.astype(int):
        taken[row - reach : row + reach + 1, column - reach : column + reach + 1] = True
    return taken


@given(
    level=st.floats(-1e3, 1e3),
    down=st.floats(-5, 5),
    right=st.floats(-5, 5),
    seed=st.integers(0, 99),
    known=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_a_slope_goes_on_under_the_puncta(
    level: float, down: float, right: float, seed: int, known: bool
) -> None:
    points = np.random.default_rng(seed).uniform([20, 20], [SHAPE[0] - 20, SHAPE[1] - 20], (12, 2))
    y, x = np.indices(SHAPE)
    slope = level + down * y + right * x
    taken = around(points, 4) if known else None
    found = background_image(lit(slope, points), emitters(points), SIGMA, taken)
    inside = (slice(16, -16), slice(16, -16))
    # Of 100 at their peaks a little lies beyond what is cut out (2.7 sigma).
    steepest = max(abs(down), abs(right))
    assert np.abs(found - slope)[inside].max() < 1.5 * steepest + 5
    assert np.median(np.abs(found - slope)[inside]) < 0.2 * steepest + 1


@pytest.mark.parametrize("away", [4, 6, 9])
def test_beside_the_edge_of_a_cell_the_background_is_that_of_the_cell(away: int) -> None:
    cell = np.full(SHAPE, 100, np.float32)
    cell[:, 64:] += 80
    cell = cv2.GaussianBlur(cell, (0, 0), SIGMA)
    points = np.array([[24.0, 64.0 + away], [72.0, 64.0 + away]])
    found = background_image(lit(cell, points), emitters(points), SIGMA, around(points, 4))
    smooth = background_image(lit(cell, points), emitters(points), SIGMA)
    at = tuple(points.astype(int).T)
    assert np.abs(found[at] - cell[at]).max() < 0.25 * 80
    assert np.abs(found[at] - cell[at]).max() < np.abs(smooth[at] - cell[at]).max() + 1


def full_cells(seed: int) -> tuple[np.ndarray, Emitters, np.ndarray]:
    """Photons of nine cells with 35 puncta each, the puncta, and (Y, X) what is expected."""
    rng = np.random.default_rng(seed)
    middles = np.stack(np.meshgrid([44, 92, 140], [44, 92, 140]), axis=-1).reshape(-1, 1, 2)
    radius, angle = 12 * np.sqrt(rng.random((9, 35))), rng.uniform(0, 2 * np.pi, (9, 35))
    points = (middles + np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=2)).reshape(-1, 2)
    peak = 1500 / (2 * np.pi * SIGMA**2)
    true = Emitters(points, np.full(315, peak), np.full(315, SIGMA), np.arange(315))
    light = np.zeros((184, 184), np.float32)
    add_light(light, true)
    expected = light + BEHIND
    return rng.poisson(expected).astype(np.float32), true, expected


@pytest.mark.parametrize(
    ("what", "within"),
    [("as taken", 1.5), ("cut off", 1.8), ("cut off higher", 1.8), ("masked", 1.8), ("JPEG", 3.0)],
)
def test_the_noise_of_puncta_is_not_that_of_a_background_without_any(what: str, within: float) -> None:
    image, true, expected = full_cells(0)
    lit_there = expected > BEHIND + 2
    if what.startswith("cut off"):  # the higher, the more of what is around faint puncta is flat as well
        image = np.maximum(image, BEHIND + (45 if what.endswith("higher") else 12))
    elif what == "masked":
        image = np.where(lit_there, image, np.float32(BEHIND))
    elif what == "JPEG":
        top = float(image.max()) / 255
        grey = np.clip((image - BEHIND) / top, 0, 255).astype(np.uint8)
        packed = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        image = cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE).astype(np.float32) * np.float32(top) + BEHIND
    model = (expected - BEHIND).astype(np.float32)
    known = pixel_variance(image - expected.astype(np.float32), model, true)
    bright = (model > 0.3 * true.peak[0]) & (model < 2 * true.peak[0])
    ratio = float(np.median(1 / known.weight(model)[bright] / expected[bright]))
    assert 1 / within < ratio < within


def test_no_pixel_is_known_better_than_a_thousandth_of_the_range() -> None:
    _, true, expected = full_cells(1)
    model = (expected - BEHIND).astype(np.float32)
    known = pixel_variance(np.zeros_like(model), model, true)
    assert known.weight(model).max() <= 1 / (1e-3 * np.percentile(model, 99)) ** 2

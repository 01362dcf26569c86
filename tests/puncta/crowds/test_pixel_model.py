from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.puncta.crowds.emitters import Emitters
from napari_tam.puncta.crowds.pixel_model import background_image

SHAPE, SIGMA = (96, 128), 1.4


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

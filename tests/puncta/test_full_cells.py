"""Cells that are full of puncta, and glow: all of them, and none of the glow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from bundled import need
from scipy.special import ndtr

from napari_tam.evaluate.matching import match_points
from napari_tam.networks.predictor import Predictor
from napari_tam.puncta.detect import NetworkDetector
from napari_tam.puncta.working_scale import FULL_PX, LARGER_PX, look
from napari_tam.settings import Settings

#: Edge of the square that each of 25 cells has, and its radius (px); grey values a photon.
SIDE, RADIUS, GAIN = 48, 12.0, 2.0


def full_cells(count: int, photons: float, sigma: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw cells of so many puncta each, their places, and how much light they have in all."""
    rng = np.random.default_rng(seed)
    edge = 5 * SIDE
    middles = (np.argwhere(np.ones((5, 5))) + 0.5) * SIDE
    away, angle = RADIUS * np.sqrt(rng.random((25, count))), rng.uniform(0, 2 * np.pi, (25, count))
    places = (middles[:, None] + np.stack([away * np.sin(angle), away * np.cos(angle)], axis=2)).reshape(
        -1, 2
    )
    y, x = np.mgrid[:edge, :edge]
    bodies = (np.hypot(*(((grid % SIDE) - SIDE / 2) for grid in (y, x))) < RADIUS).astype(np.float32)
    light = 20 + 20 * cv2.GaussianBlur(bodies, (0, 0), 3).astype(float)
    strength = photons * np.exp(rng.normal(0, 0.3, len(places)))
    ends = np.arange(edge + 1) - 0.5
    for (row, column), share in zip(places, strength, strict=True):
        down, across = (np.diff(ndtr((ends - centre) / sigma)) for centre in (row, column))
        light += share * np.outer(down, across)
    image = GAIN * rng.poisson(light) + rng.normal(100, 4, light.shape)
    return np.round(image).astype(np.uint16), places, GAIN * float(strength.sum())


def bundled() -> NetworkDetector:
    return NetworkDetector(Predictor(need("puncta").load()))


@pytest.mark.parametrize(
    ("count", "photons", "sigma", "fewer", "more"),
    [
        (40, 2000, 1.3, 0.2, 0.05),
        (40, 600, 1.2, 0.15, 0.1),
        (14, 500, 1.5, 0.1, 0.2),
        (14, 1500, 1.5, 0.1, 0.1),
    ],
)
def test_puncta_that_fill_glowing_cells_are_counted(
    count: int, photons: float, sigma: float, fewer: float, more: float
) -> None:
    image, places, _ = full_cells(count, photons, sigma, 1)
    found = bundled().detect(image, 0.1, Settings())
    assert 1 - fewer < len(found) / len(places) < 1 + more
    hits = len(match_points(places, found[["y_px", "x_px"]].to_numpy(float), 2 * sigma))
    assert hits > 0.84 * len(found)


@pytest.mark.parametrize(
    ("photons", "sigma", "within"), [(500, 1.2, 0.12), (1500, 1.5, 0.08), (500, 1.5, 0.3)]
)
def test_what_glows_is_no_light_of_the_puncta(photons: float, sigma: float, within: float) -> None:
    image, _, light = full_cells(14, photons, sigma, 2)
    found = bundled().detect(image, 0.1, Settings())
    assert found["intensity"].sum() == pytest.approx(light, rel=within)


def test_the_fuller_the_cells_the_larger_the_image_that_the_network_sees() -> None:
    network = Predictor(need("puncta").load())
    full, some = (
        look(full_cells(count, 2000, 1.4, 3)[0].astype(np.float32), network, 4) for count in (40, 4)
    )
    assert some.times == 1
    assert LARGER_PX < 1.45 / full.times < 1.1 * FULL_PX

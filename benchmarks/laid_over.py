"""Known puncta laid over real cells: what `puncta.py` measures beside images that people marked.

The cell stain of a real field (enlarged, so that cells are as wide as at high magnification) is the
haze; every hand-drawn cell holds puncta of one width whose light differs from one to the next, and the sum
is photographed with shot noise and read noise. Puncta that nobody could see, or tell from a brighter
one, stay in the truth: 1 is out of reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Puncta of a cell, and pixels of it that each has at least.
KINDS = {"sparse": ((2, 8), 200), "crowded": ((12, 30), 35)}

FIELDS, EDGE_PX, SEED = 16, 640, 41


def laid_over(data: Path, kind: str) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Yield grey values, places (N, 2) and width (sigma, px) of the puncta of each field.

    Parameters
    ----------
    data
        The folder of images beside the project.
    kind
        One of `KINDS`.
    """
    paths = [p for p in sorted((data / "cells").glob("*.tif")) if not p.name.endswith("_masks.tif")]
    chosen = np.random.default_rng(SEED).permutation(len(paths))[:FIELDS]
    for number in chosen:
        stain, labels = _field(paths[number])
        rng = np.random.default_rng([SEED, int(number), list(KINDS).index(kind)])
        sigma = float(rng.uniform(1.1, 1.9))
        points = _places(labels, rng, *KINDS[kind])
        level = rng.uniform(8, 30)
        haze = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 6)
        light = level * (1 + rng.uniform(0.3, 2.5) * stain + rng.uniform(0.2, 1.5) * haze)
        photons = np.exp(rng.normal(np.log(600 * rng.uniform(0.7, 2)), 0.5, len(points)))
        for (y, x), amount in zip(points, photons, strict=True):
            _add(light, y, x, sigma, amount)
        image = 2 * (rng.poisson(light) + rng.normal(100, 2, light.shape))
        yield np.clip(image, 0, 65535).astype(np.uint16), points, sigma


def _field(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Cell stain, most of it from 0 to 1, and labels of the cells, both enlarged."""
    image = tifffile.imread(path).astype(np.float32)
    stain = image[0] if image.ndim == 3 else image
    labels = tifffile.imread(path.with_name(f"{path.stem}_masks.tif")).astype(np.float32)
    times = 2.0 if max(stain.shape) < 400 else 1.5
    size = tuple(round(n * times) for n in stain.shape[::-1])
    stain = cv2.resize(cv2.GaussianBlur(stain, (0, 0), 0.7), size, interpolation=cv2.INTER_CUBIC)
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
    low, high = np.percentile(stain, (1, 99.8))
    part = (slice(EDGE_PX), slice(EDGE_PX))
    return np.clip((stain - low) / (high - low), 0, 1.2)[part], labels[part]


def _places(labels: np.ndarray, rng: np.random.Generator, number: tuple[int, int], room: int) -> np.ndarray:
    """Draw the places of the puncta of all cells."""
    places = [np.zeros((0, 2))]
    for cell in np.unique(labels[labels > 0]):
        inside = np.argwhere(labels == cell)
        count = min(int(rng.integers(*number)), len(inside) // room)
        places.append(inside[rng.integers(len(inside), size=count)] + rng.uniform(-0.5, 0.5, (count, 2)))
    return np.concatenate(places)


def _add(light: np.ndarray, y: float, x: float, sigma: float, photons: float) -> None:
    """Add a Gaussian to an image."""
    rows, columns = (
        np.arange(max(0, int(at) - 9), min(size, int(at) + 10))
        for at, size in ((y, light.shape[0]), (x, light.shape[1]))
    )
    squared = (rows[:, None] - y) ** 2 + (columns[None] - x) ** 2
    light[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += (
        photons / (2 * np.pi * sigma**2) * np.exp(-0.5 * squared / sigma**2)
    )

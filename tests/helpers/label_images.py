"""Random label images and drawn outlines for the tests of the measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from scipy import ndimage

#: Enough for laws that hold exactly; no deadline, because machines are shared.
QUICK = settings(max_examples=20, deadline=None)

Labels = npt.NDArray[np.uint16]


def grid(shape: tuple[int, int]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return row and column coordinates of all pixels."""
    y, x = np.indices(shape)
    return y, x


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> npt.NDArray[np.bool_]:
    """Return a filled circle."""
    rows, cols = grid(shape)
    return np.asarray((rows - y) ** 2 + (cols - x) ** 2 <= radius**2)


def voronoi(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Labels:
    """Return touching cells with gaps, holes and gaps in their numbers; some reach the border."""
    seeds = rng.uniform(0, 1, (cells, 2)) * shape
    rows, cols = grid(shape)
    nearest = np.argmin([(rows - y) ** 2 + (cols - x) ** 2 for y, x in seeds], axis=0)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 3)
    names = rng.permutation(3 * cells)[:cells] + 1
    return np.where(noise < np.quantile(noise, 0.7), names[nearest], 0).astype(np.uint16)

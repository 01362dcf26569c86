"""Thresholds of two channels for their co-localisation: Otsu (1979), Costes et al. (2004)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_tam.measure.regions import Floats


#: Costes' search uses at most so many pixels, evenly taken.
COSTES_PIXELS = 400_000


def otsu(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return Otsu's threshold of each channel over the pixels of all cells (Otsu 1979)."""
    from skimage.filters import threshold_otsu

    # In a constant channel nothing is above the threshold.
    found = [float(threshold_otsu(light)) for light in (first, second)]  # type: ignore[no-untyped-call]
    return found[0], found[1]


def costes(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return Costes' thresholds over the pixels of all cells (Costes et al. 2004, Biophys J 86:3993).

    Both lie on the line of orthogonal regression, at the height below which the pixels do not
    correlate any more (found by bisection). Without a positive correlation there is no such line,
    and nothing is above the thresholds but what exceeds the brightest pixels.
    """
    step = max(1, len(first) // COSTES_PIXELS)
    x, y = first[::step].astype(np.float64), second[::step].astype(np.float64)
    covariance = np.cov(x, y) if len(x) > 1 else np.zeros((2, 2))
    (xx, xy), (_, yy) = covariance
    if xy <= 0:
        return float(first.max()), float(second.max())
    slope = (yy - xx + np.sqrt((yy - xx) ** 2 + 4 * xy**2)) / (2 * xy)
    base = y.mean() - slope * x.mean()
    low, high = float(x.mean()), float(x.max())
    for _ in range(20):
        middle = (low + high) / 2
        below = (x < middle) | (y < slope * middle + base)
        if _correlate(x[below], y[below]):
            high = middle
        else:
            low = middle
    return high, float(slope * high + base)


def _correlate(x: Floats, y: Floats) -> bool:
    """Tell whether two variables are positively correlated."""
    return len(x) > 2 and float(((x - x.mean()) * (y - y.mean())).sum()) > 0

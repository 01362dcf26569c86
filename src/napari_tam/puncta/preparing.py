"""A plane made ready for puncta to be looked for in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam.puncta.padding import filled, padding_of
from napari_tam.puncta.spot_input import Plane, repair_hot_pixels, thinned

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float

#: Least noise and least light are absolute numbers, made for grey values that span at least this.
LEAST_RANGE = 100.0


@dataclass(frozen=True)
class Ready:
    """A plane as puncta are looked for in it.

    Attributes
    ----------
    pixels
        (Y, X) without hot pixels, padding filled, and `times` the plane's values.
    hot
        (N, 2) the places of hot pixels.
    padding
        (Y, X) what no microscope saw; None if there is no such thing.
    times
        A power of two; 1 for whole numbers.
    """

    pixels: Float
    hot: npt.NDArray[np.intp]
    padding: npt.NDArray[np.bool_] | None
    times: float


def prepare(image: Plane) -> Ready:
    """Repair hot pixels, fill padding, and enlarge values that are small fractions."""
    times = _enlarged(image)
    pixels, hot = repair_hot_pixels(image if times == 1 else np.asarray(image, np.float64) * times)
    padding = padding_of(pixels)
    return Ready(pixels if padding is None else filled(pixels, padding), hot, padding, times)


def _enlarged(image: Plane) -> float:
    """Return how many times to take the values of a plane."""
    if image.dtype.kind != "f" or not image.size:
        return 1.0
    low, high = np.percentile(thinned(np.asarray(image, np.float64)), (1, 99.9))
    if not 0 < high - low < LEAST_RANGE:
        return 1.0
    return float(2.0 ** np.ceil(np.log2(LEAST_RANGE / (high - low))))

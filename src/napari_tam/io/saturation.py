"""Saturated (clipped) pixels: where a camera or converter had no higher value."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Full scale of 8, 10, 12, 14, 15 and 16 bit cameras, whatever type the file has.
FULL_SCALES = (255, 1023, 4095, 16383, 32767, 65535)

#: Such a value counts as saturation only if so many pixels, and this share of them, have it.
SATURATED_LEAST_PIXELS = 10
SATURATED_LEAST_FRACTION = 1e-5


def saturation_level(image: npt.NDArray[Any]) -> float | None:
    """Return the value at which a channel is clipped, or None.

    It is the largest value of an integer type; or the image's maximum if that is exactly a full
    scale of a camera (1 for floating point, too) and many pixels share it.
    """
    top = float(image.max())
    whole = np.issubdtype(image.dtype, np.integer)
    if whole and top == np.iinfo(image.dtype).max:
        return top
    if top in FULL_SCALES or (top == 1 and not whole):
        shared = np.count_nonzero(image == image.max())
        if shared >= max(SATURATED_LEAST_PIXELS, SATURATED_LEAST_FRACTION * image.size):
            return top
    return None

"""A network's output averaged over mirrored versions of the image, its flows turned back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

Float = npt.NDArray[np.float32]

#: Which axes (y, x) are mirrored.
MIRRORED = ((True, True), (True, False), (False, True))


def averaged(predict: Callable[[Float], Float], image: Float) -> Float:
    """Return the mean output over an image and its three mirrored versions.

    For the mirrored image it is the same, mirrored.

    Parameters
    ----------
    predict
        CYX image to (3, Y, X): flow y, flow x, probability logit.
    image
        CYX.
    """
    total = predict(image)
    for axes in MIRRORED:
        total = total + mirrored_output(predict(mirror(image, axes)), axes)
    return total / np.float32(1 + len(MIRRORED))


def mirror(image: Float, axes: tuple[bool, bool]) -> Float:
    """Mirror a CYX image along y, x, or both."""
    steps = [slice(None, None, -1 if each else 1) for each in axes]
    return np.ascontiguousarray(image[:, steps[0], steps[1]])


def mirrored_output(output: Float, axes: tuple[bool, bool]) -> Float:
    """Mirror an output: what pointed up points down."""
    back = mirror(output, axes)
    for component, flipped in zip(back, axes, strict=False):
        if flipped:
            np.negative(component, out=component)
    return back

"""What lies between the puncta of a stack: cells that glow end above and below their puncta, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from napari_tam.puncta.emitters import Emitters
from napari_tam.puncta.pixel_model import background_image

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float, Points

Doubles = npt.NDArray[np.float64]

#: A punctum's light is cut out within so many sigma.
CUT = 2.7

#: What is left over when all light of puncta is taken away is smoothed by so many sigma: haze is smooth.
SMOOTH = 4.0


def between(volume: Float, points: Points, sigma: Doubles, typical: Doubles) -> Float:
    """Background between the puncta, plane by plane, carried on under them.

    Parameters
    ----------
    volume
        (Z, Y, X) the exosome channel.
    points, sigma
        (N, 3) puncta, and (N, 2) their widths along z and in the plane.
    typical
        (2,) width of a single punctum.
    """
    base = np.empty_like(volume)
    parent = np.arange(len(points))
    for z, plane in enumerate(volume):
        share = 1 - ((points[:, 0] - z) / (CUT * sigma[:, 0])) ** 2
        here = share > 0
        width = sigma[here, 1] * np.sqrt(share[here])
        cut = Emitters(points[here, 1:], np.ones(int(here.sum())), width, parent[here])
        base[z] = background_image(plane, cut, float(typical[1]))
    return np.asarray(gaussian_filter1d(base, typical[0], axis=0, mode="nearest"), np.float32)


def haze(rest: Float, typical: Doubles) -> Float:
    """Return what is smooth in a stack without background and puncta: haze under those that lie close."""
    planes = np.stack([cv2.GaussianBlur(plane, (0, 0), SMOOTH * typical[1]) for plane in rest])
    return np.asarray(gaussian_filter1d(planes, typical[0], axis=0, mode="nearest"), np.float32)

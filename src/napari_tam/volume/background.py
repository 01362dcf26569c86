"""What lies between the puncta of a stack: cells that glow end above and below their puncta, too.

A background that is a little too low costs much: a punctum has hundreds of voxels. So it is taken from what
is near, wherever the network sees no punctum, as sharp as a lens shows the edges of cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from napari_tam.puncta.crowds.emitters import Emitters
from napari_tam.puncta.crowds.pixel_model import CUT, background_image

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float, Points
    from napari_tam.puncta.working_scale import LogOdds


#: Where a plane's log odds of a punctum are above the first of these there may be one: there, so many sigma
#: around it, and in so many planes above and below, nothing is background.
PERHAPS, AROUND, PLANES = -1.0, 1.0, 1

#: The background is smoothed by so many sigma of a punctum along z.
ALONG = 0.6

#: What is left over when all light of puncta is taken away is smoothed by so many sigma: haze is smooth.
SMOOTH = 4.0


def between(
    volume: Float, log_odds: LogOdds | None, points: Points, sigma: Doubles, typical: Doubles
) -> Float:
    """Background between the puncta, plane by plane, carried on under them.

    Parameters
    ----------
    volume
        (Z, Y, X) the exosome channel.
    log_odds
        (Z, Y, X) of a punctum at each voxel; None: they are not known.
    points, sigma
        (N, 3) puncta, and (N, 2) their widths along z and in the plane.
    typical
        (2,) width of a single punctum.
    """
    base = np.empty_like(volume)
    parent = np.arange(len(points))
    taken = None if log_odds is None else _perhaps(log_odds, float(typical[1]))
    for z, plane in enumerate(volume):
        share = 1 - ((points[:, 0] - z) / (CUT * sigma[:, 0])) ** 2
        here = share > 0
        width = sigma[here, 1] * np.sqrt(share[here])
        cut = Emitters(points[here, 1:], np.ones(int(here.sum())), width, parent[here])
        base[z] = background_image(plane, cut, float(typical[1]), None if taken is None else taken[z])
    return np.asarray(gaussian_filter1d(base, ALONG * typical[0], axis=0, mode="nearest"), np.float32)


def _perhaps(log_odds: LogOdds, lateral: float) -> npt.NDArray[np.bool_]:
    """Tell where in a stack there may be puncta."""
    reach = round(AROUND * lateral)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    planes = np.stack([cv2.dilate((plane > PERHAPS).astype(np.uint8), disc) for plane in log_odds])
    return np.asarray(maximum_filter1d(planes, 2 * PLANES + 1, axis=0), np.bool_)


def haze(rest: Float, typical: Doubles) -> Float:
    """Return what is smooth in a stack without background and puncta: haze under those that lie close."""
    planes = np.stack([cv2.GaussianBlur(plane, (0, 0), SMOOTH * typical[1]) for plane in rest])
    return np.asarray(gaussian_filter1d(planes, typical[0], axis=0, mode="nearest"), np.float32)

"""The region that is proposed for marking: the view, or so much of it as can be marked by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Doubles = npt.NDArray[np.float64]

#: With more puncta in view than this, a part from the middle is proposed that has about so many.
MANY, SOME = 40, 25


def view_of(layer: Any, shape: tuple[int, ...]) -> Doubles:
    """Return the part of an image that the viewer shows, two corners (2, 2) in pixels; or all of it.

    Parameters
    ----------
    layer
        A layer of the image.
    shape
        Of the image.
    """
    whole = np.array([[-0.5, -0.5], np.array(shape[-2:]) - 0.5])
    if layer is None:
        return whole
    corners = np.array(layer.corner_pixels, float)[:, -2:] + [[-0.5], [0.5]]
    seen = np.clip(corners, whole[0], whole[1])
    return seen if (np.ptp(seen, axis=0) > 2).all() else whole


def proposed(view: Doubles, puncta: Doubles) -> Doubles:
    """Return a part of a view (2, 2) around its middle with about `SOME` of the puncta (N, 2) in it."""
    centre, half = view.mean(axis=0), np.ptp(view, axis=0) / 2
    far = np.sort((np.abs(puncta - centre) / half).max(axis=1)) if len(puncta) else np.zeros(0)
    if (far <= 1).sum() <= MANY:
        return view
    share = float(far[SOME - 1 : SOME + 1].mean())
    return np.array([centre - share * half, centre + share * half])


def corners_of(box: Doubles) -> Doubles:
    """Return the four corners (4, 2) of a box (2, 2)."""
    (top, left), (bottom, right) = box
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left)])

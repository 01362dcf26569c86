"""What a person drew with the mouse, in pixels: lines and outlines."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.edit.patch import Box, Mask, box_around
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from napari_tam.edit.patch import Labels

#: (N, 2) places y, x in pixels; centres of pixels at whole numbers.
Drawn = npt.NDArray[np.float64]


def line_mask(line: Drawn, shape: tuple[int, ...]) -> tuple[Box, Mask]:
    """Return the pixels under a line as a box of the image and the mask in it.

    The line is so thick (two pixels) that nothing passes through it, not even over a corner.

    Raises
    ------
    InputError
        If it lies outside of the image.
    """
    from skimage.draw import line as segment

    points = np.round(np.asarray(line, float)).astype(np.int64)
    mask = np.zeros(shape[-2:], bool)
    for (y0, x0), (y1, x1) in pairwise(points):
        rows, columns = segment(y0, x0, y1, x1)  # type: ignore[no-untyped-call]
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            y, x = rows + down, columns + right
            inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
            mask[y[inside], x[inside]] = True
    if not mask.any():
        raise InputError("the line lies outside of the image", fix="Draw it over the cells")
    box = box_around(mask)
    return box, mask[box]


def labels_under(image: Labels, line: Drawn) -> list[int]:
    """Return the labels that a line runs over, ascending."""
    box, mask = line_mask(line, image.shape)
    found: list[int] = np.unique(image[box][mask]).tolist()
    return [label for label in found if label > 0]


def outline_mask(outline: Drawn, shape: tuple[int, ...]) -> tuple[Box, Mask]:
    """Return the pixels inside a closed outline as a box of the image and the mask in it.

    Raises
    ------
    InputError
        If there is no pixel inside.
    """
    from skimage.draw import polygon

    points = np.asarray(outline, float)
    mask = np.zeros(shape[-2:], bool)
    if len(points) > 2:
        within = polygon(points[:, 0], points[:, 1], mask.shape)  # type: ignore[no-untyped-call]
        mask[within] = True
    if not mask.any():
        raise InputError("the outline has nothing inside", fix="Draw around what you mean")
    box = box_around(mask)
    return box, mask[box]


def inside(points: npt.NDArray[Any], outline: Drawn) -> Mask:
    """Tell which points (N, 2) lie inside a closed outline."""
    from skimage.measure import points_in_poly

    if not len(points) or len(outline) < 3:
        return np.zeros(len(points), bool)
    corners = np.asarray(outline, float)
    found: Mask = points_in_poly(np.asarray(points, float), corners)  # type: ignore[no-untyped-call]
    return found

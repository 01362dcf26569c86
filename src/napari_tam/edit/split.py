"""Split labels, by a drawn line or by the nuclei in them; no pixel is lost, every part is in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_tam.edit.drawn import line_mask
from napari_tam.edit.patch import EIGHT, Patch, box_of, largest_piece, new_label, pieces_of
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

    from napari_tam.edit.drawn import Drawn
    from napari_tam.edit.patch import Labels, Mask

#: What a line cuts off is a part from this share of the cell on, and from so many pixels; else a splinter.
LEAST_SHARE, LEAST_PX = 0.03, 9

#: A nucleus belongs to the cell that has more than this share of it.
OWNED = 0.5


def split_by_line(image: Labels, line: Drawn, labels: Collection[int] | None = None, above: int = 0) -> Patch:
    """Split the labels that a line cuts right through; the largest part keeps the number.

    The pixels under the line go to the parts beside it, so that merging the parts gives the label back.
    Splinters go to the part that they touch.

    Parameters
    ----------
    image
        (Y, X) labels.
    line
        (N, 2) places y, x in pixels.
    labels
        Only these are split; None: all that the line cuts.
    above
        New labels are higher than this.

    Raises
    ------
    InputError
        If the line cuts no cell in two.
    """
    at, under = line_mask(line, image.shape)
    crossed = [int(label) for label in np.unique(image[at][under]) if label > 0]
    if labels:
        crossed = [label for label in crossed if label in labels]
    if not crossed:
        raise InputError("the line runs over no cell", fix="Draw it right through one")
    box = box_of(image, crossed)
    before = image[box]
    full = np.zeros(image.shape, bool)
    full[at] = under
    cut = full[box]
    after = before.copy()
    top = max(int(image.max()), above)
    left: list[int] = []
    for label in crossed:
        for part in _parts(before == label, cut)[1:]:
            left.append(new_label(after, top))
            after[part] = left[-1]
    if not left:
        raise InputError(
            "the line cuts no cell in two", fix="Begin outside of the cell, and end outside on its other side"
        )
    return Patch(box, after, tuple(sorted({*crossed, *left})))


def _parts(cell: Mask, cut: Mask) -> list[Mask]:
    """Return the parts of a cell on the sides of a cut, the largest first; none if it is not cut."""
    pieces, areas = pieces_of(cell)
    parts: list[Mask] = []
    for piece, area in enumerate(areas.tolist(), 1):
        whole = pieces == piece
        sides, sizes = pieces_of(whole & ~cut)
        real = [k for k, size in enumerate(sizes.tolist(), 1) if size >= max(LEAST_PX, LEAST_SHARE * area)]
        if len(real) < 2:
            continue
        seeds = np.zeros(cell.shape, np.int32)
        for k, side in enumerate(real, 1):
            seeds[sides == side] = k
        flooded = _flood(np.zeros(cell.shape, np.float32), seeds, whole)
        parts += [flooded == k for k in range(1, len(real) + 1)]
    return sorted(parts, key=lambda part: -int(part.sum()))


def _flood(
    height: npt.NDArray[np.float32], seeds: npt.NDArray[np.int32], mask: Mask
) -> npt.NDArray[np.int32]:
    """Return the watershed of the seeds in a mask: every pixel has a seed that it is connected to."""
    from skimage.segmentation import watershed

    found = watershed(height, seeds, connectivity=EIGHT, mask=mask)  # type: ignore[no-untyped-call]
    return np.asarray(found, np.int32)


def split_by_nuclei(image: Labels, nuclei: Labels, labels: Collection[int], above: int = 0) -> Patch:
    """Split each label among the nuclei that it has: watershed of the distance to the edge, from the nuclei.

    A nucleus belongs to the label that has more than half of it. The largest part keeps the number; labels
    with fewer than two nuclei stay as they are.

    Parameters
    ----------
    image, nuclei
        (Y, X) labels of the cells and of the nuclei.
    labels
        Which are split.
    above
        New labels are higher than this.

    Raises
    ------
    InputError
        If none of them has two nuclei.
    """
    from scipy.ndimage import distance_transform_edt

    box = box_of(image, labels)
    before, inside = image[box], nuclei[box]
    after = before.copy()
    whole = {
        int(n): int((nuclei == n).sum()) for n in np.unique(inside[np.isin(before, list(labels))]) if n > 0
    }
    top = max(int(image.max()), above)
    left: list[int] = []
    for label in sorted(set(labels)):
        cell = before == label
        seeds = np.zeros(cell.shape, np.int32)
        own = [n for n, area in whole.items() if (cell & (inside == n)).sum() > OWNED * area]
        for k, nucleus in enumerate(own, 1):
            seeds[largest_piece(cell & (inside == nucleus))] = k
        if len(own) < 2:
            continue
        # a cell in two pieces floods only those that have a nucleus; the others keep the number
        depth = np.asarray(distance_transform_edt(np.pad(cell, 1))[1:-1, 1:-1], np.float32)
        flooded = _flood(-depth, seeds, cell)
        parts = sorted((flooded == k for k in range(1, len(own) + 1)), key=lambda part: -int(part.sum()))
        for part in parts[1:]:
            left.append(new_label(after, top))
            after[part] = left[-1]
    if not left:
        raise InputError(
            "none of the selected cells has two nuclei", fix="Draw a line where the cell is to be split"
        )
    return Patch(box, after, tuple(sorted({*labels, *left})))

"""Merge, delete, add, grow, shrink and keep labels. No function changes a label that it was not asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_tam.edit.drawn import outline_mask
from napari_tam.edit.patch import FOUR, Patch, box_of, largest_piece, new_label, pieces_of
from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_tam.edit.drawn import Drawn
    from napari_tam.edit.patch import Box, Labels, Mask

#: Cells that a gap of up to twice this many pixels separates can be merged; the gap is filled.
REACH_PX = 3

#: A new cell has at least this many pixels.
SMALLEST_PX = 9


def merge(image: Labels, labels: Collection[int]) -> Patch:
    """Make several labels one, in one piece; it takes the number of the largest.

    Where they do not touch, a gap of up to ``2 * REACH_PX`` pixels of background is closed.

    Parameters
    ----------
    image
        (Y, X) labels.
    labels
        Two or more of them.

    Raises
    ------
    InputError
        If there are fewer than two, or they lie too far apart.
    """
    from scipy.ndimage import binary_closing

    wanted = sorted(set(labels))
    box = box_of(image, wanted, REACH_PX + 1)
    if len(wanted) < 2:
        raise InputError("only one cell is selected", fix="Select the others with Shift and a click")
    before = image[box]
    mask = np.isin(before, wanted)
    if len(pieces_of(mask)[1]) > 1:
        room = np.pad(mask, REACH_PX)  # else closing takes what is outside for background
        disc = np.hypot(*np.ogrid[-REACH_PX : REACH_PX + 1, -REACH_PX : REACH_PX + 1]) <= REACH_PX + 0.5
        closed = binary_closing(room, disc)[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]
        mask = mask | (closed & (before == 0))
        if len(pieces_of(mask)[1]) > 1:
            raise InputError(
                f"the cells {', '.join(map(str, wanted))} do not touch",
                fix="Only neighbours can be one cell; grow them first (G), or paint what is between them",
            )
    areas = [int((before == label).sum()) for label in wanted]
    kept = wanted[int(np.argmax(areas))]
    return Patch(box, np.where(mask, kept, before).astype(image.dtype), (kept,))


def delete(image: Labels, labels: Collection[int]) -> Patch:
    """Make labels background.

    Raises
    ------
    InputError
        If one of them is not there, or none is given.
    """
    box = box_of(image, labels)
    before = image[box]
    return Patch(box, np.where(np.isin(before, list(labels)), 0, before).astype(image.dtype))


def add(image: Labels, box: Box, mask: Mask, above: int = 0) -> Patch:
    """Add a label where a mask is background; other labels keep their pixels.

    Parameters
    ----------
    image
        (Y, X) labels.
    box, mask
        Part of the image, and which of its pixels are meant; the largest free piece is taken.
    above
        The new label is higher than this.

    Raises
    ------
    InputError
        If fewer than `SMALLEST_PX` pixels are free.
    """
    before = image[box]
    free = largest_piece(mask & (before == 0))
    if free.sum() < SMALLEST_PX:
        raise InputError(
            "there is no room for a cell", fix="Other cells keep their pixels: delete them first"
        )
    label = new_label(image, above)
    return Patch(box, np.where(free, label, before).astype(image.dtype), (label,))


def add_outlined(image: Labels, outline: Drawn, above: int = 0) -> Patch:
    """Add a label inside an outline (N, 2); see `add`.

    Raises
    ------
    InputError
        If fewer than `SMALLEST_PX` pixels in it are free.
    """
    box, mask = outline_mask(outline, image.shape)
    return add(image, box, mask, above)


def grow(image: Labels, labels: Collection[int]) -> Patch:
    """Grow labels by one pixel (up, down, left and right) into the background.

    Raises
    ------
    InputError
        If one of them is not there, or none is given.
    """
    from scipy.ndimage import grey_dilation

    box = box_of(image, labels, 1)
    before = image[box]
    chosen = np.where(np.isin(before, list(labels)), before, 0)
    grown = grey_dilation(chosen, footprint=FOUR, mode="constant", cval=0)
    return Patch(box, np.where(before == 0, grown, before).astype(image.dtype), tuple(sorted(labels)))


def shrink(image: Labels, labels: Collection[int]) -> Patch:
    """Take one pixel off the edge of labels; of what falls apart the largest piece stays.

    The border of the image is no edge.

    Raises
    ------
    InputError
        If one of them would vanish or is not there, or none is given.
    """
    from scipy.ndimage import binary_erosion

    box = box_of(image, labels)
    before = image[box]
    after = before.copy()
    for label in labels:
        mask = np.pad(before == label, 1, constant_values=False)
        for axis, side in enumerate(box):  # beyond the image the cell goes on
            first, last = [slice(None)] * 2, [slice(None)] * 2
            first[axis], last[axis] = slice(0, 1), slice(-1, None)
            near, far = [slice(None)] * 2, [slice(None)] * 2
            near[axis], far[axis] = slice(1, 2), slice(-2, -1)
            if side.start == 0:
                mask[tuple(first)] = mask[tuple(near)]
            if side.stop == image.shape[axis]:
                mask[tuple(last)] = mask[tuple(far)]
        left = largest_piece(binary_erosion(mask, FOUR, border_value=0)[1:-1, 1:-1])
        if not left.any():
            raise InputError(f"cell {label} would vanish", fix="Delete it instead (key Delete)")
        after[(before == label) & ~left] = 0
    return Patch(box, after, tuple(sorted(labels)))


def keep_inside(image: Labels, outline: Drawn) -> Patch:
    """Delete all labels but those that have more than half of their pixels inside an outline (N, 2).

    Raises
    ------
    InputError
        If the outline has nothing inside.
    """
    box, mask = outline_mask(outline, image.shape)
    most = int(image.max(initial=0)) + 1
    area = np.bincount(image.ravel(), minlength=most)
    within = np.bincount(image[box][mask], minlength=most)
    kept = 2 * within > area
    kept[0] = False
    whole = (slice(0, image.shape[0]), slice(0, image.shape[1]))
    return Patch(whole, np.where(kept[image], image, 0).astype(image.dtype))

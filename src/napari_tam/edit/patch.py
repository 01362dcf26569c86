"""A change of a label image: other values in a box of it, so that its cost goes by the size of the cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

Labels = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
Box = tuple[slice, slice]

#: Pixels that touch at a corner are connected here; the networks' masks touch at edges, which is stricter.
EIGHT = np.ones((3, 3), bool)

#: Pixels that touch at an edge.
FOUR = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


@dataclass(frozen=True, eq=False)
class Patch:
    """What a correction changes.

    Attributes
    ----------
    box
        Rows and columns of the image.
    values
        (Y, X) all labels in the box, afterwards.
    labels
        The labels that the correction leaves where it worked, for the user to see; empty if none.
    """

    box: Box
    values: Labels
    labels: tuple[int, ...] = ()

    def changes(self, image: Labels) -> tuple[tuple[Any, Any], Labels]:
        """Return the pixels (rows, columns) of an image that get another value, and these values."""
        rows, columns = np.nonzero(image[self.box] != self.values)
        where = (rows + self.box[0].start, columns + self.box[1].start)
        return where, self.values[rows, columns]

    def apply(self, image: Labels) -> Labels:
        """Return a copy of the image (Y, X) with the change."""
        changed = image.copy()
        changed[self.box] = self.values
        return changed


def box_of(image: Labels, labels: Collection[int], margin: int = 0) -> Box:
    """Return the smallest box around some labels, with a margin in pixels inside the image.

    Raises
    ------
    InputError
        If one of the labels is not there, or none is given.
    """
    if not labels:
        raise InputError("no cell is selected", fix="Click one first; with Shift several")
    here = np.zeros(image.shape, bool)
    for label in labels:
        there = image == label
        if label <= 0 or not there.any():
            raise InputError(f"there is no cell {label} any more", fix="Click another one")
        here |= there
    return box_around(here, margin)


def box_around(mask: Mask, margin: int = 0) -> Box:
    """Return the smallest box around the true pixels (there must be some), with a margin inside the image."""
    sides = []
    for axis in (1, 0):
        at = np.flatnonzero(mask.any(axis=axis))
        size = mask.shape[1 - axis]
        sides.append(slice(max(int(at[0]) - margin, 0), min(int(at[-1]) + 1 + margin, size)))
    return sides[0], sides[1]


def new_label(image: Labels, above: int = 0) -> int:
    """Return a label that is not in the image, and higher than `above` (say, what tables know).

    Raises
    ------
    InputError
        If the image's type has no higher number.
    """
    label = max(int(image.max(initial=0)), above) + 1
    if label > np.iinfo(image.dtype).max:
        raise InputError(
            f"the mask's numbers are used up at {label - 1}",
            fix="Run the analysis again: it numbers the cells anew",
        )
    return label


def pieces_of(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the connected pieces of a mask, numbered from 1, and the number of pixels of each."""
    from scipy.ndimage import label

    pieces, count = label(mask, EIGHT)
    return np.asarray(pieces, np.int32), np.bincount(pieces.ravel(), minlength=count + 1)[1:]


def largest_piece(mask: Mask) -> Mask:
    """Return the largest connected piece of a mask; the mask itself if it is in one piece or empty."""
    pieces, areas = pieces_of(mask)
    if len(areas) < 2:
        return mask
    largest: Mask = pieces == 1 + int(areas.argmax())
    return largest

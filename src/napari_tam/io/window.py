"""Zeros around a picture (registration, stitching, rotation) are no background: where the picture lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.io.field import Field

#: Zeros are a frame only around a channel that has fewer than this share of them inside.
ZEROS_INSIDE = 0.01

#: What is left of a picture must have this side at least.
LEAST_SIDE_PX = 32

#: A corner of zeros (of a picture that was turned) counts from this share of the picture on.
LEAST_CORNER = 1e-4

_SEED = 7


@dataclass(frozen=True)
class Window:
    """Where a picture lies in its array: rows and columns."""

    rows: slice
    columns: slice

    def of(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the part of an array (…, Y, X)."""
        return image[..., self.rows, self.columns]

    def padded(self, labels: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return labels of the part as labels of the whole; 0 outside."""
        whole = np.zeros(shape, labels.dtype)
        whole[..., self.rows, self.columns] = labels
        return whole

    def moved(self, table: pd.DataFrame, um: float, *, back: bool = False) -> pd.DataFrame:
        """Return a table with its places (px and µm) moved from the part to the whole, or back."""
        sign = -1 if back else 1
        steps = {"y": sign * self.rows.start, "x": sign * self.columns.start}
        new = {
            f"{start}{axis}_{unit}": table[f"{start}{axis}_{unit}"] + step * size
            for axis, step in steps.items()
            for start in ("", "centroid_")
            for unit, size in (("px", 1), ("um", um))
            if f"{start}{axis}_{unit}" in table
        }
        return table.assign(**new)


def find_window(field: Field) -> Window | None:
    """Return where the picture lies if rows or columns at its border are zero in a channel, else None.

    A channel that has many zeros inside as well (its background was subtracted) says nothing.
    """
    shape = field.shape
    bounds = [0, shape[0], 0, shape[1]]
    for channel in field.channels.values():
        lit = channel != 0 if channel.ndim == 2 else (channel != 0).any(axis=0)
        rows, columns = lit.any(axis=1).nonzero()[0], lit.any(axis=0).nonzero()[0]
        if not len(rows):
            continue
        own = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        if own == (0, shape[0], 0, shape[1]):
            continue
        inside = lit[own[0] : own[1], own[2] : own[3]]
        # corners of a picture that was turned are zero as well, its middle is not
        height, width = (n // 4 for n in inside.shape)
        middle = inside[height : inside.shape[0] - height, width : inside.shape[1] - width]
        if middle.size and 1 - middle.mean() < ZEROS_INSIDE:
            bounds = [max(bounds[0], own[0]), min(bounds[1], own[1]),
                      max(bounds[2], own[2]), min(bounds[3], own[3])]  # fmt: skip
    if bounds == [0, shape[0], 0, shape[1]]:
        return None
    if min(bounds[1] - bounds[0], bounds[3] - bounds[2]) < LEAST_SIDE_PX:
        return None
    return Window(slice(bounds[0], bounds[1]), slice(bounds[2], bounds[3]))


def fill_corners(channels: dict[str, npt.NDArray[Any]]) -> tuple[dict[str, npt.NDArray[Any]], float]:
    """Fill zeros that hang together with the border of a picture (YX channels by role) with background.

    They are pixels that a rotation left without a value. What is put there are values of the channel below
    its median, drawn at random (the same in every run), so that it looks like the background around it.

    Returns
    -------
    The channels, and which share of the picture was filled.
    """
    import cv2

    outside: npt.NDArray[np.bool_] | None = None
    for channel in channels.values():
        zero = channel == 0 if channel.ndim == 2 else (channel == 0).all(axis=0)
        if not _on_border(zero).any():
            continue
        _, labels = cv2.connectedComponents(zero.astype(np.uint8), connectivity=4)
        edge = np.bincount(_on_border(labels), minlength=labels.max() + 1)
        area = np.bincount(labels.ravel())
        large = (edge > 0) & (area >= max(LEAST_CORNER * zero.size, 16))
        large[0] = False
        own = large[labels]
        # many zeros elsewhere: they are values of this channel
        if own.any() and (zero & ~own).sum() < ZEROS_INSIDE * (~own).sum():
            outside = own if outside is None else outside | own
    if outside is None or outside.mean() > 0.5:
        return channels, 0.0
    filled = {}
    for role, channel in channels.items():
        inside = channel[..., ~outside]
        low = inside[inside <= np.median(inside)]
        filled[role] = channel.copy()
        drawn = np.random.default_rng(_SEED).choice(low, channel[..., outside].shape)
        filled[role][..., outside] = drawn
    return filled, float(outside.mean())


def _on_border(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])

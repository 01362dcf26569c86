"""Cutting a plane into tiles that a network can run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Tile:
    """A tile to compute (`outer`) and the part of it to keep (`inner`), as y and x slices."""

    outer: tuple[slice, slice]
    inner: tuple[slice, slice]


def tiles(shape: tuple[int, int], size: int, overlap: int, multiple: int = 1) -> Iterator[Tile]:
    """Cut a plane into tiles of about equal size whose outer parts overlap.

    Parameters
    ----------
    shape
        Height and width of the plane.
    size
        Largest height and width of an outer part (for ``size > 2 * overlap + multiple``).
    overlap
        How far an outer part reaches beyond the inner one, except at the plane's edge.
    multiple
        Tiles start at multiples of this (`overlap` being one), so that a network which pools sees
        the same pixels together in every tile.

    Yields
    ------
    Tile
        Their inner parts cover every pixel once.
    """

    def cuts(length: int) -> list[tuple[slice, slice]]:
        if length <= size:
            return [(slice(0, length), slice(0, length))]
        # One of two tiles reaches beyond its inner part on one side only.
        largest = (size - overlap) // multiple * multiple
        if length > 2 * largest:
            largest = max(multiple, (size - 2 * overlap) // multiple * multiple)
        step = int(np.ceil(length / np.ceil(length / largest) / multiple)) * multiple
        return [
            (slice(max(0, a - overlap), min(length, a + step + overlap)), slice(a, min(length, a + step)))
            for a in range(0, length, step)
        ]

    for outer_y, inner_y in cuts(shape[0]):
        for outer_x, inner_x in cuts(shape[1]):
            yield Tile((outer_y, outer_x), (inner_y, inner_x))

"""Outlines of labels as polygons along the edges of their pixels, exact to the pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_tam.results.folder import Labels

#: A closed ring of corners (x, y), the first not repeated.
Ring = npt.NDArray[np.int32]

#: A step to the right, down, left, up, in (x, y).
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outlines(labels: Labels) -> Iterator[tuple[int, list[list[Ring]]]]:
    """Yield every label of a YX image, in order, with its polygons.

    A polygon is its outer ring and then its holes, each of whole-number corners (x, y): pixel (row r,
    column c) covers x from c to c + 1 and y from r to r + 1, as in QuPath and ImageJ. So the area of the
    polygons is the number of pixels. Pixels that meet only at a corner are in polygons of their own.
    Outer rings run clockwise as displayed (y down), holes the other way round.
    """
    from scipy import ndimage

    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        rings = _rings(labels[box] == number)
        shift = np.array([box[1].start, box[0].start], np.int32)
        yield number, [[ring + shift for ring in polygon] for polygon in _with_holes(rings)]


def signed_area(ring: Ring) -> float:
    """Return the area of a ring, positive if it runs clockwise as displayed (y down)."""
    x, y = ring[:, 0].astype(np.float64), ring[:, 1].astype(np.float64)
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _rings(mask: npt.NDArray[np.bool_]) -> list[Ring]:
    """Follow the edges between mask and background, the mask always on the right-hand side."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    neighbours = padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2]
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))  # corner of the pixel where its edge begins (x, y)
    leaving: dict[tuple[int, int], list[int]] = {}
    for direction, (neighbour, (dx, dy)) in enumerate(zip(neighbours, starts, strict=True)):
        y, x = np.nonzero(inside & ~neighbour)
        for corner in zip((x + dx).tolist(), (y + dy).tolist(), strict=True):
            leaving.setdefault(corner, []).append(direction)
    rings = []
    while leaving:
        corner = start = next(iter(leaving))
        direction, ring = -1, []
        while True:
            choices = leaving[corner]
            # Where two pixels meet at a corner, turning right stays at the same pixel.
            right = (direction + 1) % 4
            taken = right if direction >= 0 and right in choices else choices[0]
            choices.remove(taken)
            if not choices:
                del leaving[corner]
            if taken != direction:
                ring.append(corner)
            direction = taken
            corner = corner[0] + _STEPS[taken][0], corner[1] + _STEPS[taken][1]
            if corner == start and (corner not in leaving or (direction + 1) % 4 not in leaving[corner]):
                break
        rings.append(_straightened(np.array(ring, np.int32)))
    return rings


def _straightened(ring: Ring) -> Ring:
    """Drop the corner where following began if the outline goes straight on there."""
    before, after = ring[0] - ring[-1], ring[1] - ring[0]
    return ring[1:] if (before == 0).argmax() == (after == 0).argmax() else ring


def _with_holes(rings: list[Ring]) -> list[list[Ring]]:
    """Put every hole to the smallest outer ring around it."""
    areas = [signed_area(ring) for ring in rings]
    polygons = {i: [ring] for i, (ring, area) in enumerate(zip(rings, areas, strict=True)) if area > 0}
    for ring, area in zip(rings, areas, strict=True):
        if area > 0:
            continue
        # a point just inside of the hole's edge: half a pixel from the middle of a pixel edge
        around = [i for i in polygons if len(polygons) == 1 or _contains(rings[i], _inner_point(ring))]
        polygons[min(around, key=lambda i: areas[i])].append(ring)
    return list(polygons.values())


def _inner_point(hole: Ring) -> tuple[float, float]:
    """Return a pixel centre inside a hole: left of its first edge (holes run with the mask on the right)."""
    (x, y), (dx, dy) = hole[0], np.sign(hole[1] - hole[0])
    return float(x + dx / 2 + dy / 2), float(y + dy / 2 - dx / 2)


def _contains(ring: Ring, point: tuple[float, float]) -> bool:
    """Return whether a point that lies on no edge is inside a ring (even-odd rule)."""
    x, y = point
    x0, y0 = ring[:, 0], ring[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crosses: npt.NDArray[Any] = (x0 == x1) & ((y0 > y) != (y1 > y)) & (x0 > x)
    return bool(crosses.sum() % 2)

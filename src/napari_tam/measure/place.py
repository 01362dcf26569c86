"""Where puncta lie: in which cell, how far from its edge and from its nucleus (2-D)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_tam.measure.regions import Floats, Ints, Regions


def boundary_distance(regions: Regions) -> npt.NDArray[np.float32]:
    """Return each pixel's distance (pixels, exact) to the nearest boundary pixel of any label.

    Inside a label that pixel is its own, so labels that touch do not disturb each other; on
    background it is the distance to the nearest label. It is infinite in an image without labels.
    """
    inside = np.ones(regions.shape, np.uint8)
    if not len(regions):
        return np.full(regions.shape, np.inf, np.float32)
    inside.ravel()[regions.boundary] = 0
    distance = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float32)
    # OpenCV's square root differs in the last bit from run to run; the squares are whole numbers.
    np.rint(np.square(distance, out=distance), out=distance)
    return np.sqrt(distance, out=distance)


def nearest_pixel(y: Floats, x: Floats, shape: tuple[int, int]) -> tuple[Ints, Ints]:
    """Return row and column of the pixels that positions fall in, clipped to the image."""
    row = np.clip(np.floor(y + 0.5), 0, shape[0] - 1).astype(np.int64)
    col = np.clip(np.floor(x + 0.5), 0, shape[1] - 1).astype(np.int64)
    return row, col


def edge_distance(
    regions: Regions, distance: npt.NDArray[np.float32], y: Floats, x: Floats, rank: Ints
) -> Floats:
    """Return the distance in pixels from each position to the edge of its cell; NaN outside cells.

    Signed pixel distances (own cell above 0, elsewhere below) are interpolated linearly, and the
    half pixel between a boundary pixel's centre and the edge is added.

    Parameters
    ----------
    regions, distance
        The cells and their `boundary_distance`.
    y, x
        Positions in pixels, pixel centres at integers.
    rank
        Rank of the cell each lies in, -1 = none.
    """
    result = np.full(len(y), np.nan)
    at = rank >= 0
    y, x, own = y[at], x[at], rank[at]
    total = np.zeros(len(y))
    for row, col, weight in _corners(y, x):
        near = regions.rank_at(row, col)
        value = distance[nearest_pixel(row.astype(float), col.astype(float), regions.shape)]
        signed = np.where(near == own, value, np.where(near < 0, -np.maximum(value, 1), -1 - value))
        total += weight * signed
    result[at] = np.maximum(total + 0.5, 0)
    return result


def _corners(y: Floats, x: Floats) -> Iterator[tuple[Ints, Ints, Floats]]:
    """Yield the four pixels around each position and their weights in linear interpolation."""
    top, left = np.floor(y), np.floor(x)
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
            yield (top + down).astype(np.int64), (left + right).astype(np.int64), weight


def nucleus_owners(nuclei: Regions, cells: Regions) -> Ints:
    """Return the rank of the cell that covers over half of each nucleus; -1 if none does."""
    at = np.flatnonzero(nuclei.labels > 0)
    pair = nuclei.rank_of(at) * (len(cells) + 1) + cells.rank_of(at) + 1
    pairs, pixels = _count_runs(pair)
    nucleus, cell = pairs // (len(cells) + 1), pairs % (len(cells) + 1) - 1
    most = (cell >= 0) & (2 * pixels > nuclei.area[nucleus])
    owner = np.full(len(nuclei), -1, np.int64)
    owner[nucleus[most]] = cell[most]
    return owner


def _count_runs(values: Ints) -> tuple[Ints, Ints]:
    """Return the distinct values and how often each occurs, sorting runs rather than pixels."""
    start = np.flatnonzero(np.diff(values, prepend=-1))
    length = np.diff(start, append=len(values))
    distinct, inverse = np.unique(values[start], return_inverse=True)
    return distinct, np.bincount(inverse, length, minlength=len(distinct)).astype(np.int64)


def nucleus_distance(nuclei: Regions, owner: Ints, y: Floats, x: Floats, rank: Ints) -> Floats:
    """Return the distance in pixels from each position to the nearest nucleus of its own cell.

    0 inside that nucleus; NaN outside cells and in cells without a nucleus. The edge of a nucleus
    is half a pixel beyond its boundary pixels' centres.

    Parameters
    ----------
    nuclei, owner
        The nuclei and the rank of each one's cell (`nucleus_owners`).
    y, x, rank
        Positions in pixels, and the rank of the cell each lies in (-1 = none).
    """
    result = np.full(len(y), np.nan)
    row, col = nuclei.boundary // nuclei.shape[1], nuclei.boundary % nuclei.shape[1]
    cell = owner[nuclei.rank_of(nuclei.boundary)]
    owned = cell >= 0
    asked = np.isin(rank, cell[owned])
    if not asked.any():
        return result
    from scipy.spatial import cKDTree

    # The cell as a third, far stretched axis: the nearest point is always one of the same cell.
    far = 4.0 * sum(nuclei.shape)
    tree = cKDTree(
        np.column_stack([row[owned], col[owned], far * cell[owned]]),
        balanced_tree=False,
        compact_nodes=False,
    )
    apart, _ = tree.query(np.column_stack([y[asked], x[asked], far * rank[asked]]))
    under = nuclei.rank_at(*nearest_pixel(y[asked], x[asked], nuclei.shape))
    inside = (under >= 0) & (owner[under] == rank[asked])
    result[asked] = np.where(inside, 0, np.maximum(apart - 0.5, 0))
    return result

"""Marker channels → their light in every cell, its parts, and what spills over from cells that touch it.

Definitions of the columns: `napari_tam.columns.marker_columns`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.markers.names import is_marker_role
from napari_tam.measure.groups import medians
from napari_tam.measure.intensity import background

if TYPE_CHECKING:
    from napari_tam.io.field import Field
    from napari_tam.measure.regions import Floats, Ints, Regions
    from napari_tam.settings import Settings

#: The edge of a cell lies so far beyond the centres of its outermost pixels.
_HALF_PX = 0.5


def measure_markers(
    field: Field,
    regions: Regions,
    distance: npt.NDArray[np.float32],
    nuclei: npt.NDArray[Any] | None,
    settings: Settings,
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float]]:
    """Measure every marker channel of a field in every cell.

    Parameters
    ----------
    field
        The image.
    regions, distance
        Its cells and their `napari_tam.measure.place.boundary_distance`.
    nuclei
        YX labels of the nuclei, or None without a nuclear stain.
    settings
        `marker_rim_um` is used.

    Returns
    -------
    columns, summary
        `napari_tam.columns.marker_columns` by name, one value a cell; and `marker_summary_columns`. Both are
        empty without a marker.
    """
    columns: dict[str, npt.NDArray[Any]] = {}
    summary: dict[str, float] = {}
    roles = [role for role in field.channels if is_marker_role(role)]
    if not roles:
        return columns, summary
    inside = regions.labels > 0
    width_px = settings.marker_rim_um / field.pixel_size_um
    rim = inside & (distance + _HALF_PX <= width_px)
    rim.ravel()[regions.boundary] = True
    at = np.flatnonzero(inside)
    cell = regions.rank_of(at)
    contacts = _Contacts(regions, rim)
    free = _FreeEdges(regions, distance, int(np.ceil(width_px)) + 1)
    nuclear = None if nuclei is None else (nuclei > 0) & inside
    for role in roles:
        image = np.asarray(field.channels[role])
        level = background(image, regions, distance).median
        light = image.astype(np.float32) - np.float32(level)
        total = regions.sums(light)
        columns[f"{role}_mean"] = total / regions.area
        columns[f"{role}_median"] = medians(light.ravel()[at].astype(np.float64), cell, len(regions))
        columns[f"{role}_integrated"] = total
        columns[f"{role}_nucleus_mean"] = _mean(light, regions, nuclear)
        columns[f"{role}_cytoplasm_mean"] = _mean(light, regions, None if nuclear is None else ~nuclear)
        rim_mean = columns[f"{role}_rim_mean"] = _mean(light, regions, rim)
        columns[f"{role}_spill_over"] = _spill_over(light, regions, rim, rim_mean, contacts, free)
        summary[f"{role}_background"] = level
    return columns, summary


def _mean(light: npt.NDArray[np.float32], regions: Regions, part: npt.NDArray[np.bool_] | None) -> Floats:
    """Return the mean of a part of each cell; NaN for cells without it."""
    if part is None:
        return np.full(len(regions), np.nan)
    pixels = regions.sums(part)
    total = regions.sums(np.where(part, light, np.float32(0)))
    return np.divide(total, pixels, out=np.full(len(regions), np.nan), where=pixels > 0)


class _Contacts:
    """The rim pixels of cells that touch others, with the nearest contact of each.

    Attributes
    ----------
    rank, other
        Ranks of a rim pixel's cell and of the cell beyond its nearest contact.
    apart
        Distance to that contact in pixels.
    touched
        Ranks of all cells that touch another.
    """

    def __init__(self, regions: Regions, rim: npt.NDArray[np.bool_]) -> None:
        own, beyond, y, x = _contact_edges(regions)
        self.touched: Ints = np.unique(own)
        at = np.flatnonzero(rim)
        rank = regions.rank_of(at)
        keep = np.isin(rank, self.touched)
        at, rank = at[keep], rank[keep]
        if not len(at):
            self.rank = self.other = np.zeros(0, np.int64)
            self.apart = np.zeros(0)
            return
        width = regions.shape[1]
        from scipy.spatial import cKDTree

        # The cell as a third, far stretched axis: the nearest contact is always one of the same cell.
        far = 4.0 * sum(regions.shape)
        tree = cKDTree(np.column_stack([y, x, far * own]), balanced_tree=False, compact_nodes=False)
        apart, nearest = tree.query(np.column_stack([at // width, at % width, far * rank]))
        self.rank, self.other, self.apart = rank, beyond[nearest], apart


def _contact_edges(regions: Regions) -> tuple[Ints, Ints, Floats, Floats]:
    """Return the pixel edges between cells, once for each side: both ranks, and y and x of the middle."""
    labels = regions.labels
    own, beyond, y, x = [], [], [], []
    for axis in (0, 1):
        first = labels[:-1] if axis == 0 else labels[:, :-1]
        second = labels[1:] if axis == 0 else labels[:, 1:]
        row, col = np.nonzero((first != second) & (first > 0) & (second > 0))
        a = regions.rank_at(row, col)
        b = regions.rank_at(row + (axis == 0), col + (axis == 1))
        own += [a, b]
        beyond += [b, a]
        y += [row + _HALF_PX * (axis == 0)] * 2
        x += [col + _HALF_PX * (axis == 1)] * 2
    return np.concatenate(own), np.concatenate(beyond), np.concatenate(y), np.concatenate(x)


class _FreeEdges:
    """The pixels around cells that no cell covers, by their distance from the nearest cell.

    Attributes
    ----------
    at, rank, bin
        Flat positions of the pixels, the rank of the nearest cell, and the distance to its edge in whole
        pixels (0: up to 1 px beyond it).
    bins
        Number of distances.
    """

    def __init__(self, regions: Regions, distance: npt.NDArray[np.float32], bins: int) -> None:
        self.bins = bins
        outside = (regions.labels <= 0) & (distance - _HALF_PX < bins)
        self.at: Ints = np.flatnonzero(outside)
        self.rank = self.bin = np.zeros(0, np.int64)
        if not len(self.at):
            return
        mask = (regions.labels <= 0).astype(np.uint8)
        _, nearest = cv2.distanceTransformWithLabels(
            mask, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        # the label of a pixel of a cell, by the number that OpenCV gave it
        cells = np.flatnonzero(mask == 0)
        rank_of = np.zeros(int(nearest.max()) + 1, np.int64)
        rank_of[nearest.ravel()[cells]] = regions.rank_of(cells)
        self.rank = rank_of[nearest.ravel()[self.at]]
        self.bin = np.floor(distance.ravel()[self.at] - _HALF_PX).astype(np.int64)

    def reach(self, light: npt.NDArray[np.float32], rim_mean: Floats) -> Floats:
        """Return which share of a cell's rim light is seen at each distance beyond its free edge, 0 to 1.

        The ratio of sums over all free pixels at a distance; NaN where there are none. It never rises.
        """
        source = np.maximum(rim_mean, 0)[self.rank]
        given = np.bincount(self.bin, source, minlength=self.bins)
        seen = np.bincount(self.bin, light.ravel()[self.at], minlength=self.bins)
        share = np.divide(seen, given, out=np.full(self.bins, np.nan), where=given > 0)
        return np.asarray(np.minimum.accumulate(np.clip(share, 0, 1)), np.float64)


def _spill_over(
    light: npt.NDArray[np.float32],
    regions: Regions,
    rim: npt.NDArray[np.bool_],
    rim_mean: Floats,
    contacts: _Contacts,
    free: _FreeEdges,
) -> Floats:
    """Return the share of each cell's rim light that its neighbours explain (see the column)."""
    total = rim_mean * regions.sums(rim)
    share = np.zeros(len(regions))
    if len(contacts.rank):
        reach = free.reach(light, rim_mean)
        # a share at the middle of every bin, straight lines between and to the edge, then nothing
        at = np.append(np.arange(-1, free.bins) + _HALF_PX, free.bins + _HALF_PX)
        shares = np.concatenate([[2 * reach[0] - reach[1]], reach, [0.0]])
        seen = np.interp(contacts.apart, at, shares) if np.isfinite(reach).all() else np.nan
        own = np.maximum(rim_mean, 0)
        # twice: what a neighbour shines with is less by what spilled over to it
        for _ in range(2):
            source = (own * (1 - np.nan_to_num(share)))[contacts.other]
            spilled = np.bincount(contacts.rank, source * seen, minlength=len(regions))
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.clip(spilled / total, 0, 1)
            share[~np.isin(np.arange(len(regions)), contacts.touched)] = 0.0
    return np.where(total > 0, share, np.nan)

"""How far every cell is from the nearest donor, and how many donors are around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Pairs = npt.NDArray[np.int64]

#: How distances were measured.
EDGES, CENTRES = "edge to edge", "centre to centre"


@dataclass(frozen=True)
class Outlines:
    """Where the cells of an image are.

    Attributes
    ----------
    points
        For every cell, in the order of the table, the places (n × axes, µm) of the pixels of its outline; or
        its centroid alone.
    kind
        `EDGES` or `CENTRES`.
    pixel_um
        What is taken off a distance between edges: neighbouring pixels are one pixel apart and touch.
    """

    points: list[Floats]
    kind: str
    pixel_um: float = 0.0

    def nearest(self, donors: Flags) -> Floats:
        """Return the distance of every cell to the nearest donor (another cell), µm; NaN: there is none."""
        from scipy.spatial import cKDTree

        found = np.full(len(self.points), np.nan)
        gives = [k for k in np.flatnonzero(donors) if len(self.points[k])]
        if not gives:
            return found
        owner = np.repeat(gives, [len(self.points[k]) for k in gives])
        tree = cKDTree(np.concatenate([self.points[k] for k in gives]))
        takers = [k for k in np.flatnonzero(~donors) if len(self.points[k])]
        if takers:
            many = [len(self.points[k]) for k in takers]
            away, _ = tree.query(np.concatenate([self.points[k] for k in takers]))
            starts = np.concatenate([[0], np.cumsum(many)[:-1]])
            found[takers] = np.minimum.reduceat(away, starts)
        for k in gives if len(gives) > 1 else ():
            others = cKDTree(tree.data[owner != k])
            found[k] = others.query(self.points[k])[0].min()
        return np.maximum(found - self.pixel_um, 0)

    def pairs(self, radius_um: float) -> Pairs:
        """Return all pairs of cells (n × 2, the smaller number first) that are within a distance."""
        from scipy.spatial import cKDTree

        known = [k for k, points in enumerate(self.points) if len(points)]
        if len(known) < 2:
            return np.zeros((0, 2), np.int64)
        centres = np.array([self.points[k].mean(axis=0) for k in known])
        reach = np.array(
            [np.linalg.norm(self.points[k] - c, axis=1).max() for k, c in zip(known, centres, strict=True)]
        )
        limit = radius_um + self.pixel_um
        near = cKDTree(centres).query_pairs(limit + 2 * float(reach.max()), output_type="ndarray")
        apart = np.linalg.norm(centres[near[:, 0]] - centres[near[:, 1]], axis=1)
        near = near[apart <= limit + reach[near[:, 0]] + reach[near[:, 1]]]
        trees: dict[int, Any] = {}
        found = []
        for a, b in near[np.argsort(near[:, 0], kind="stable")]:
            tree = trees.setdefault(int(a), cKDTree(self.points[known[a]]))
            away, _ = tree.query(self.points[known[b]], distance_upper_bound=limit * (1 + 1e-9) + 1e-9)
            if away.min() <= limit * (1 + 1e-9):
                found.append((known[a], known[b]))
        return np.array(found, np.int64).reshape(-1, 2)


def outlines_of(
    cells: pd.DataFrame, labels: npt.NDArray[Any] | None, spacing_um: Sequence[float], pixel_um: float
) -> Outlines:
    """Return where the cells of one image are: by their mask, or else by their centroids.

    Parameters
    ----------
    cells
        `label`, `centroid_y_px` and `centroid_x_px` (and `centroid_z_px`, where there is one).
    labels
        YX or ZYX labels of the image; None: not at hand.
    spacing_um
        Of the pixels along each axis of the labels (µm).
    pixel_um
        Edge length of a pixel in the plane.
    """
    numbers = cells["label"].to_numpy(np.int64)
    if labels is None:
        points = cells[["centroid_y_px", "centroid_x_px"]].to_numpy(np.float64) * pixel_um
        return Outlines([row[None] for row in points], CENTRES)
    edge = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        here, there = _shifted(labels.ndim, axis)
        differ = labels[here] != labels[there]
        edge[here] |= differ
        edge[there] |= differ
        for end in (0, -1):  # a cell that is cut ends at the border of the image
            edge[tuple(end if k == axis else slice(None) for k in range(labels.ndim))] = True
    edge &= labels > 0
    where: Floats = np.argwhere(edge).astype(np.float64) * np.asarray(spacing_um, np.float64)
    owner = labels[edge].astype(np.int64)
    order = np.argsort(owner, kind="stable")
    where, owner = where[order], owner[order]
    starts, ends = (np.searchsorted(owner, numbers, side=side) for side in ("left", "right"))
    return Outlines([where[a:b] for a, b in zip(starts, ends, strict=True)], EDGES, pixel_um)


def _shifted(axes: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    first = tuple(slice(None, -1) if k == axis else slice(None) for k in range(axes))
    second = tuple(slice(1, None) if k == axis else slice(None) for k in range(axes))
    return first, second

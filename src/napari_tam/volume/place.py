"""Where puncta lie in 3-D: below, at or beyond the surface of cells, and how far from nuclei."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_tam.measure.regions import Floats, Ints, Regions

Labels = npt.NDArray[Any]
Points = npt.NDArray[np.float64]

#: Blur (px, in y and x) of a mask before its surface is drawn: steps between planes become slopes.
_SMOOTH_PX = 1.0


class Surfaces:
    """The surface of every cell as a mesh (marching cubes), in µm.

    The stack's border is no surface: a cell that it cuts is open there, because its membrane is not.

    Parameters
    ----------
    cells
        ZYX labels.
    ids
        The labels, ascending; results are in this order.
    voxel
        Size of a voxel along z, y and x in µm.

    Attributes
    ----------
    area
        µm², one a label.
    points, owner
        Vertices (N, 3) and the rank of the cell each belongs to.
    """

    def __init__(self, cells: Labels, ids: Ints, voxel: npt.NDArray[np.float64]) -> None:
        from scipy.ndimage import find_objects
        from scipy.spatial import cKDTree
        from skimage.measure import marching_cubes, mesh_surface_area

        self.area = np.zeros(len(ids))
        vertices: list[Points] = [np.zeros((0, 3))]
        owners: list[Ints] = [np.zeros(0, np.int64)]
        boxes = find_objects(cells.astype(np.int32, copy=False))
        for rank, label in enumerate(ids):
            mask, start = _cut_out(cells, boxes[label - 1], label, (1, 3, 3))
            # OpenCV mirrors at the border, which is right where the stack cuts the cell.
            soft = np.stack(
                [cv2.GaussianBlur(plane, (0, 0), _SMOOTH_PX) for plane in mask.astype(np.float32)]
            )
            # A part so thin that the blur would lose it keeps its voxels.
            soft = np.where(mask, np.maximum(soft, 0.501), soft)
            if min(soft.shape) < 2 or mask.all():
                continue  # it fills the stack: no surface is visible
            corners, faces, _, _ = marching_cubes(soft, 0.5, spacing=tuple(voxel))  # type: ignore[no-untyped-call]
            self.area[rank] = mesh_surface_area(corners, faces)  # type: ignore[no-untyped-call]
            vertices.append(corners + start * voxel)
            owners.append(np.full(len(corners), rank, np.int64))
        self.points, self.owner = np.concatenate(vertices), np.concatenate(owners)
        # The cell as a fourth, far stretched axis: the nearest point is one of the same cell.
        self._far = 4.0 * float((np.array(cells.shape) * voxel).sum())
        self._own = cKDTree(np.column_stack([self.points, self._far * self.owner]), balanced_tree=False)
        self._any = cKDTree(self.points, balanced_tree=False)

    def own_distance(self, points: Points, rank: Ints) -> Floats:
        """Return the distance (µm) of points to the surface of the cell that each is given.

        Infinite for a cell of which no surface is seen.
        """
        distance: Floats = self._own.query(np.column_stack([points, self._far * rank]))[0]
        return np.where(distance < self._far / 2, distance, np.inf)

    def nearest(self, points: Points) -> tuple[Floats, Ints]:
        """Return distance (µm) and rank of the cell whose surface is nearest; infinite without any."""
        if not len(self.owner):
            return np.full(len(points), np.inf), np.zeros(len(points), np.int64)
        distance, index = self._any.query(points)
        return distance, self.owner[index]


def _cut_out(
    cells: Labels, box: tuple[slice, ...], label: int, margin: tuple[int, int, int]
) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Return the mask of a label with a margin of background, and the voxel at which it begins.

    No margin where the stack cuts the cell.
    """
    pad = [
        (0 if side.start == 0 else m, 0 if side.stop == size else m)
        for side, size, m in zip(box, cells.shape, margin, strict=True)
    ]
    start = np.array([side.start - before for side, (before, _) in zip(box, pad, strict=True)], np.int64)
    return np.pad(cells[box] == label, pad), start


@dataclass(frozen=True)
class Place:
    """Where puncta are: rank of the cell (-1 = none), depth below its surface in µm, and location.

    Outside cells the depth is negative, to the nearest cell; NaN where no surface is seen.
    """

    rank: Ints
    depth_um: Floats
    location: npt.NDArray[np.object_]


def assign(
    cells: Labels,
    regions: Regions,
    surfaces: Surfaces,
    points: Points,
    voxel: npt.NDArray[np.float64],
    membrane_um: float,
) -> Place:
    """Say of every punctum which cell it belongs to, and whether inside or on the membrane.

    Parameters
    ----------
    cells, regions, surfaces
        The cells: ZYX labels, the same as `Regions` of the planes one below the other, their surfaces.
    points
        (N, 3) z, y, x in voxels.
    voxel
        Size of a voxel in µm.
    membrane_um
        Within this distance of the surface, on either side, a punctum is membrane-bound.
    """
    count = len(points)
    if not len(regions) or not count:
        return Place(
            np.full(count, -1, np.int64), np.full(count, np.nan), np.full(count, "outside", dtype=object)
        )
    at = np.clip(np.floor(points + 0.5), 0, np.array(cells.shape) - 1).astype(np.int64)
    rank = regions.rank_at(at[:, 0] * cells.shape[1] + at[:, 1], at[:, 2])
    away, nearest = surfaces.nearest(points * voxel)
    inside = rank >= 0
    depth = -away
    depth[inside] = surfaces.own_distance(points[inside] * voxel, rank[inside])
    rank = np.where(~inside & (away <= membrane_um), nearest, rank)
    location = np.full(count, "outside", dtype=object)
    location[rank >= 0] = "membrane"
    location[depth > membrane_um] = "inside"
    return Place(rank, np.where(np.isfinite(depth), depth, np.nan), location)


def deepest_points(cells: Labels, ids: Ints, voxel: npt.NDArray[np.float64]) -> Floats:
    """Return the largest distance (µm) from a voxel centre to the surface, for each label.

    The surface is half a voxel beyond the outermost centres, and the stack's border is none; NaN for a
    cell that fills the stack.
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    boxes = find_objects(cells.astype(np.int32, copy=False))
    result = np.zeros(len(ids))
    for rank, label in enumerate(ids):
        mask, _ = _cut_out(cells, boxes[label - 1], label, (1, 1, 1))
        if mask.all():
            result[rank] = np.nan
            continue
        result[rank] = distance_transform_edt(mask, sampling=voxel).max() - voxel.min() / 2
    return result


def nucleus_distance_um(
    nuclei: Labels, owner: Ints, points: Points, rank: Ints, voxel: npt.NDArray[np.float64]
) -> Floats:
    """Return the distance (µm) from each punctum to the nearest nucleus of its own cell.

    0 inside that nucleus; NaN outside cells and in cells without a nucleus. The edge of a nucleus is
    half a pixel beyond the centres of its outermost voxels.

    Parameters
    ----------
    nuclei, owner
        ZYX labels, and the rank of the cell of each, in ascending order of the labels.
    points, rank
        (N, 3) puncta in voxels, and the rank of the cell of each.
    voxel
        Size of a voxel in µm.
    """
    result = np.full(len(points), np.nan)
    ids = np.flatnonzero(np.bincount(nuclei.ravel(), minlength=1))
    ids = ids[ids > 0]
    cell_of = np.full(int(nuclei.max(initial=0)) + 1, -1, np.int64)
    cell_of[ids] = owner
    cell = cell_of[nuclei]
    asked = np.isin(rank, owner[owner >= 0])
    if not asked.any():
        return result
    from scipy.spatial import cKDTree

    rim = np.zeros(nuclei.shape, bool)
    for axis in range(3):
        padded = np.pad(cell, [(1, 1) if a == axis else (0, 0) for a in range(3)], constant_values=-1)
        for shift in (0, 2):
            beside = np.take(padded, np.arange(shift, shift + nuclei.shape[axis]), axis=axis)
            rim |= beside != cell
    at = np.stack(np.nonzero(rim & (cell >= 0)), axis=1)
    far = 4.0 * float((np.array(nuclei.shape) * voxel).sum())
    tree = cKDTree(np.column_stack([at * voxel, far * cell[tuple(at.T)]]), balanced_tree=False)
    apart, _ = tree.query(np.column_stack([points[asked] * voxel, far * rank[asked]]))
    here = np.clip(np.floor(points[asked] + 0.5), 0, np.array(nuclei.shape) - 1).astype(np.int64)
    under = cell[tuple(here.T)] == rank[asked]
    result[asked] = np.where(under, 0, np.maximum(apart - voxel.min() / 2, 0))
    return result

"""Outlines of tumour cells: polygonal epithelial cells that grow in islands, edge to edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.simulate import optics

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_tam.simulate.parameters import SceneParameters

Mask = npt.NDArray[np.bool_]
#: Rows and columns of a box in the field, and the mask in it.
Body = tuple[slice, slice, Mask]

#: A cell of an island of which less is left (beside other cells, in the field) is not drawn.
LEAST_LEFT = 0.7
#: How often a place is looked for, for one island.
ATTEMPTS = 20


def draw_islands(p: SceneParameters, rng: Generator) -> list[Body]:
    """Return the bodies of `tumour_share` of the cells, in islands of about `island_cells`; none overlap.

    An island is a jittered hexagonal packing: where cells meet, the border is straight (that of a Voronoi
    diagram, a little warped), and towards the outside they are round.
    """
    wanted = round(p.cells_per_field * p.tumour_share)
    taken = np.zeros(p.shape, bool)
    found: list[Body] = []
    for _ in range(ATTEMPTS * max(1, wanted)):
        missing = wanted - len(found)
        if missing < 1:
            break
        number = min(missing, max(1, int(rng.poisson(p.island_cells))))
        island = _island(p, number, rng.uniform(0, p.shape), rng)
        bodies = [body for k in range(1, number + 1) if (body := _cut(island == k, p.whole_cells))]
        free = [body for body in bodies if not taken[body[0], body[1]][body[2]].any()]
        # an island that lies half over another one looks like neither
        if len(free) < max(1, LEAST_LEFT * number):
            continue
        for rows, columns, mask in free:
            taken[rows, columns] |= mask
        found += free
    return found


def _island(
    p: SceneParameters, number: int, centre: npt.NDArray[np.float64], rng: Generator
) -> npt.NDArray[np.intp]:
    """Return YX labels 1 to `number` of one island around a point of the field."""
    from scipy.spatial import cKDTree

    spacing = p.tumour_diameter_um / p.pixel_size_um
    reach = int(np.ceil(np.sqrt(number))) + 2
    i, j = (axis.ravel() for axis in np.meshgrid(*(np.arange(-reach, reach + 1),) * 2))
    lattice = np.stack([i * np.sqrt(3) / 2, j + 0.5 * (i % 2)], axis=1)
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    lattice = lattice @ rotation + rng.normal(0, 0.11, lattice.shape)
    order = np.argsort(np.linalg.norm(lattice, axis=1) + rng.uniform(0, 0.8, len(lattice)))[:number]
    seeds = centre + spacing * lattice[order]
    size = spacing * np.exp(rng.normal(0, 0.07, number))
    labels = np.zeros(p.shape, np.intp)
    low = np.maximum(np.floor(seeds.min(axis=0) - spacing), 0).astype(int)
    high = np.minimum(np.ceil(seeds.max(axis=0) + spacing), p.shape).astype(int)
    if (high <= low).any():
        return labels
    rows, columns = (np.arange(a, b) for a, b in zip(low, high, strict=True))
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).astype(np.float64)
    for axis in (0, 1):
        places[..., axis] += 0.045 * spacing * optics.texture(places.shape[:2], 0.18 * spacing, rng)
    distance, nearest = cKDTree(seeds).query(places.reshape(-1, 2))
    inside = distance < 0.58 * size[nearest]
    window = np.where(inside, nearest + 1, 0).reshape(places.shape[:2])
    labels[low[0] : high[0], low[1] : high[1]] = window
    return labels


def _cut(mask: Mask, whole: bool) -> Body | None:
    """Return a cell's largest piece in its box (a pixel wider); None if it is gone, or cut (with `whole`)."""
    from skimage.measure import label as connected

    if not mask.any():
        return None
    where = np.argwhere(mask)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    low, high = np.maximum(low - 1, 0), np.minimum(high + 1, mask.shape)
    round_ = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    # no spikes where the warp folds the border
    own = cv2.morphologyEx(mask[low[0] : high[0], low[1] : high[1]].astype(np.uint8), cv2.MORPH_OPEN, round_)
    pieces: npt.NDArray[np.intp] = connected(own, connectivity=1)  # type: ignore[no-untyped-call]
    sizes = np.bincount(pieces.ravel())
    if len(sizes) < 2:
        return None
    largest = pieces == 1 + int(np.argmax(sizes[1:]))
    cut = bool(largest[[0, -1]].any() or largest[:, [0, -1]].any())
    if whole and cut:
        return None
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])), largest

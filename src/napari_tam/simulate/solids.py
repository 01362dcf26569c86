"""Cells and nuclei with a height: from outlines to solids, their stain and surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.simulate import optics

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_tam.simulate.cells import Labels
    from napari_tam.simulate.parameters import VolumeParameters

Volume = npt.NDArray[np.float32]

Points = npt.NDArray[np.float64]


#: Distance of the drawn surface points of a cell, in µm.
_SURFACE_STEP_UM = 0.2


@dataclass(frozen=True)
class Slab:
    """Bottom and top (YX, µm above the first plane) of what lies in each column; equal where nothing does."""

    bottom: Volume
    top: Volume


def heights(p: VolumeParameters, labels: Labels, rng: Generator) -> Slab:
    """Give every cell a dome that falls to its thin outline; some also rise from the glass there."""
    um, shape = p.plane.pixel_size_um, labels.shape
    glass = p.glass_um + rng.uniform(-0.5, 0.5) * p.z_step_um  # anywhere between two planes
    bottom, top = (np.full(shape, glass, np.float32) for _ in range(2))
    ruffles = optics.texture(shape, p.plane.cell_diameter_um / um * 0.08, rng)
    for index, box in enumerate(_boxes(labels), start=1):
        height = p.cell_height_um * np.exp(rng.normal(0, p.height_spread))
        flatness, rise = rng.uniform(0.5, 1.0), rng.uniform(0, 0.4)
        mask = labels[box] == index
        depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        away = np.clip(depth / max(1.0, flatness * float(depth.max())), 0, 1)
        dome = p.lamella_um + (height - p.lamella_um) * np.sqrt(1 - (1 - away) ** 2)
        dome = np.maximum(dome * (1 + 0.05 * p.plane.ruffles * ruffles[box]), p.lamella_um)
        low = glass + rise * np.clip(height - dome, 0, None) * 0.5
        bottom[box] = np.where(mask, low, bottom[box])
        top[box] = np.where(mask, low + dome, top[box])
    return Slab(bottom, top)


def nuclear_heights(nuclei: Labels, body: Slab) -> Slab:
    """Put a lens into the column of each nucleus: at most 65 % of the cell's thickness there."""
    depth = cv2.distanceTransform((nuclei > 0).astype(np.uint8), cv2.DIST_L2, 5)
    most = np.ones(int(nuclei.max()) + 1, np.float32)
    np.maximum.at(most, nuclei.ravel(), depth.ravel())
    thick = 0.65 * (body.top - body.bottom) * np.sqrt(1 - (1 - np.clip(depth / most[nuclei], 0, 1)) ** 2)
    thick = np.where(nuclei > 0, np.minimum(thick, 5.0), 0)
    middle = body.bottom + 0.45 * (body.top - body.bottom)
    return Slab(np.asarray(middle - thick / 2, np.float32), np.asarray(middle + thick / 2, np.float32))


def _boxes(labels: Labels) -> list[tuple[slice, slice]]:
    from scipy.ndimage import find_objects

    return [box for box in find_objects(labels) if box is not None]


def fill_solid(p: VolumeParameters, slab: Slab, inset: float = 0.0) -> Volume:
    """Return the share of each voxel (ZYX) between bottom and top, both moved inwards by `inset` µm."""
    z = (np.arange(p.planes, dtype=np.float32) * p.z_step_um)[:, None, None]
    high = np.minimum(slab.top - inset, z + p.z_step_um / 2)
    low = np.maximum(slab.bottom + inset, z - p.z_step_um / 2)
    return np.asarray(np.clip((high - low) / p.z_step_um, 0, 1), np.float32)


def cell_stain(
    p: VolumeParameters, labels: Labels, body: Slab, filled: Volume, kernel: Volume, rng: Generator
) -> Volume:
    """Photons of the cell stain: cytoplasm and membrane, of random shares and brightness in each cell."""
    plane, count = p.plane, int(labels.max()) + 1
    diameter = plane.cell_diameter_um / plane.pixel_size_um
    brightness = plane.stain_photons * np.exp(rng.normal(0, plane.stain_spread, count))
    share = rng.dirichlet(8 * np.array(plane.stain[:2]) + 0.15, count)[:, 1]  # of the membrane
    nuclear = rng.uniform(-0.6, 0.3)
    grains = [optics.texture(labels.shape, max(0.8, 0.03 * diameter), rng) for _ in range(2)]
    outline = cv2.erode(_same(labels).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    shell = filled - fill_solid(p, body, 0.25) * outline
    weight = share[labels].astype(np.float32)
    volume = np.empty_like(filled)
    for z in range(p.planes):
        # Texture changes along z over some 2 µm: a mixture of two that turns.
        turn = 0.8 * z * p.z_step_um
        grain = np.exp(plane.stain_texture * 0.3 * (np.cos(turn) * grains[0] + np.sin(turn) * grains[1]))
        cytoplasm = filled[z] * grain * (1 + nuclear * kernel[z])
        volume[z] = (1 - weight) * cytoplasm + weight * (0.25 * cytoplasm + 2.0 * shell[z])
    return np.asarray(volume * np.where(labels > 0, brightness[labels], 0), np.float32)


def _same(labels: Labels) -> npt.NDArray[np.bool_]:
    """Tell which pixels have four neighbours of their own label."""
    padded = np.pad(labels, 1)
    inner = np.ones(labels.shape, bool)
    for axis in (0, 1):
        for shift in (1, -1):
            inner &= np.roll(padded, shift, axis)[1:-1, 1:-1] == labels
    return inner & (labels > 0)


def sample_surface(p: VolumeParameters, labels: Labels, body: Slab) -> tuple[Points, npt.NDArray[np.intp]]:
    """Return points (z, y, x in µm) on the cells' surfaces, and the label each belongs to.

    Tops and bottoms of all columns, and between them wherever one stands above its neighbour.
    """
    um = p.plane.pixel_size_um
    rows, columns = np.nonzero(labels)
    place = np.stack([rows, columns], axis=1) * um
    found = [np.column_stack([side[rows, columns], place]) for side in (body.bottom, body.top)]
    owners = [labels[rows, columns].astype(np.intp)] * 2
    for step in ((0, 1), (1, 0)):
        one = (slice(0, labels.shape[0] - step[0]), slice(0, labels.shape[1] - step[1]))
        two = (slice(step[0], None), slice(step[1], None))
        for here, there in ((one, two), (two, one)):
            other = labels[here] != labels[there]
            # Beyond the outline the wall goes down to the cell's own bottom; else to the neighbour.
            for side in ("top", "bottom"):
                mine = getattr(body, side)
                target = np.where(other, body.bottom[here], mine[there])
                gap = target - mine[here]
                y, x = np.nonzero((labels[here] > 0) & (np.abs(gap) > _SURFACE_STEP_UM))
                count = np.ceil(np.abs(gap[y, x]) / _SURFACE_STEP_UM).astype(int)
                which = np.repeat(np.arange(len(y)), count)
                share = (
                    np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + 0.5
                ) / np.repeat(count, count)
                oy, ox = here[0].start or 0, here[1].start or 0
                sign = 1 if here is one else -1
                along = 0.5 * sign * um
                z = mine[here][y, x][which] + share * gap[y, x][which]
                found.append(
                    np.column_stack(
                        [z, (y[which] + oy) * um + step[0] * along, (x[which] + ox) * um + step[1] * along]
                    )
                )
                owners.append(labels[here][y, x][which].astype(np.intp))
    return np.concatenate(found), np.concatenate(owners)

"""Lysosomes: where they lie, how bright they are, and which puncta are in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd
    from numpy.random import Generator

    from napari_tam.simulate.cells import Labels
    from napari_tam.simulate.parameters import SceneParameters

#: Discs are drawn on a grid so many times finer than the pixels.
_FINE = 4


@dataclass(frozen=True)
class Lysosomes:
    """The lysosomes of a field.

    Attributes
    ----------
    labels
        YX labels, numbered from 1; a pixel belongs to the lysosome that covers its centre.
    photons
        YX light before the microscope's blur.
    places
        One row per lysosome: y, x, radius (px), and the label of its cell.
    """

    labels: Labels
    photons: npt.NDArray[np.float32]
    places: npt.NDArray[np.float64]


def draw_lysosomes(p: SceneParameters, labels: Labels, nuclei: Labels, rng: Generator) -> Lysosomes:
    """Draw round lysosomes into the cells, most of them near the nucleus and none centred in it."""
    diameter = p.lysosome_diameter_um / p.pixel_size_um
    cell_diameter = p.cell_diameter_um / p.pixel_size_um
    to_nucleus = cv2.distanceTransform((nuclei == 0).astype(np.uint8), cv2.DIST_L2, 5)
    to_nucleus = np.minimum(to_nucleus, cell_diameter)  # a field without nuclei
    density = np.where(nuclei > 0, 0, np.exp(-to_nucleus / (0.3 * cell_diameter))).ravel()
    places = []
    flat = labels.ravel()
    order = np.argsort(flat, kind="stable")
    count = int(labels.max())
    starts = np.searchsorted(flat[order], np.arange(1, count + 2))
    for cell in range(1, count + 1):
        pixels = order[starts[cell - 1] : starts[cell]]
        weight = density[pixels]
        if not len(pixels) or weight.sum() <= 0:
            continue
        chosen = rng.choice(pixels, rng.poisson(p.lysosomes_per_cell), p=weight / weight.sum())
        yx = np.stack(np.unravel_index(chosen, labels.shape), axis=1) + rng.uniform(
            -0.5, 0.5, (len(chosen), 2)
        )
        radius = diameter / 2 * np.exp(rng.normal(0, 0.2, len(chosen)))
        places.append(np.column_stack([yx, radius, np.full(len(chosen), cell)]))
    table = np.concatenate(places) if places else np.zeros((0, 4))
    marked = np.zeros(labels.shape, np.uint16)
    photons = np.zeros(labels.shape, np.float32)
    bright = p.lysosome_photons * np.exp(rng.normal(0, 0.3, len(table)))
    for number, ((y, x, radius, cell), height) in enumerate(zip(table, bright, strict=True), 1):
        y0, x0 = max(0, int(y - radius) - 1), max(0, int(x - radius) - 1)
        window = (slice(y0, int(y + radius) + 3), slice(x0, int(x + radius) + 3))
        own = labels[window] == cell
        inside = _covered(own.shape, y - y0, x - x0, radius)
        photons[window] = np.maximum(photons[window], np.where(own, height * inside, 0))
        rows, columns = np.indices(own.shape)
        centre = (rows - (y - y0)) ** 2 + (columns - (x - x0)) ** 2 <= radius**2
        marked[window][centre & own] = number
    return Lysosomes(marked, photons, table)


def _covered(shape: tuple[int, ...], y: float, x: float, radius: float) -> npt.NDArray[np.float32]:
    """Return which share of each pixel a disc covers."""
    rows, columns = np.indices((shape[0] * _FINE, shape[1] * _FINE))
    step = (_FINE - 1) / 2
    fine = ((rows - step) / _FINE - y) ** 2 + ((columns - step) / _FINE - x) ** 2 <= radius**2
    blocks = fine.reshape(shape[0], _FINE, shape[1], _FINE)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def colocalise(p: SceneParameters, spots: pd.DataFrame, found: Lysosomes, rng: Generator) -> pd.DataFrame:
    """Move a share of the puncta in cells into a lysosome of their cell, and mark all that lie in one."""
    table = spots.copy()
    yx = table[["y_px", "x_px"]].to_numpy(copy=True)
    owner = found.places[:, 3].astype(int)
    for row in np.flatnonzero((rng.random(len(table)) < p.colocalised) & (table["cell"] > 0)):
        mine = np.flatnonzero(owner == table["cell"].iloc[row])
        if len(mine):
            y, x, radius, cell = found.places[rng.choice(mine)]
            angle, reach = rng.uniform(0, 2 * np.pi), 0.8 * radius * np.sqrt(rng.random())
            place = np.array([y + reach * np.sin(angle), x + reach * np.cos(angle)])
            at = np.floor(place + 0.5).astype(int)
            size = found.labels.shape
            if (at >= 0).all() and (at < size).all() and _cell_at(found, at, owner) == cell:
                yx[row] = place
    pixel = np.clip(np.floor(yx + 0.5).astype(int), 0, np.array(found.labels.shape) - 1)
    return table.assign(
        y_px=yx[:, 0], x_px=yx[:, 1], lysosome=found.labels[pixel[:, 0], pixel[:, 1]].astype(int)
    )


def _cell_at(found: Lysosomes, at: npt.NDArray[np.int_], owner: npt.NDArray[np.int_]) -> int:
    """Return the cell whose lysosome lies at a pixel, 0 for none."""
    number = int(found.labels[at[0], at[1]])
    return int(owner[number - 1]) if number else 0

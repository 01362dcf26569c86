"""Where exosome puncta lie, and how bright they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_tam.simulate.cells import Labels
    from napari_tam.simulate.parameters import SceneParameters

PUNCTA_COLUMNS = ("y_px", "x_px", "cell", "amplitude_photons", "sigma_px", "aggregate")


def draw_appetite(
    p: SceneParameters, phenotypes: pd.DataFrame, rng: Generator
) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
    """Return each cell's uptake relative to others of its area, and the cells' table with that column."""
    factor = np.where(phenotypes["phenotype"].to_numpy(str) == "M2", p.m2_uptake, 1.0).astype(np.float64)
    if p.uptake_share < 1:
        takes = rng.random(len(phenotypes)) < p.uptake_share
        return phenotypes.assign(takes_up=takes.astype(int)), factor * takes
    return phenotypes, factor


def draw_puncta(
    p: SceneParameters,
    labels: Labels,
    nuclei: Labels,
    rng: Generator,
    appetite: npt.NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Draw the puncta of a field: taken up, bound to the membrane, free, and dye aggregates.

    Uptake varies between cells (log-normal) around `p.puncta_per_cell` for the mean cell area.
    ``amplitude_photons`` is the height of the Gaussian; its integral is 2π sigma² times that.
    """
    sigma_px = p.spot_sigma_um / p.pixel_size_um
    positions: list[npt.NDArray[np.float64]] = []
    count = int(labels.max())
    if count:
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(float)
        uptake = np.exp(rng.normal(-(p.uptake_spread**2) / 2, p.uptake_spread, count))
        expected = p.puncta_per_cell * uptake * areas / areas.mean()
        if appetite is not None:
            expected = expected * appetite
        positions.append(_inside(p, labels, nuclei, rng.poisson(expected), rng))
    free = rng.uniform(0, p.shape, (rng.poisson(p.free_per_field), 2)) - 0.5
    outside = labels[tuple(np.clip(np.round(free).astype(int), 0, np.array(p.shape) - 1).T)] == 0
    positions.append(free[outside])
    if count and p.dye_particles_per_cell > 0:
        particles = rng.poisson(p.dye_particles_per_cell * areas / areas.mean())
        positions.append(_inside(p, labels, nuclei, particles, rng))
    single = np.concatenate(positions)
    aggregates = rng.uniform(0, p.shape, (rng.poisson(p.aggregates_per_field), 2)) - 0.5
    if count and p.aggregate_cells > 0:
        holders = (rng.random(count) < p.aggregate_cells).astype(np.intp)
        aggregates = np.concatenate([aggregates, _inside(p, labels, nuclei, holders, rng)])
    points = np.concatenate([single, aggregates])
    is_aggregate = np.arange(len(points)) >= len(single)
    photons = p.punctum_photons * np.exp(rng.normal(0, p.punctum_spread, len(points)))
    sigma = sigma_px * np.exp(rng.normal(0, 0.03, len(points)))
    growth = rng.uniform(1.5, 2.5, len(points))
    photons = np.where(is_aggregate, photons * 4 * growth**2, photons)
    sigma = np.where(is_aggregate, sigma * growth, sigma)
    pixel = np.clip(np.round(points).astype(int), 0, np.array(p.shape) - 1)
    columns = (
        points[:, 0],
        points[:, 1],
        labels[pixel[:, 0], pixel[:, 1]].astype(int),
        photons / (2 * np.pi * sigma**2),
        sigma,
        is_aggregate.astype(int),
    )
    return pd.DataFrame(dict(zip(PUNCTA_COLUMNS, columns, strict=True)))


def _inside(
    p: SceneParameters, labels: Labels, nuclei: Labels, counts: npt.NDArray[np.intp], rng: Generator
) -> npt.NDArray[np.float64]:
    """Sample positions in cells: near the nucleus, at the edge, or anywhere but in the nucleus."""
    diameter = p.cell_diameter_um / p.pixel_size_um
    to_nucleus = cv2.distanceTransform((nuclei == 0).astype(np.uint8), cv2.DIST_L2, 5)
    same = np.ones(labels.shape, bool)
    for axis in (0, 1):
        for shift in (1, -1):
            same &= np.roll(labels, shift, axis) == labels
    depth = cv2.distanceTransform((same & (labels > 0)).astype(np.uint8), cv2.DIST_L2, 5)
    depth = np.minimum(depth, 1e6)  # one cell over the whole field has no edge
    around = np.exp(-to_nucleus / (0.08 * diameter)) + 1e-4
    at_edge = np.exp(-(((depth - 1) / max(1.0, 0.02 * diameter)) ** 2)) + 1e-6
    shares = np.array([p.perinuclear, p.membrane_bound])
    shares = np.append(shares / max(1.0, float(shares.sum())), max(0.0, 1 - shares.sum()))
    order = np.argsort(labels, axis=None, kind="stable")
    starts = np.searchsorted(labels.ravel()[order], np.arange(1, len(counts) + 2))
    found = []
    for index, count in enumerate(counts):
        pixels = order[starts[index] : starts[index + 1]]
        if not count or not len(pixels):
            continue
        outside_nucleus = np.where(nuclei.ravel()[pixels] > 0, 0.05, 1.0)
        maps = (around.ravel()[pixels] * outside_nucleus, at_edge.ravel()[pixels], outside_nucleus)
        for share, density in zip(rng.multinomial(count, shares), maps, strict=True):
            chosen = rng.choice(pixels, share, p=density / density.sum())
            yx = np.stack(np.unravel_index(chosen, labels.shape), axis=1)
            found.append(yx + rng.uniform(-0.5, 0.5, (share, 2)))
    return np.concatenate(found) if found else np.zeros((0, 2))

"""What the stains show: cytoplasm, membrane, actin, chromatin and exosome haze."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.simulate.optics import blur, texture

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_tam.simulate.cells import Labels, Population
    from napari_tam.simulate.parameters import SceneParameters

Image = npt.NDArray[np.float32]


def cell_stain(p: SceneParameters, population: Population, nuclei: Labels, rng: Generator) -> Image:
    """Photons of the cell stain: each cell a mixture of cytoplasm, membrane and actin patterns.

    Cells that overlap add up, as they do in a widefield microscope.
    """
    image = np.zeros(p.shape, np.float32)
    diameter = p.cell_diameter_um / p.pixel_size_um
    grain = texture(p.shape, max(0.8, diameter * rng.uniform(0.015, 0.05)), rng)
    patches = texture(p.shape, diameter * 0.15, rng)
    fibres = _fibres(p.shape, diameter, rng)
    nuclear = rng.uniform(-0.6, 0.5)  # the stain avoids or prefers the nuclear region
    nuclear_map = blur((nuclei > 0).astype(np.float32), diameter * 0.04)
    for rows, columns, body in population.bodies:
        window = (rows, columns)
        weights = rng.dirichlet(8 * np.array(p.stain) + 0.15)
        depth = cv2.distanceTransform(np.pad(body, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        deepest = max(float(depth.max()), 1.0)
        # Thickness of the cell: thin lamella at the edge, thick body in the middle.
        dome = np.clip(depth / (deepest * rng.uniform(0.4, 1.0)), 0, 1) ** rng.uniform(0.3, 1.0)
        cytoplasm = (0.25 + 0.75 * dome) * np.exp(p.stain_texture * 0.5 * grain[window])
        rim_width = max(0.7, diameter * rng.uniform(0.02, 0.06))
        ruffles = np.clip(1 + 0.8 * p.stain_texture * patches[window], 0.1, 3)
        membrane = 0.25 * cytoplasm + 1.4 * np.exp(-depth / rim_width) * ruffles
        actin = 0.3 * dome + 0.8 * np.exp(-depth / rim_width) + p.stain_texture * fibres[window]
        cell = weights[0] * cytoplasm + weights[1] * membrane + weights[2] * np.maximum(actin, 0.05)
        cell *= 1 + nuclear * nuclear_map[window]
        cell *= 1 + 0.3 * p.stain_texture * patches[window]
        brightness = p.stain_photons * np.exp(rng.normal(0, p.stain_spread))
        image[window] += np.where(body, brightness * np.maximum(cell, 0.03), 0).astype(np.float32)
    return image


def _fibres(shape: tuple[int, int], diameter: float, rng: Generator) -> Image:
    """Stress fibres: noise blurred along one of a few directions."""
    image = np.zeros(shape, np.float32)
    length = max(5, int(diameter * 0.5) | 1)
    for turn in rng.uniform(0, 180, 2):
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1 / length
        spin = cv2.getRotationMatrix2D((length // 2, length // 2), turn, 1.0)
        turned = cv2.warpAffine(kernel, spin, (length, length))
        image += cv2.filter2D(rng.standard_normal(shape, dtype=np.float32), -1, turned)
    return np.asarray(np.clip(image / max(float(image.std()), 1e-6), -0.5, 3) * 0.5, np.float32)


def nuclear_stain(p: SceneParameters, nuclei: Labels, rng: Generator) -> Image:
    """Photons of the nuclear stain: chromatin texture, brightness that differs between cells."""
    size = p.nucleus_fraction * p.cell_diameter_um / p.pixel_size_um
    chromatin = np.exp(0.25 * texture(p.shape, max(0.8, size * rng.uniform(0.04, 0.12)), rng))
    brightness = p.nucleus_photons * np.exp(rng.normal(0, 0.3, int(nuclei.max()) + 1))
    brightness[0] = 0
    image = np.asarray(brightness[nuclei] * chromatin, np.float32)
    glow = blur((nuclei > 0).astype(np.float32), size)  # out of focus
    return image + np.float32(0.02 * p.nucleus_photons) * glow


def haze(p: SceneParameters, labels: Labels, nuclei: Labels, rng: Generator) -> Image:
    """Photons of exosome label without puncta: fused label and autofluorescence in the cells."""
    level = p.haze_photons * np.exp(rng.normal(0, 0.4, int(labels.max()) + 1))
    level[0] = 0
    diameter = p.cell_diameter_um / p.pixel_size_um
    uneven = np.exp(0.3 * texture(p.shape, max(1.0, diameter * 0.1), rng))
    return np.asarray(level[labels] * uneven * np.where(nuclei > 0, 0.7, 1.0), np.float32)

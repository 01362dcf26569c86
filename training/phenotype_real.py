"""Real macrophages of a known axis ratio: BBBC020 cells, stretched or squeezed to what a population draws.

Nobody said which of these cells are M1 or M2, and no such label is used: the outline and the stain are
real, the axis ratio, which is what the classes differ in (`napari_tam.simulate.cells.PHENOTYPES`), is drawn.
Simulated outlines are smoother and their stain is plainer than a real cell's; with them alone a third of the
real cells are called unlike training or too close to call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
import tifffile
from phenotype_fields import SETTINGS, Cells, join, listed

from napari_tam.io.field import Field
from napari_tam.measure.cells import measure
from napari_tam.phenotype.crops import cell_crops
from napari_tam.simulate.cells import PHENOTYPES

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = ("104", "106", "121")
#: Unknown; the one that the benchmarks take.
PIXEL_UM = 0.65
#: Spread (SD of the logarithm) of the scale: pixel sizes and cells of other labs differ.
SCALE_SPREAD = 0.2


def real_cells(folder: Path, segmenter, variants: int, seed: int = 3) -> Cells:
    """Draw cells from those of the real fields that no border cuts.

    Parameters
    ----------
    folder
        Where the fields and their masks are.
    segmenter
        The `cells` network: its own masks are used besides those that people drew.
    variants
        Drawings of each mask.
    seed
        Same seed, same cells.

    Returns
    -------
    Cells
        `field` is the position in `FIELDS`.
    """
    parts = []
    for index, name in enumerate(FIELDS):
        image = tifffile.imread(folder / f"bbbc020_{name}.tif")
        drawn = tifffile.imread(folder / f"bbbc020_{name}_masks.tif").astype(np.int32)
        found = segmenter.segment(image[0], image[1], PIXEL_UM, None, SETTINGS).labels
        rng = np.random.default_rng([seed, index])
        for labels in (drawn, found):
            field = Field(name, {"cell": image[0], "nucleus": image[1], "exosome": image[0]}, PIXEL_UM)
            table, _, _ = measure(field, labels, None, pd.DataFrame(), SETTINGS)
            whole = table[~table["touches_border"].astype(bool)]
            for label in whole["label"]:
                mask = (labels == label).astype(np.uint8)
                parts += [_stretched(image, mask, index, rng) for _ in range(variants)]
    return join(parts)


def _stretched(image: np.ndarray, mask: np.ndarray, index: int, rng: np.random.Generator) -> Cells:
    name = str(rng.choice(list(PHENOTYPES)))
    mean, spread = PHENOTYPES[name].axis_ratio
    ratio = max(1.0, float(np.exp(rng.normal(np.log(mean), spread))))
    y, x = np.nonzero(mask)
    # the second moments of a mask are changed by a stretch exactly as it says
    values, axes = np.linalg.eigh(np.cov(np.stack([x, y])))
    along = np.sqrt(ratio / np.sqrt(values[1] / values[0]))
    stretch = axes @ np.diag([1 / along, along]) @ axes.T
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    change = rotation @ stretch * np.exp(rng.normal(0, SCALE_SPREAD))
    points = change @ np.stack([x, y])
    low = points.min(axis=1) - 8
    size = np.ceil(points.max(axis=1) + 8 - low).astype(int)
    matrix = np.hstack([change, -low[:, None]])
    shape = (int(size[0]), int(size[1]))
    stain, nucleus = (cv2.warpAffine(plane.astype(np.float32), matrix, shape) for plane in image[:2])
    # a soft edge, so that the warped outline has no steps
    warped = (cv2.warpAffine(mask.astype(np.float32), matrix, shape) > 0.5).astype(np.int32)
    _, parts = cv2.connectedComponents(warped.astype(np.uint8))
    if parts.max() > 1:  # a thread of one pixel may break
        warped = (parts == np.bincount(parts.ravel())[1:].argmax() + 1).astype(np.int32)
    channels = {"cell": stain, "nucleus": nucleus, "exosome": stain}
    table, _, _ = measure(Field("", channels, PIXEL_UM), warped, None, pd.DataFrame(), SETTINGS)
    return listed(
        cell_crops(stain, warped, None, table, PIXEL_UM),
        table,
        np.array([name], object),
        index,
        PIXEL_UM,
    )

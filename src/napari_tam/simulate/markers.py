"""Cell types and their markers: who carries which, and what the marker channels show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.simulate import optics
from napari_tam.simulate.cells import MACROPHAGE

if TYPE_CHECKING:
    import pandas as pd
    from numpy.random import Generator

    from napari_tam.simulate.cells import Labels
    from napari_tam.simulate.parameters import SceneParameters

Image = npt.NDArray[np.float32]


def carried(p: SceneParameters, phenotypes: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with their `cell_type`, and a column for every marker: whether they carry it.

    M1 and M2 are macrophages: a marker of M1 is carried by no tumour cell.
    """
    cells = phenotypes if "cell_type" in phenotypes else phenotypes.assign(cell_type=MACROPHAGE)
    kinds, states = (cells[name].to_numpy(str) for name in ("cell_type", "phenotype"))
    for marker in p.markers:
        cells = cells.assign(
            **{marker.name: np.isin(kinds, marker.carried_by) | np.isin(states, marker.carried_by)}
        )
    return cells


def marker_stains(p: SceneParameters, labels: Labels, cells: pd.DataFrame, rng: Generator) -> list[Image]:
    """Return the photons of every marker: in the cytoplasm and the membrane of cells, blurred and mixed.

    Light of a cell spreads into those that it touches by the blur (`blur_um`); a share of every marker's
    light, `marker_bleed`, is seen in the channels of all others. Tumour exosomes that a macrophage took up
    (the column `polarised`: how far they moved ln(M2 / M1)) make its M2 markers brighter and its M1 markers
    darker by half of that each.
    """
    edge = np.zeros(p.shape, np.uint8)
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        edge |= labels != np.roll(labels, shift, (0, 1))
    depth = cv2.distanceTransform(1 - edge, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    width = max(0.7, 0.04 * p.cell_diameter_um / p.pixel_size_um)
    grain = np.exp(0.2 * optics.texture(p.shape, max(1.0, 2 * width), rng))
    number = int(labels.max()) + 1
    moved = np.zeros(number)
    if "polarised" in cells:
        moved[cells["label"].to_numpy(int)] = cells["polarised"].to_numpy(float) / 2
    pure = []
    for marker in p.markers:
        has_it = np.zeros(number, bool)
        has_it[cells["label"].to_numpy(int)] = cells[marker.name].to_numpy(bool)
        level = np.where(has_it, marker.photons, 0.0) if marker.stained else np.zeros(number)
        level = (level + marker.dark_photons) * np.exp(rng.normal(0, marker.spread, number))
        level *= np.exp(moved * (("M2" in marker.carried_by) - int("M1" in marker.carried_by)))
        level[0] = 0
        pattern = (1 - marker.membrane) + 3 * marker.membrane * np.exp(-depth / width)
        stain = np.asarray(level[labels] * pattern * grain, np.float32)
        pure.append(optics.blur(stain, p.blur_um / p.pixel_size_um))
    bleed = np.float32(p.marker_bleed)
    return [own + bleed * sum((o for o in pure if o is not own), np.zeros_like(own)) for own in pure]

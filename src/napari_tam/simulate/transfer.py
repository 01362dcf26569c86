"""Exosomes that go from cell to cell: who gives, who takes, and how far they get."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.markers.labels import LABEL
from napari_tam.simulate.cells import MACROPHAGE, TUMOUR
from napari_tam.simulate.puncta import draw_puncta

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_tam.simulate.cells import Labels
    from napari_tam.simulate.parameters import ExosomeLabel, SceneParameters


def draw_transfer(
    p: SceneParameters, labels: Labels, nuclei: Labels, cells: pd.DataFrame, rng: Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw the puncta of all labels of a field.

    Returns
    -------
    puncta, cells
        As `napari_tam.simulate.puncta.draw_puncta` with the column `LABEL`; and the cells with, for every
        label, ``distance_um_NAME`` (edge to edge, to the nearest donor; NaN for donors and without one),
        ``expected_NAME`` (mean number at the mean area) and ``taken_NAME`` (puncta in the cell); with
        `polarises` also ``polarised``.
    """
    cells = cells if "cell_type" in cells else cells.assign(cell_type=MACROPHAGE)
    parts = []
    moved = np.zeros(len(cells))
    for label in p.labels:
        distance = donor_distances(p, labels, cells, label)
        expected = _expected(label, distance, cells)
        drawn = draw_puncta(_alone(p, label), labels, nuclei, rng, expected if len(cells) else None)
        taken = np.bincount(drawn["cell"], minlength=int(labels.max()) + 1)[cells["label"].to_numpy(int)]
        parts.append(drawn.assign(**{LABEL: label.name}))
        cells = cells.assign(
            **{
                f"distance_um_{label.name}": distance,
                f"expected_{label.name}": expected,
                f"taken_{label.name}": taken,
            }
        )
        if label.given_by == TUMOUR:
            moved += p.polarises * taken * (cells["cell_type"] == MACROPHAGE).to_numpy(float)
    if p.polarises:
        cells = cells.assign(polarised=moved)
    return pd.concat(parts, ignore_index=True), cells


def donor_distances(
    p: SceneParameters, labels: Labels, cells: pd.DataFrame, label: ExosomeLabel
) -> npt.NDArray[np.float64]:
    """Return how far every cell's edge is from that of the nearest donor (µm; 0: they touch); NaN: none.

    By the distance transform of the donors' pixels.
    """
    numbers = cells["label"].to_numpy(int)
    gives = (cells["cell_type"] == label.given_by).to_numpy(bool)
    if not gives.any():
        return np.full(len(cells), np.nan)
    donors = np.isin(labels, numbers[gives])
    away = cv2.distanceTransform((~donors).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    nearest = np.full(int(labels.max()) + 1, np.inf)
    np.minimum.at(nearest, labels.ravel(), away.ravel())
    # neighbouring pixels are one pixel apart, and their edges touch
    found = np.maximum(nearest[numbers] - 1, 0) * p.pixel_size_um
    return np.where(gives, np.nan, found)


def _expected(
    label: ExosomeLabel, distance: npt.NDArray[np.float64], cells: pd.DataFrame
) -> npt.NDArray[np.float64]:
    gives = (cells["cell_type"] == label.given_by).to_numpy(bool)
    near = np.exp(-np.nan_to_num(distance, nan=np.inf) / label.decay_um)
    return np.where(gives, label.kept, label.puncta_per_cell * (label.far + (1 - label.far) * near))


def _alone(p: SceneParameters, label: ExosomeLabel) -> SceneParameters:
    return replace(p, puncta_per_cell=1.0, free_per_field=label.free_per_field)

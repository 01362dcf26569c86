"""Cells and models for the tests of the phenotype: discs and spindles, and a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from napari_tam.io.field import Field
from napari_tam.measure.cells import measure
from napari_tam.phenotype.crops import CROP_SIZE, cell_crops
from napari_tam.phenotype.features import FEATURES, shape_features
from napari_tam.phenotype.likeness import Likeness
from napari_tam.phenotype.model import PhenotypeModel
from napari_tam.phenotype.morphology_net import MorphologyNet
from napari_tam.settings import Settings
from napari_tam.train.phenotype import Recipe, fit
from napari_tam.train.validation import LabelledCells

if TYPE_CHECKING:
    from numpy.random import Generator

UM = 0.5
SIDE = 64
CLASSES = ("M1", "M2")


def ellipses(ratios: list[float], rng: Generator, side: int = SIDE) -> npt.NDArray[np.uint16]:
    """Return labels: one turned ellipse of an axis ratio in each square of a row, none at the border."""
    labels = np.zeros((side, side * len(ratios)), np.uint16)
    rows, columns = np.indices((side, side)) - (side - 1) / 2
    for k, ratio in enumerate(ratios):
        turn, radius = rng.uniform(0, np.pi), rng.uniform(11, 14)
        x = np.cos(turn) * columns + np.sin(turn) * rows
        y = np.cos(turn) * rows - np.sin(turn) * columns
        inside = (x / np.sqrt(ratio)) ** 2 + (y * np.sqrt(ratio)) ** 2 <= radius**2
        labels[:, k * side : (k + 1) * side][inside] = k + 1
    return labels


def field_of(labels: npt.NDArray[Any], rng: Generator, *, brightness: float = 200.0) -> Field:
    """Return an image of cells: textured stain over a background, nothing in the exosome channel."""
    stain = 20 + (labels > 0) * brightness * rng.uniform(0.6, 1.4, labels.shape)
    return Field(
        "a", {"cell": stain.astype(np.float32), "exosome": np.full(labels.shape, 7.0, np.float32)}, UM
    )


def measured(field: Field, labels: npt.NDArray[Any], nuclei: npt.NDArray[Any] | None = None) -> pd.DataFrame:
    return measure(field, labels, nuclei, pd.DataFrame(), Settings())[0]


def labelled(
    number: int, seed: int, *, groups: int = 3, brightness: tuple[float, ...] = (200.0,)
) -> LabelledCells:
    """Return round (M1) and long (M2) cells, in groups that may differ in brightness."""
    rng = np.random.default_rng(seed)
    crops, features = [], []
    truth = np.arange(number) % 2
    ratios = [float(rng.uniform(1.0, 1.3) if k == 0 else rng.uniform(1.8, 3)) for k in truth]
    group = np.arange(number) * groups // number
    for each in range(groups):
        labels = ellipses([ratios[k] for k in np.flatnonzero(group == each)], rng)
        field = field_of(labels, rng, brightness=brightness[each % len(brightness)])
        table = measured(field, labels)
        crops.append(cell_crops(field.channels["cell"], labels, None, table, UM))
        features.append(shape_features(table))
    names = np.array([f"r{k}" for k in group], object)
    return LabelledCells(np.concatenate(crops), np.concatenate(features), truth, names, CLASSES, "replicate")


def untrained(classes: tuple[str, ...] = CLASSES) -> PhenotypeModel:
    """Return a model with random weights: whatever must hold for all weights can be tested with it."""
    torch.manual_seed(1)
    dimensions = len(FEATURES) + 64
    network = MorphologyNet(len(classes)).eval()
    return PhenotypeModel(
        network,
        classes,
        np.full(len(FEATURES), 1.0, np.float32),
        np.full(len(FEATURES), 2.0, np.float32),
        np.zeros((3, CROP_SIZE, CROP_SIZE), np.float32),
        Likeness(np.zeros((len(classes), dimensions), np.float32), np.eye(dimensions, dtype=np.float32)),
        1.3,
        5.0,
        {"description": "random", "unlike": {}},
    )


def trained(seed: int = 0, number: int = 120) -> PhenotypeModel:
    return fit(labelled(number, seed), Recipe(steps=60, batch=32))

"""The shape features that the phenotype network gets besides the crop, defined in this one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Feature:
    """One feature: a column of the per-cell table, as it is or its natural logarithm.

    Attributes
    ----------
    name
        Its name on model cards and in explanations.
    column
        The column (`napari_tam.columns.CELL_COLUMNS`), in µm where it has a unit.
    transform
        ``log`` for what spans decades and is skewed, ``none`` otherwise.
    low, high
        Values of the column beyond these are set to them: a mask of a few pixels has no
        circularity that means anything.
    """

    name: str
    column: str
    transform: Literal["log", "none"]
    low: float
    high: float


#: The network's input. No intensity, no puncta: uptake must not predict the phenotype.
FEATURES: tuple[Feature, ...] = (
    Feature("log area", "area_um2", "log", 1.0, 1e5),
    Feature("log axis ratio", "aspect_ratio", "log", 1.0, 50.0),
    Feature("log largest diameter", "feret_max_um", "log", 1.0, 1e3),
    Feature("log smallest diameter", "feret_min_um", "log", 0.5, 1e3),
    Feature("log inscribed radius", "inscribed_radius_um", "log", 0.2, 500.0),
    Feature("solidity", "solidity", "none", 0.0, 1.0),
    Feature("circularity", "circularity", "none", 0.0, 1.2),
    Feature("protrusion fraction", "protrusion_fraction", "none", 0.0, 1.0),
)

FEATURE_NAMES = tuple(feature.name for feature in FEATURES)

#: Standardised features are clipped to this before they enter the network.
FEATURE_LIMIT = 5.0


def shape_features(table: pd.DataFrame) -> Features:
    """Return the features of every cell.

    Parameters
    ----------
    table
        One row per cell, with the shape columns of `napari_tam.columns.CELL_COLUMNS`.

    Returns
    -------
    Features
        float32, one row per cell, in the order of `FEATURES`.
    """
    values = np.empty((len(table), len(FEATURES)), np.float32)
    for index, feature in enumerate(FEATURES):
        column = np.clip(table[feature.column].to_numpy(np.float64), feature.low, feature.high)
        values[:, index] = np.log(column) if feature.transform == "log" else column
    return values

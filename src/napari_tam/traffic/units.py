"""Means of independent experiments with their intervals, and the groups that tables are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam.uptake.group_tests import LEAST_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

Floats = npt.NDArray[np.float64]


def mean_interval(values: Floats, low: float = -np.inf, high: float = np.inf) -> tuple[float, float, float]:
    """Return the mean of units and its 95 % interval by Student's t, cut to a range; NaN for fewer than 3."""
    from scipy import stats

    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    if len(values) < LEAST_UNITS:
        return mean, np.nan, np.nan
    reach = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, float(np.clip(mean - reach, low, high)), float(np.clip(mean + reach, low, high))


def conditions(cells: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield all cells (condition ""), and where there are several conditions those of each."""
    yield "", cells
    names = sorted(set(cells["condition"]) - {""})
    for name in names if len(names) > 1 else ():
        yield name, cells[cells["condition"] == name]

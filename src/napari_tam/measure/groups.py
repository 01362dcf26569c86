"""Means and medians of values in groups: puncta of a cell, pixels of a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_tam.measure.regions import Floats, Ints


def means(values: npt.NDArray[Any], group: Ints, n: int) -> Floats:
    """Return the mean of each group's values; NaN for an empty group."""
    count = np.bincount(group, minlength=n)
    total = np.bincount(group, values, minlength=n)
    return np.divide(total, count, out=np.full(n, np.nan), where=count > 0)


def medians(values: npt.NDArray[Any], group: Ints, n: int) -> Floats:
    """Return the median of each group's values; NaN for an empty group or one with NaN."""
    order = np.lexsort((values, group))
    ordered = np.append(values[order], np.nan)
    first = np.searchsorted(group[order], np.arange(n + 1))
    count = np.diff(first)
    last = first[1:] - 1  # NaN sorts last, so this shows whether there is one
    low, high = first[:-1] + (count - 1) // 2, first[:-1] + count // 2
    middle = (ordered[low] + ordered[high]) / 2
    return np.where((count > 0) & ~np.isnan(ordered[last]), middle, np.nan)

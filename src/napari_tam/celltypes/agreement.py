"""How far phenotypes by shape and by markers agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import AGREEMENT_COLUMNS, class_column, table_of_rows
from napari_tam.uptake.replicates import unit_names, unit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam.settings import Settings

Floats = npt.NDArray[np.float64]

#: How often replicates are drawn anew for the interval, and the fewest that it takes.
DRAWS, LEAST_UNITS = 2000, 3


def agreement(cells: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return marker_agreement.csv: the confusion of both phenotypes, Cohen's kappa and the ROC's area.

    Cells that either calls otherwise than the two phenotypes (uncertain, double positive, not known) are left
    out. The interval draws independent experiments, not cells.

    Parameters
    ----------
    cells
        The cells that are analysed, with phenotype, marker_phenotype and the columns of the layout.
    settings
        `marker_phenotypes` has the names of the two, which are compared with those of the shape without
        regard to case.
    """
    names = sorted(settings.marker_phenotypes)
    rows: list[dict[str, Any]] = []
    if names and {"phenotype", "marker_phenotype"} <= set(cells.columns):
        shape, markers = (
            cells[column].astype(str).str.casefold().map({name.casefold(): k for k, name in enumerate(names)})
            for column in ("phenotype", "marker_phenotype")
        )
        known = (shape.notna() & markers.notna()).to_numpy(bool)
        # of the second phenotype, as the shape's model calls it
        chance = cells.get(f"p_{class_column(names[1])}")
        p = np.full(len(cells), np.nan) if chance is None else chance.to_numpy(np.float64)
        told = markers.notna().to_numpy(bool) & np.isfinite(p)
        unit = unit_names(cells, unit_of(cells, settings)).to_numpy(object)
        groups = ["", *sorted(set(cells["condition"]) - {""})]
        for condition in groups:
            chosen = (cells["condition"] == condition).to_numpy(bool) | (condition == "")
            here = known & chosen
            a, b = shape[here].to_numpy(np.int64), markers[here].to_numpy(np.int64)
            second = markers[told & chosen].to_numpy(np.int64)
            area = _area(p[told & chosen], second, unit[told & chosen])
            rows += [row | area for row in _rows(condition, names, a, b, unit[here])]
    return table_of_rows(AGREEMENT_COLUMNS, rows)


def _rows(
    condition: str,
    names: Sequence[str],
    shape: npt.NDArray[np.int64],
    markers: npt.NDArray[np.int64],
    unit: npt.NDArray[np.object_],
) -> list[dict[str, Any]]:
    units = sorted(set(unit) - {""})
    parts = np.stack([_confusion(shape[unit == name], markers[unit == name]) for name in units or [""]])
    whole = _confusion(shape, markers)
    low = high = np.nan
    if len(units) >= LEAST_UNITS:
        drawn = np.random.default_rng(0).integers(0, len(units), (DRAWS, len(units)))
        found = np.array([kappa(table) for table in parts[drawn].sum(axis=1)])
        found = found[np.isfinite(found)]
        if len(found):
            low, high = (float(value) for value in np.quantile(found, (0.025, 0.975)))
    total = int(whole.sum())
    facts = {
        "condition": condition,
        "known": total,
        "agree": float(np.trace(whole) / total) if total else np.nan,
        "kappa": kappa(whole),
        "kappa_low": low,
        "kappa_high": high,
        "units": len(units),
    }
    return [
        facts | {"by_shape": names[i], "by_markers": names[j], "cells": int(whole[i, j])}
        for i in (0, 1)
        for j in (0, 1)
    ]


def _area(p: Floats, second: npt.NDArray[np.int64], unit: npt.NDArray[np.object_]) -> dict[str, Any]:
    """Return the area under the ROC curve of p against the phenotype, and its interval over the units."""
    units = sorted(set(unit) - {""})
    # how often a cell of the second phenotype in one unit has more than one of the first in another
    firsts, seconds = ([np.sort(p[(second == k) & (unit == name)]) for name in units or [""]] for k in (0, 1))
    wins = np.array([[_wins(high, low) for low in firsts] for high in seconds])
    counts = np.array([[len(part) for part in parts] for parts in (firsts, seconds)], np.float64)
    low = high = np.nan
    if len(units) >= LEAST_UNITS:
        drawn = np.random.default_rng(0).integers(0, len(units), (DRAWS, len(units)))
        weights = np.array([np.bincount(row, minlength=len(units)) for row in drawn], np.float64)
        total = np.einsum("di,ij,dj->d", weights, wins, weights)
        pairs = (weights @ counts[0]) * (weights @ counts[1])
        found = total[pairs > 0] / pairs[pairs > 0]
        if len(found):
            low, high = (float(value) for value in np.quantile(found, (0.025, 0.975)))
    pairs_in_all = counts[0].sum() * counts[1].sum()
    area = float(wins.sum() / pairs_in_all) if pairs_in_all else np.nan
    return {"auc": area, "auc_low": low, "auc_high": high, "auc_cells": int(counts.sum())}


def _wins(high: Floats, low: Floats) -> float:
    """Return in how many pairs the first has more than the second, ties as half; `low` is sorted."""
    below, not_above = (np.searchsorted(low, high, side) for side in ("left", "right"))
    return float((below + not_above).sum() / 2)


def _confusion(shape: npt.NDArray[np.int64], markers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.bincount(2 * shape + markers, minlength=4).reshape(2, 2).astype(np.int64)


def kappa(table: npt.NDArray[np.int64]) -> float:
    """Return Cohen's kappa of a confusion matrix (Cohen 1960, Educ Psychol Meas 20:37); NaN if undefined."""
    total = table.sum()
    if not total:
        return float("nan")
    agree = np.trace(table) / total
    expected = float(table.sum(axis=0) @ table.sum(axis=1)) / total**2
    return float((agree - expected) / (1 - expected)) if expected < 1 else float("nan")

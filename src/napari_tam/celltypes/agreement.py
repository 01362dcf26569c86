"""How far phenotypes by shape and by markers agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import AGREEMENT_COLUMNS, build_table
from napari_tam.uptake.replicates import unit_names, unit_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam.settings import Settings

#: How often replicates are drawn anew for the interval, and the fewest that it takes.
DRAWS, LEAST_UNITS = 2000, 3


def agreement(cells: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return marker_agreement.csv: the confusion of both phenotypes, and Cohen's kappa.

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
        unit = unit_names(cells, unit_of(cells, settings)).to_numpy(object)
        groups = ["", *sorted(set(cells["condition"]) - {""})]
        for condition in groups:
            here = known & ((cells["condition"] == condition).to_numpy(bool) | (condition == ""))
            a, b = shape[here].to_numpy(np.int64), markers[here].to_numpy(np.int64)
            rows += _rows(condition, names, a, b, unit[here])
    columns = [column.name for column in AGREEMENT_COLUMNS]
    return build_table(AGREEMENT_COLUMNS, {name: [row[name] for row in rows] for name in columns}, len(rows))


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

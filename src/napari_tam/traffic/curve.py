"""traffic.csv: uptake of the recipients by their distance to the nearest donor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.columns import TRAFFIC_COLUMNS, table_of_rows
from napari_tam.markers.labels import LABEL, of_label
from napari_tam.traffic.decay import Decay, fit_decay
from napari_tam.traffic.units import conditions, mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam.traffic.labels import Route

#: Steps of distance, and the fewest cells of one.
MOST_STEPS, LEAST_IN_STEP = 8, 10
#: Cells nearer than this touch: half of a wide pixel.
TOUCHING_UM = 0.5


def curves(cells: pd.DataFrame, routes: Sequence[Route], readout: str, kind: str) -> pd.DataFrame:
    """Return traffic.csv.

    Parameters
    ----------
    cells
        Cells of known type that were given exosomes, with the columns of the routes, `unit` and `condition`.
    routes
        Which types give and take each label.
    readout
        What is taken up: a column of cells.csv, without a label's name.
    kind
        How distances were measured.
    """
    rows: list[dict[str, Any]] = []
    for route in routes:
        name = of_label(readout, route.label)
        if not route.donors or name not in cells:
            continue
        takers = cells[cells["cell_type"].isin(route.recipients) & cells[route.column].notna()]
        if "touches_border" in takers:
            takers = takers[~takers["touches_border"].astype(bool)]
        for condition, part in conditions(takers):
            facts = {
                "condition": condition,
                LABEL: route.label,
                "donors": ", ".join(route.donors),
                "recipients": ", ".join(route.recipients),
                "readout": name,
                "distance_kind": kind,
            }
            rows += [facts | row for row in _rows(part, route.column, name)]
    return table_of_rows(TRAFFIC_COLUMNS, rows)


def _rows(cells: pd.DataFrame, column: str, readout: str) -> list[dict[str, Any]]:
    distance, uptake = (cells[name].to_numpy(np.float64) for name in (column, readout))
    unit = cells["unit"].to_numpy(object)
    fit = fit_decay(distance, uptake, unit)
    return [step | _of_fit(fit) for step in _steps(distance, uptake, unit)]


def _of_fit(fit: Decay) -> dict[str, Any]:
    return {
        "decay_um": fit.length,
        "decay_low": fit.low,
        "decay_high": fit.high,
        "amplitude": fit.amplitude,
        "offset": fit.offset,
        "note": fit.note,
    }


def _steps(distance: Any, uptake: Any, unit: Any) -> list[dict[str, Any]]:
    """Return the steps: cells that touch a donor, and the others in steps of equally many."""
    apart = distance[distance > TOUCHING_UM]
    limits = [(-1.0, TOUCHING_UM)]
    if len(apart):
        number = int(np.clip(len(apart) // LEAST_IN_STEP, 1, MOST_STEPS - 1))
        ends = np.unique(np.quantile(apart, np.linspace(0, 1, number + 1)[1:])).tolist()
        limits += zip([TOUCHING_UM, *ends[:-1]], ends, strict=True)
    rows = []
    for low, high in limits:
        here = (distance > low) & (distance <= high)
        if not here.any():
            continue
        means = np.array([uptake[here & (unit == name)].mean() for name in sorted(set(unit[here]))])
        mean, ci_low, ci_high = mean_interval(means, low=0.0)
        rows.append(
            {
                "from_um": max(low, 0.0),
                "to_um": high,
                "distance_um": float(distance[here].mean()),
                "cells": int(here.sum()),
                "units": len(means),
                "mean": mean,
                "ci_low": ci_low,
                "ci_high": ci_high,
            }
        )
    return rows

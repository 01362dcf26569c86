"""uptake_polarisation.csv: whether a cell that took up more looks more like the second phenotype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import UPTAKE_POLARISATION_COLUMNS, table_of_rows
from napari_tam.markers.labels import LABEL, of_label
from napari_tam.markers.names import marker_role, markers_in, slug
from napari_tam.markers.rules import read_rule
from napari_tam.traffic.units import conditions
from napari_tam.uptake.group_tests import LEAST_UNITS
from napari_tam.uptake.mixed_model import combined

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam.settings import Settings
    from napari_tam.traffic.labels import Route

Floats = npt.NDArray[np.float64]

#: The column of the score by markers and their gates (SD of a plate's cells).
SCORE = "polarisation"
#: Fewest cells of a replicate that a slope is fitted to.
LEAST_CELLS = 5
#: Light below this share of the marker's median is taken as this: noise has no logarithm.
_FAINTEST = 0.02


def polarisation_score(cells: pd.DataFrame, settings: Settings) -> tuple[Floats, str]:
    """Return how far every cell leans to the second phenotype, and what was taken for it.

    The column polarisation, where there is one. Else ln(light of the markers that the second phenotype's rule
    wants) - ln(those of the first), means over the markers of each; without rules for phenotypes by markers
    the logit of the probability of the second class by shape. An empty text: there is neither.
    """
    if SCORE in cells and cells[SCORE].notna().any():
        return cells[SCORE].to_numpy(np.float64, na_value=np.nan), SCORE
    markers = {name.casefold(): name for name in markers_in(cells.columns)}
    parts = []
    for name in sorted(settings.marker_phenotypes):
        wanted = [
            marker
            for terms in read_rule(settings.marker_phenotypes[name]).alternatives
            for marker, positive in terms
            if positive and marker in markers
        ]
        parts.append([markers[marker] for marker in dict.fromkeys(wanted)])
    if len(parts) == 2 and all(parts):
        first, second = (
            np.mean([_log_light(cells, name, settings) for name in names], axis=0) for names in parts
        )
        return second - first, f"ln({' × '.join(parts[1])} / {' × '.join(parts[0])})"
    if "p_m2" in cells:
        chance = np.clip(cells["p_m2"].to_numpy(np.float64), 0.001, 0.999)
        return np.log(chance / (1 - chance)), "logit(p_m2)"
    return np.full(len(cells), np.nan), ""


def _log_light(cells: pd.DataFrame, marker: str, settings: Settings) -> Floats:
    light = cells[f"{marker_role(slug(marker))}_{settings.marker_readout}"].to_numpy(np.float64)
    known = light[np.isfinite(light)]
    least = _FAINTEST * float(np.median(np.abs(known))) if len(known) else 1.0
    return np.asarray(np.log(np.maximum(light, max(least, 1e-12))))


def uptake_polarisation(
    cells: pd.DataFrame, routes: Sequence[Route], readout: str, settings: Settings
) -> pd.DataFrame:
    """Return uptake_polarisation.csv.

    A linear mixed model with a random intercept and a random slope for every replicate, in two stages: the
    slope of the score over uptake within each replicate, by least squares; then their mean, weighted by
    1 / (variance between replicates + own variance), with the standard error of Knapp and Hartung
    (`napari_tam.uptake.mixed_model.combined`). Differences of level between replicates enter neither.

    Parameters
    ----------
    cells
        Cells of the analysed types that were given exosomes, with `cell_type`, `unit` and `condition`.
    routes, readout
        Who gives and takes each label, and what is taken up (without a label's name).
    settings
        `marker_phenotypes` and `marker_readout`.
    """
    score, name = polarisation_score(cells, settings)
    cells = cells.assign(_score=score)
    rows: list[dict[str, Any]] = []
    for route in routes if name else ():
        column = of_label(readout, route.label)
        takers = cells[cells["cell_type"].isin(route.recipients)]
        if not route.donors or column not in cells or takers.empty:
            continue
        if "touches_border" in takers:
            takers = takers[~takers["touches_border"].astype(bool)]
        for condition, part in conditions(takers):
            facts = {"condition": condition, LABEL: route.label, "score": name, "readout": column}
            rows += [facts | row for row in _rows(part, column)]
    return table_of_rows(UPTAKE_POLARISATION_COLUMNS, rows)


_BLANK: dict[str, Any] = {
    "unit": "",
    "units": 0,
    "cells": 0,
    **dict.fromkeys(("slope", "ci_low", "ci_high", "p"), np.nan),
    "note": "",
}


def _rows(cells: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    from scipy import stats

    known = cells[np.isfinite(cells["_score"]) & cells[column].notna()]
    rows, slopes, variances = [], [], []
    for unit, part in known.groupby("unit", sort=True):
        slope, variance = _slope(part[column].to_numpy(np.float64), part["_score"].to_numpy(np.float64))
        if np.isfinite(variance):
            slopes.append(slope)
            variances.append(variance)
            rows.append(_BLANK | {"unit": str(unit), "units": 1, "cells": len(part), "slope": slope})
    used = sum(row["cells"] for row in rows)
    whole = _BLANK | {"units": len(slopes), "cells": used}
    if len(slopes) < LEAST_UNITS:
        told = f"fewer than {LEAST_UNITS} replicates with {LEAST_CELLS} cells or more ({len(slopes)})"
        if slopes:
            whole["slope"] = float(np.mean(slopes))
        return [whole | {"note": f"not tested: {told}"}, *rows]
    found = combined(np.array(slopes), np.array(variances))
    error = float(np.sqrt(found.variance))
    if not np.isfinite(error) or error <= 0:
        note = "not tested: the mixed model finds no variance; the slope is the replicates' mean"
        return [whole | {"slope": float(np.mean(slopes)), "note": note}, *rows]
    reach = float(stats.t.ppf(0.975, found.units - 1)) * error
    whole |= {
        "slope": found.mean,
        "ci_low": found.mean - reach,
        "ci_high": found.mean + reach,
        "p": float(2 * stats.t.sf(abs(found.mean) / error, found.units - 1)),
        "note": "linear mixed model, a slope for every replicate, standard error by Knapp and Hartung",
    }
    return [whole, *rows]


def _slope(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the least-squares slope and its variance, which allows for spread that grows with x (HC3)."""
    if len(x) < LEAST_CELLS or np.ptp(x) <= 0:
        return np.nan, np.nan
    away = x - x.mean()
    total = float((away**2).sum())
    slope = float((away * y).sum() / total)
    left = y - y.mean() - slope * away
    leverage = np.minimum(1 / len(x) + away**2 / total, 0.999)
    # MacKinnon and White 1985, J Econometrics 29:305
    variance = float((away**2 * (left / (1 - leverage)) ** 2).sum() / total**2)
    return slope, max(variance, 1e-300)

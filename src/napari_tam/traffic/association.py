"""spatial_association.csv: whether recipients lie beside donors, and take up more there.

Both questions are asked of the cells where they are: positions stay, and within every image what is asked
about is shuffled. Every replicate gives one ratio to what chance gives, and replicates are the n of the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import ASSOCIATION_COLUMNS, table_of_rows
from napari_tam.markers.labels import LABEL, of_label
from napari_tam.traffic.units import conditions
from napari_tam.uptake.group_tests import LEAST_UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from napari_tam.traffic.distances import Pairs
    from napari_tam.traffic.labels import Route

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

#: How often is shuffled.
SHUFFLES = 499
#: The two questions.
NEIGHBOURS, UPTAKE = "neighbours", "uptake"
#: Added to both sides of a ratio of counts, so that none is infinite (Haldane 1956, Ann Hum Genet 20:309).
_HALF = 0.5


@dataclass(frozen=True)
class _Unit:
    """One replicate: what is observed, what shuffles give, and the ratio of either to chance."""

    observed: float
    expected: float
    log_ratio: float
    shuffled: Floats
    cells: int

    @property
    def p(self) -> float:
        """Share of the shuffles that are as far from what chance gives (two-sided)."""
        far = np.abs(self.shuffled) >= abs(self.log_ratio) - 1e-12
        return float((1 + far.sum()) / (1 + len(self.shuffled)))


def association(
    cells: pd.DataFrame,
    pairs: Mapping[str, Pairs],
    routes: Sequence[Route],
    readout: str,
    radius_um: float,
) -> pd.DataFrame:
    """Return spatial_association.csv.

    Parameters
    ----------
    cells
        Cells that were given exosomes, with `cell_type` (those without a known one are left out), `unit`,
        `condition`, the columns of the routes, and `place`: the cell's number among those of its image.
    pairs
        For every image the pairs of cells (`place`) that are within the radius.
    routes, readout
        Who gives and takes each label, and what is taken up (without a label's name).
    radius_um
        Within which a donor is a neighbour.
    """
    rows: list[dict[str, Any]] = []
    for route in routes:
        if not route.donors:
            continue
        for condition, part in conditions(cells[cells["cell_type"] != ""]):
            for question in (NEIGHBOURS, UPTAKE):
                facts = {
                    "condition": condition,
                    LABEL: route.label,
                    "question": question,
                    "donors": ", ".join(route.donors),
                    "recipients": ", ".join(route.recipients),
                    "radius_um": radius_um,
                }
                units = _units(part, pairs, route, readout, question)
                rows += [facts | row for row in _rows(units)]
    return table_of_rows(ASSOCIATION_COLUMNS, rows)


def _units(
    cells: pd.DataFrame, pairs: Mapping[str, Pairs], route: Route, readout: str, question: str
) -> dict[str, _Unit]:
    found = {}
    for number, (name, part) in enumerate(cells.groupby("unit", sort=True)):
        rng = np.random.default_rng([number, question == UPTAKE])
        if question == NEIGHBOURS:
            unit = _neighbours(part, pairs, route, rng)
        else:
            unit = _uptake(part, route, of_label(readout, route.label), rng)
        if unit is not None:
            found[str(name)] = unit
    return found


def _neighbours(
    cells: pd.DataFrame, pairs: Mapping[str, Pairs], route: Route, rng: np.random.Generator
) -> _Unit | None:
    """Count donors around recipients, and the same with the types of each image's cells shuffled."""
    observed, takers = 0.0, 0
    shuffled = np.zeros(SHUFFLES)
    for image, part in cells.groupby("image", sort=True):
        kinds = part["cell_type"].to_numpy(object)
        code = np.isin(kinds, route.donors) + 2 * np.isin(kinds, route.recipients)
        row = np.full(int(part["place"].max()) + 1, -1)
        row[part["place"].to_numpy(int)] = np.arange(len(part))
        near = pairs.get(str(image), np.zeros((0, 2), np.int64))
        near = near[(near < len(row)).all(axis=1)]
        near = row[near]
        near = near[(near >= 0).all(axis=1)]
        takers += int((code == 2).sum())
        observed += _contacts(code[None], near)[0]
        shuffled += _contacts(rng.permuted(np.tile(code, (SHUFFLES, 1)), axis=1), near)
    if not takers or not shuffled.any():
        return None
    expected = float(shuffled.mean())
    base = np.log(expected + _HALF)
    return _Unit(
        observed / takers,
        expected / takers,
        float(np.log(observed + _HALF) - base),
        np.log(shuffled + _HALF) - base,
        takers,
    )


def _contacts(code: npt.NDArray[Any], near: Pairs) -> Floats:
    """Return in how many pairs one cell gives (1) and the other takes (2), for every row of codes."""
    return np.asarray((code[:, near[:, 0]] + code[:, near[:, 1]] == 3).sum(axis=1), np.float64)


def _uptake(cells: pd.DataFrame, route: Route, readout: str, rng: np.random.Generator) -> _Unit | None:
    """Compare recipients with and without a donor around, and the same with each image's uptake shuffled.

    The ratio of their means over all images, those of each image compared with one another only (Mantel &
    Haenszel 1959, J Natl Cancer Inst 22:719, for means).
    """
    if readout not in cells:
        return None
    here = cells[cells["cell_type"].isin(route.recipients) & cells[readout].notna()]
    near_sum, far_sum = np.zeros(1 + SHUFFLES), np.zeros(1 + SHUFFLES)
    used, beside, total = 0, 0.0, 0.0
    for _, part in here.groupby("image", sort=True):
        uptake = part[readout].to_numpy(np.float64)
        near = part[route.neighbours].to_numpy(np.float64, na_value=0) > 0
        if near.all() or not near.any():
            continue
        each = np.concatenate([uptake[None], rng.permuted(np.tile(uptake, (SHUFFLES, 1)), axis=1)])
        near_sum += each[:, near].sum(axis=1) * (~near).mean()
        far_sum += each[:, ~near].sum(axis=1) * near.mean()
        used += len(part)
        beside += float(uptake[near].sum())
        total += float(uptake.mean() * near.sum())
    if not used or (near_sum <= 0).any() or (far_sum <= 0).any():
        return None
    logs = np.log(near_sum / far_sum)
    chance = float(logs[1:].mean())
    return _Unit(
        float(near_sum[0] / far_sum[0]),
        float(np.exp(chance)),
        float(logs[0] - chance),
        logs[1:] - chance,
        used,
    )


def _rows(units: Mapping[str, _Unit]) -> list[dict[str, Any]]:
    """Return a row for all replicates (unit ""), and one for each."""
    rows = [_together(list(units.values()))]
    for name, unit in units.items():
        rows.append(
            _BLANK
            | {
                "unit": name,
                "units": 1,
                "cells": unit.cells,
                "observed": unit.observed,
                "expected": unit.expected,
                "ratio": float(np.exp(unit.log_ratio)),
                "p_shuffled": unit.p,
            }
        )
    return rows


_BLANK: dict[str, Any] = {
    "unit": "",
    "units": 0,
    "cells": 0,
    **dict.fromkeys(("observed", "expected", "ratio", "ci_low", "ci_high", "p", "p_shuffled"), np.nan),
    "note": "",
}


def _together(units: Sequence[_Unit]) -> dict[str, Any]:
    from scipy import stats

    row = _BLANK | {"units": len(units), "cells": sum(unit.cells for unit in units)}
    if not units:
        return row | {"note": "not tested: no image has recipients with and without a donor around"}
    logs = np.array([unit.log_ratio for unit in units])
    shuffled = np.mean([unit.shuffled for unit in units], axis=0)
    mean = float(logs.mean())
    far = np.abs(shuffled) >= abs(mean) - 1e-12
    row |= {
        "observed": float(np.mean([unit.observed for unit in units])),
        "expected": float(np.mean([unit.expected for unit in units])),
        "ratio": float(np.exp(mean)),
        "p_shuffled": float((1 + far.sum()) / (1 + len(shuffled))),
    }
    if len(units) < LEAST_UNITS:
        many = f"fewer than {LEAST_UNITS} replicates ({len(units)})"
        return row | {"note": f"not tested: {many}; p_shuffled is about these images alone"}
    error = float(logs.std(ddof=1) / np.sqrt(len(logs)))
    if error <= 0:
        return row | {"note": "not tested: the replicates do not differ at all"}
    reach = float(stats.t.ppf(0.975, len(logs) - 1)) * error
    return row | {
        "ci_low": float(np.exp(mean - reach)),
        "ci_high": float(np.exp(mean + reach)),
        "p": float(2 * stats.t.sf(abs(mean) / error, len(logs) - 1)),
    }

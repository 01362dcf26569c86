"""A continuous score of polarisation by markers, beside the two phenotypes that gates tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam.markers.names import marker_role, same_marker
from napari_tam.markers.rules import read_rule

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.settings import Settings

    Floats = npt.NDArray[np.float64]

#: Controls that the score of a plate is relative to, and so many of their cells at least; else all its cells.
REFERENCE, LEAST_CELLS = ("m0", "untreated", "vehicle"), 20

#: Light is not taken to be less than this share of its gate: below it is noise, whose logarithm says nothing.
LEAST_SHARE = 1 / 32


def polarisation(
    cells: pd.DataFrame, gates: pd.DataFrame, chosen: npt.NDArray[np.bool_], settings: Settings
) -> Floats:
    """Return how far every cell leans from the first phenotype's markers to the second's.

    For a rule c is the mean over its markers of ± log2(I / gate), I the light that is compared with the gate,
    + for a marker that must be positive and - for one that must be negative. The score is c of the second
    phenotype (in alphabetical order: M2) less c of the first (M1), as a z-score of its plate: less the mean,
    over the SD, of its reference cells (z-score by controls: Birmingham et al. 2009, Nat Methods 6:569).

    Parameters
    ----------
    cells
        The cells, with the columns of markers, plate and control_role.
    gates
        `napari_tam.columns.GATE_COLUMNS`.
    chosen
        (N,) the cells that are analysed; the reference is among them.
    settings
        `marker_phenotypes` (two) and `marker_readout`.

    Returns
    -------
    (N,) scores; NaN where a gate is missing, or fewer than two reference cells differ.
    """
    score = np.full(len(cells), np.nan)
    known = gates.set_index(["plate", "marker"])["gate"]
    rules = [read_rule(settings.marker_phenotypes[name]) for name in sorted(settings.marker_phenotypes)]
    for plate in cells["plate"].unique():
        here = (cells["plate"] == plate).to_numpy(bool)
        sides = []
        for rule in rules:
            terms = dict(term for alternative in rule.alternatives for term in alternative)
            parts = []
            for name, wanted in terms.items():
                marker = next(each for each in gates["marker"].unique() if same_marker(each, name))
                gate = float(known.get((plate, marker), np.nan))
                light = cells.loc[here, f"{marker_role(marker)}_{settings.marker_readout}"].to_numpy(
                    np.float64
                )
                parts.append((1 if wanted else -1) * _log_ratio(light, gate))
            sides.append(np.mean(parts, axis=0))
        raw = sides[1] - sides[0]
        score[here] = _standardised(raw, _reference(cells.loc[here, "control_role"], chosen[here]))
    return score


def _log_ratio(light: Floats, gate: float) -> Floats:
    """Return log2(light / gate), not below that of `LEAST_SHARE`; NaN without a gate above 0."""
    if not gate > 0:
        return np.full(len(light), np.nan)
    share = np.maximum(light / gate, LEAST_SHARE)
    return np.asarray(np.where(np.isfinite(light), np.log2(share), np.nan), np.float64)


def _reference(roles: pd.Series[str], chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    controls = chosen & roles.isin(REFERENCE).to_numpy(bool)
    return controls if controls.sum() >= LEAST_CELLS else chosen


def _standardised(raw: Floats, reference: npt.NDArray[np.bool_]) -> Floats:
    values = raw[reference & np.isfinite(raw)]
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return (raw - values.mean()) / spread if spread > 0 else np.full(len(raw), np.nan)

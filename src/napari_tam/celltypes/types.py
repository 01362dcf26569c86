"""Cell types and phenotypes by rules of markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam.columns import positive_column
from napari_tam.io.layout import marker_control
from napari_tam.markers.names import markers_in
from napari_tam.markers.rules import read_rule
from napari_tam.settings import AMBIGUOUS, NO_TYPE, type_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from napari_tam.settings import Settings

Texts = npt.NDArray[np.object_]

#: What cells are called that both rules of phenotypes fit, or neither.
DOUBLE_POSITIVE, DOUBLE_NEGATIVE = "double positive", "double negative"


def by_rules(
    cells: pd.DataFrame, positive: pd.DataFrame, rules: Mapping[str, str], several: str, none: str
) -> tuple[Texts, tuple[str, ...]]:
    """Name every cell by the rule that fits it.

    Parameters
    ----------
    cells, positive
        The cells, and what `napari_tam.celltypes.gates.find_gates` says about them.
    rules
        Name to rule.
    several, none
        What cells are called that several rules fit, or none.

    Returns
    -------
    names, notes
        One name per cell, empty where a gate is missing that would decide; and a sentence for every rule that
        no cell fits.

    Raises
    ------
    KeyError
        If a rule names a marker that was not measured (`napari_tam.celltypes.asked`).
    """
    known = {
        marker.casefold(): positive[positive_column(marker)].to_numpy(np.float64, na_value=np.nan)
        for marker in markers_in(cells.columns)
    }
    fits = []
    notes = []
    for name in sorted(rules):
        rule = read_rule(rules[name])
        fits.append(rule.fits(known))
        if len(cells) and not (fits[-1] == 1).any():
            why = "its gates are missing (gates.csv)" if np.isnan(fits[-1]).all() else "no cell fits its rule"
            notes.append(f"no cell is called {name}: {why} ({rule.text})")
    table = np.stack(fits)
    count = (table == 1).sum(axis=0)
    names = np.array([*sorted(rules)], object)[np.argmax(table == 1, axis=0)]
    names = np.where(count > 1, several, np.where(count == 0, none, names)).astype(object)
    # one more rule could fit where it is not known, which would make it ambiguous
    names[np.isnan(table).any(axis=0) & (count < 2)] = ""
    return names, tuple(notes)


def cell_types(
    cells: pd.DataFrame, positive: pd.DataFrame, settings: Settings
) -> tuple[Texts, tuple[str, ...]]:
    """Return the type of every cell by the setting types, and notes; raises as `by_rules`."""
    return by_rules(cells, positive, settings.types, AMBIGUOUS, NO_TYPE)


def marker_phenotypes(
    cells: pd.DataFrame, positive: pd.DataFrame, settings: Settings
) -> tuple[Texts, tuple[str, ...]]:
    """Return every cell's phenotype by the setting marker_phenotypes, and notes; raises as `by_rules`."""
    return by_rules(cells, positive, settings.marker_phenotypes, DOUBLE_POSITIVE, DOUBLE_NEGATIVE)


def analysed(cells: pd.DataFrame, settings: Settings) -> npt.NDArray[np.bool_]:
    """Return which cells uptake and phenotype are about.

    With rules in the setting types those of the types in analyse_types; never those of the markers' own
    controls, in which a stain is missing. Without markers and rules all cells.
    """
    chosen = ~controls_of_markers(cells)
    if settings.types and "cell_type" in cells:
        chosen &= cells["cell_type"].isin(type_names(settings.analyse_types)).to_numpy(bool)
    return chosen


def controls_of_markers(cells: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which cells are of a control of markers: unstained, isotype or fmo."""
    if "control_role" not in cells:
        return np.zeros(len(cells), bool)
    control = {role: bool(marker_control(str(role))[0]) for role in cells["control_role"].unique()}
    return cells["control_role"].map(control).to_numpy(bool)

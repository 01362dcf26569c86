"""Gates of markers: above which intensity a cell is positive, plate by plate, by the controls.

A control lacks the marker's stain (fmo: all stains but one; unstained) or has an antibody that binds nothing
(isotype). Where there is none, a gate may be suggested (`napari_tam.celltypes.mixture`), and is marked so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.celltypes.mixture import RULE, suggested_gate
from napari_tam.celltypes.types import controls_of_markers
from napari_tam.columns import GATE_COLUMNS, positive_column, table_of_rows
from napari_tam.io.layout import marker_control
from napari_tam.markers.names import marker_role, markers_in, same_marker
from napari_tam.uptake.from_control import threshold_from_control

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.settings import Settings

#: Kinds of controls, the best first, and whether each names one marker.
_CONTROLS = (("fmo", True), ("fmo", False), ("isotype", True), ("isotype", False), ("unstained", False))


def find_gates(
    cells: pd.DataFrame, images: pd.DataFrame, settings: Settings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the gate of every marker on every plate.

    Parameters
    ----------
    cells
        `napari_tam.columns.CELL_COLUMNS`, those of markers, `plate` and `control_role`; one row per cell.
    images
        image, plate and control_role; one row per image.
    settings
        The group markers is used.

    Returns
    -------
    positive, table
        A column `positive_column` for every marker (missing without a gate), one row per cell; and
        `GATE_COLUMNS`, one row per plate and marker.

    """
    import pandas as pd

    markers = markers_in(cells.columns)
    given = {
        marker: value
        for name, value in settings.gates.items()
        for marker in markers
        if same_marker(marker, name)
    }
    stained = ~controls_of_markers(cells)
    rows: list[dict[str, Any]] = []
    flags = {}
    for marker in markers:
        column = f"{marker_role(marker)}_{settings.marker_readout}"
        values = cells[column].to_numpy(np.float64)
        positive = np.full(len(cells), np.nan)
        for plate in sorted(set(images["plate"])) or [""]:
            here = (cells["plate"] == plate).to_numpy(bool)
            own = _controls_of(marker, images.loc[images["plate"] == plate, "control_role"])
            row = _gate(marker, values, cells["control_role"], here, stained, own, settings, given)
            if np.isfinite(row["gate"]):
                known = here & np.isfinite(values)
                positive[known] = values[known] > row["gate"]
                judged = positive[known & stained]
                row["positive_fraction"] = float(judged.mean()) if len(judged) else np.nan
            row |= {"plate": plate, "marker": marker, "readout": column, "cells": int((here & stained).sum())}
            rows.append(row)
        flags[positive_column(marker)] = pd.array(
            [pd.NA if np.isnan(each) else bool(each) for each in positive], dtype="boolean"
        )
    blank: dict[str, Any] = {"positive_fraction": np.nan}
    table = table_of_rows(GATE_COLUMNS, [blank | row for row in rows])
    return pd.DataFrame(flags, index=pd.RangeIndex(len(cells))), table


def _controls_of(marker: str, roles: pd.Series[str]) -> list[tuple[str, int]]:
    """Return the control roles of a marker that a plate has, the best first, with their images."""
    counts = roles.value_counts()
    found = []
    for kind, names_it in _CONTROLS:
        for role, images in sorted(counts.items()):
            own, name = marker_control(str(role))
            if own == kind and (same_marker(name, marker) if names_it else not name):
                found.append((str(role), int(images)))
    return found


def _gate(
    marker: str,
    values: npt.NDArray[np.float64],
    roles: pd.Series[str],
    here: npt.NDArray[np.bool_],
    stained: npt.NDArray[np.bool_],
    controls: list[tuple[str, int]],
    settings: Settings,
    given: dict[str, float],
) -> dict[str, Any]:
    """Return a row of gates.csv without its keys."""
    row: dict[str, Any] = {
        "rule": "",
        "suggested": False,
        "control_role": "",
        "control_images": 0,
        "control_cells": 0,
        "gate": np.nan,
        "note": "",
    }
    if marker in given:
        return row | {"rule": "given", "gate": given[marker]}
    finite = here & np.isfinite(values)
    if controls:
        role, images = controls[0]
        control = values[finite & (roles == role).to_numpy(bool)]
        found = threshold_from_control(
            control,
            role,
            settings.gate_rule,
            settings.gate_quantile,
            settings.gate_sd,
            "no cell is called positive",
        )
        row |= {"control_role": role, "control_images": images, "control_cells": len(control)}
        return row | {"gate": found["threshold"], "rule": found["rule"], "note": found["note"]}
    missing = f"no image is an unstained, isotype or fmo control of {marker}"
    if not settings.gate_suggestion:
        return row | {"note": f"no cell is called positive: {missing}"}
    gate, reason = suggested_gate(values[finite & stained])
    if reason:
        return row | {"note": f"no cell is called positive: {missing}, and {reason}"}
    note = f"{missing}: the gate is a suggestion from the two populations of cells; look at it, or give gates"
    return row | {"rule": RULE, "suggested": True, "gate": gate, "note": note}

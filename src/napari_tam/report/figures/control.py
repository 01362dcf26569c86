"""The distributions of control cells and of the others, with the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.io.layout import without_exosomes
from napari_tam.report.data import ReportData, as_number, is_stated
from napari_tam.report.readouts import label_of, named
from napari_tam.report.style import (
    COLOURS,
    GREY,
    LABEL,
    Drawn,
    MissingData,
    legend,
    new_figure,
    plain,
    threshold_line,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

#: Plates drawn.
MOST_PLATES = 6


def control_distribution(data: ReportData) -> Drawn:
    """Draw the readout of control cells and of the others, with the threshold of their plate."""
    if data.thresholds is None or data.thresholds.empty:
        raise MissingData("no threshold was learnt, because no control (dye_only, no_exosome) is named")
    rules = data.thresholds[data.thresholds["readout"].isin(data.cells.columns)].head(MOST_PLATES)
    rules = rules[as_number(rules["threshold"]) == as_number(rules["threshold"])]
    if rules.empty:
        notes = [str(note) for note in data.thresholds.get("note", []) if isinstance(note, str) and note]
        raise MissingData("no threshold could be learnt" + (f" ({notes[0]})" if notes else ""))
    figure, axes = new_figure(2.5 * len(rules), len(rules), 1)
    tables = []
    for axis, (_, rule) in zip(axes[:, 0], rules.iterrows(), strict=True):
        tables.append(_draw(axis, data, rule, named=len(rules) > 1))
    _legend(axes[0, 0])
    caption = (
        "Share of the cells of the control and of all other cells; the dashed line is the threshold above "
        "which a cell is positive; aggregates are left out of both. The last bar holds all cells beyond the "
        "axis. "
    )
    caption += " ".join(_sentence(rule) for _, rule in rules.iterrows())
    return Drawn(figure, pd.concat(tables, ignore_index=True), caption)


def _draw(axis: Axes, data: ReportData, rule: pd.Series[Any], *, named: bool) -> pd.DataFrame:
    readout, plate, threshold = str(rule["readout"]), rule["plate"], float(str(rule["threshold"]))
    roles = str(rule["control_role"]).replace(";", ",").split(",")
    cells = data.cells
    if isinstance(plate, str) and plate and data.has("plate"):
        cells = cells[cells["plate"] == plate]
    role = cells["control_role"].where(is_stated(cells["control_role"]), "")
    values = _without_aggregates(cells, readout)
    kinds = {
        "control": values[role.isin([r.strip() for r in roles])],
        "other cells": values[~without_exosomes(role, data.label)],
    }
    values = np.concatenate([v[np.isfinite(v)] for v in kinds.values()])
    edges = _edges(values, threshold)
    tables = []
    for (kind, found), (colour, filled) in zip(
        kinds.items(), ((GREY, True), (COLOURS[0], False)), strict=True
    ):
        found = found[np.isfinite(found)]
        counts, _ = np.histogram(np.minimum(found, np.nextafter(edges[-1], 0)), edges)
        share = 100 * counts / max(1, len(found))
        axis.stairs(share, edges, color=colour, fill=filled, linewidth=1.5, alpha=0.6 if filled else 1)
        tables.append(pd.DataFrame({"plate": plate, "readout": readout, "cells": kind, "from": edges[:-1]}))
        tables[-1] = tables[-1].assign(to=edges[1:], number=counts, percent=share, threshold=threshold)
    text = f"threshold {threshold:,.0f}" if abs(threshold) >= 100 else f"threshold {threshold:.3g}"
    threshold_line(axis, threshold, text)
    axis.set(xlabel=label_of(readout), xlim=(edges[0], edges[-1]), ylim=(0, None))
    axis.set_ylabel("share of the cells (%)")
    if named:
        axis.set_title(f"plate {plain(plate)}", fontsize=LABEL)
    return pd.concat(tables)


def _without_aggregates(cells: pd.DataFrame, readout: str) -> npt.NDArray[np.float64]:
    """Return a readout without what the cells' aggregates add to it: what the threshold was learnt from."""
    values = as_number(cells[readout])
    if "aggregate_count" not in cells:
        return values
    counts = np.nan_to_num(as_number(cells["aggregate_count"]))
    if readout == "puncta_count":
        return values - counts
    if readout == "puncta_per_um2":
        return values - counts / as_number(cells["area_um2"])
    return values - np.nan_to_num(as_number(cells["aggregate_intensity"]))


def _edges(values: npt.NDArray[np.float64], threshold: float) -> npt.NDArray[np.float64]:
    if not values.size:
        return np.linspace(0, max(1.0, 2 * threshold), 31)
    top = max(float(np.percentile(values, 97)), 2 * threshold)
    low = min(0.0, float(np.percentile(values, 0.5)))
    if np.array_equal(values, np.round(values)) and top <= 60:  # counts: a bar for each
        return np.arange(-0.5, np.ceil(top) + 1.5)
    return np.linspace(low, top if top > low else low + 1, 41)


def _legend(axis: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=GREY, alpha=0.6, label="control"),
        Line2D([], [], color=COLOURS[0], label="other cells"),
    ]
    legend(axis, handles, "")


def _sentence(rule: pd.Series[Any]) -> str:
    plate = f"Plate {rule['plate']}: " if isinstance(rule["plate"], str) and rule["plate"] else ""
    cells = as_number(pd.Series([rule["control_cells"]]))[0]
    return f"{plate}{rule['rule']}, {named(str(rule['readout']))} ({cells:.0f} control cells)."

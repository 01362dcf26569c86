"""Markers: the light of cells with its gate, and phenotypes by shape against those by markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.celltypes.types import controls_of_markers
from napari_tam.report.data import ReportData, as_number
from napari_tam.report.marker_text import agreement_sentence
from napari_tam.report.style import (
    COLOURS,
    GREY,
    INK,
    LABEL,
    SMALL,
    Drawn,
    MissingData,
    legend,
    new_figure,
    plain,
    threshold_line,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Gates drawn.
MOST_GATES = 8


def marker_gates(data: ReportData) -> Drawn:
    """Draw the light of every marker in control cells and in the others, with the gate of their plate."""
    if data.gates is None or data.gates.empty:
        raise MissingData("no marker was measured")
    rules = data.gates[data.gates["readout"].isin(data.every_cell.columns)].head(MOST_GATES)
    columns = 2 if len(rules) > 1 else 1
    rows = -(-len(rules) // columns)
    figure, axes = new_figure(2.3 * rows, rows, columns)
    tables = []
    for axis, (_, rule) in zip(axes.flat, rules.iterrows(), strict=False):
        tables.append(_draw(axis, data.every_cell, rule))
    for axis in axes.flat[len(rules) :]:
        axis.set_visible(False)
    _legend(axes[0, 0])
    caption = (
        "Light of the markers in the cells of their control and in all other cells, less the background; "
        "the dashed line is the gate above which a cell is positive. The axis is linear near zero and "
        "logarithmic beyond. "
    )
    caption += " ".join(_sentence(rule) for _, rule in rules.iterrows())
    return Drawn(figure, pd.concat(tables, ignore_index=True), caption)


def _draw(axis: Axes, cells: pd.DataFrame, rule: pd.Series[Any]) -> pd.DataFrame:
    plate, readout = rule["plate"], str(rule["readout"])
    if isinstance(plate, str) and plate and "plate" in cells:
        cells = cells[cells["plate"] == plate]
    values = as_number(cells[readout])
    role = str(rule["control_role"]) if isinstance(rule["control_role"], str) else ""
    control = (cells["control_role"] == role).to_numpy(bool) if role else np.zeros(len(cells), bool)
    parts = {"control": values[control], "other cells": values[~controls_of_markers(cells)]}
    shown = np.concatenate([part[np.isfinite(part)] for part in parts.values()])
    # linear below what most dark cells have, so that cells without light have a place
    linear = max(float(np.percentile(np.abs(shown), 10)), 1e-6) if len(shown) else 1.0
    low, high = (shown.min(), shown.max()) if len(shown) else (0.0, 1.0)
    edges = linear * np.sinh(np.linspace(np.arcsinh(low / linear), np.arcsinh(high / linear) + 1e-9, 41))
    tables = []
    for (kind, found), (colour, filled) in zip(
        parts.items(), ((GREY, True), (COLOURS[0], False)), strict=True
    ):
        counts, _ = np.histogram(found[np.isfinite(found)], edges)
        share = 100 * counts / max(1, int(counts.sum()))
        axis.stairs(share, edges, color=colour, fill=filled, linewidth=1.5, alpha=0.6 if filled else 1)
        tables.append(
            pd.DataFrame({"plate": plate, "marker": rule["marker"], "cells": kind, "from": edges[:-1]})
        )
        tables[-1] = tables[-1].assign(to=edges[1:], number=counts, percent=share, gate=rule["gate"])
    axis.set_xscale("asinh", linear_width=linear)
    gate = float(str(rule["gate"]))
    if np.isfinite(gate):
        threshold_line(axis, gate, f"{'suggested ' if rule['suggested'] else ''}gate {gate:.3g}")
    named = f" on plate {plate}" if isinstance(plate, str) and plate else ""
    axis.set_title(plain(f"{rule['marker']}{named}"), fontsize=LABEL)
    axis.set(xlabel="light of the cell (counts)", ylabel="share of the cells (%)", ylim=(0, None))
    return pd.concat(tables)


def _legend(axis: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=GREY, alpha=0.6, label="control"),
        Line2D([], [], color=COLOURS[0], label="other cells"),
    ]
    legend(axis, handles, "")


def _sentence(rule: pd.Series[Any]) -> str:
    plate = f"plate {rule['plate']}, " if isinstance(rule["plate"], str) and rule["plate"] else ""
    if not np.isfinite(float(str(rule["gate"]))):
        return f"{plate}{rule['marker']}: no gate."
    share = f", {rule['positive_fraction']:.0%} of {int(rule['cells']):,} cells are positive"
    return f"{plate}{rule['marker']}: {rule['rule']}{share if rule['cells'] else ''}."


def shape_against_markers(data: ReportData) -> Drawn:
    """Draw how many cells are called what by their shape and by their markers."""
    table = data.marker_agreement
    if table is None or table.empty:
        raise MissingData("no rules say which markers M1 and M2 have (marker_phenotypes)")
    whole = table[table["condition"].isna() | (table["condition"] == "")]
    if not as_number(whole["known"])[0]:
        raise MissingData("no cell has a phenotype by its shape and one by its markers")
    names = list(dict.fromkeys(whole["by_shape"]))
    counts = as_number(whole["cells"]).reshape(len(names), -1)
    figure, axes = new_figure(2.8, width=3.2)
    axis = axes[0, 0]
    share = counts / np.maximum(counts.sum(axis=0), 1)
    axis.imshow(share, cmap="Greys", vmin=0, vmax=1.4)
    for row, column in np.ndindex(counts.shape):
        text = f"{counts[row, column]:,.0f}\n{share[row, column]:.0%}"
        colour = "white" if share[row, column] > 0.75 else INK
        axis.annotate(text, (column, row), ha="center", va="center", fontsize=SMALL, color=colour)
    ticks = range(len(names))
    axis.set_xticks(ticks, names)
    axis.set_yticks(ticks, names)
    axis.set(xlabel="by markers", ylabel="by shape")
    caption = "Cells by their phenotype by shape and by markers, and the share of those by markers."
    return Drawn(figure, table.copy(), caption + agreement_sentence(data))

"""A report of several exosome labels: what each part of it is about, and the labels side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_tam.io.label_columns import as_first, chance_column, together_column
from napari_tam.markers.labels import LABEL, labels_of, rows_of
from napari_tam.puncta.threshold import LOWEST
from napari_tam.report.data import as_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam.report.citations import Methods
    from napari_tam.report.data import ReportData


def labels_in(data: ReportData) -> list[str]:
    """Return the exosome labels, in their order; one that is empty for a single exosome channel."""
    return labels_of(data.every_cell.columns) or [""]


def about(data: ReportData, label: str) -> ReportData:
    """Return the data of one label: what figures and tables read without a name is that of the label."""
    if not label:
        return data
    thresholds = data.thresholds
    if thresholds is not None and LABEL in thresholds:
        thresholds = rows_of(thresholds, label).reset_index(drop=True)
    learnt = data.run.get("puncta_thresholds") or {}
    run = {**data.run, "puncta_threshold": learnt[label]} if label in learnt else data.run
    return replace(
        data,
        cells=as_first(data.cells, label),
        every_cell=as_first(data.every_cell, label),
        images=as_first(data.images, label),
        puncta=rows_of(data.puncta, label).reset_index(drop=True),
        thresholds=thresholds,
        run=run,
        label=label,
    )


def label_table(data: ReportData) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of labels; nothing for a single exosome channel."""
    labels = labels_in(data)
    if len(labels) < 2:
        return [], []
    head = ["exosome label", "puncta in cells", "outside", "puncta per cell (median)", "positive"]
    others = [f"with {other} beside them (by chance)" for other in labels]
    rows = []
    for label in labels:
        own = about(data, label)
        inside = int((as_number(own.puncta["label"]) > 0).sum())
        counts = as_number(own.treated["puncta_count"])
        flags = as_number(own.treated["positive"]) if own.has("positive") else np.zeros(0)
        rows.append(
            [
                label,
                f"{inside:,}",
                f"{len(own.puncta) - inside:,}",
                f"{np.median(counts):g}" if len(counts) else "-",
                f"{100 * np.nanmean(flags):.0f} %" if np.isfinite(flags).any() else "-",
                *(_beside(data, label, other) for other in labels),
            ]
        )
    return [*head, *others], rows


def by_label(
    data: ReportData, table: Callable[[ReportData], tuple[list[str], list[list[str]]]]
) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a report's table once a label, which its first column names."""
    labels = labels_in(data)
    if len(labels) < 2:
        return table(about(data, labels[0]))
    head: list[str] = []
    rows: list[list[str]] = []
    for label in labels:
        own, found = table(about(data, label))
        head = head or (["exosome label", *own] if own else [])
        rows += [[label, *row] for row in found]
    return head, rows


def _beside(data: ReportData, label: str, other: str) -> str:
    """Return the share of all puncta of a label that have one of another beside them, and that by chance."""
    name = together_column(label, other)
    if label == other or name not in data.cells:
        return "-"
    weight = as_number(data.cells[f"puncta_count_{label}"])
    shares = []
    for column in (name, chance_column(label, other)):
        values = as_number(data.cells[column])
        known = np.isfinite(values) & (weight > 0)
        shares.append(
            f"{100 * np.average(values[known], weights=weight[known]):.1f} %" if known.any() else "-"
        )
    return f"{shares[0]} ({shares[1]})"


def label_sentence(data: ReportData) -> str:
    """Return what the parts of the report are about; empty for a single exosome channel."""
    labels = labels_in(data)
    if len(labels) < 2:
        return ""
    return (
        f"There are {len(labels)} exosome labels: {', '.join(labels)}. Figures of exosomes are there once a "
        f"label, which their title names. Numbers and tests that name no label are about {labels[0]}."
    )


def label_methods(found: Methods, data: ReportData) -> str:
    """Return how several exosome labels were analysed, for the methods; empty for a single one."""
    labels = labels_in(data)
    if len(labels) < 2:
        return ""
    thresholds = []
    for label in labels:
        own = about(data, label)
        learnt = own.puncta_threshold
        value = own.settings.threshold_of(label) if learnt is None else learnt.value
        thresholds.append(f"{label} {value:.3g}" if value is not None and value > LOWEST else f"{label} none")
    return (
        f"The exosome channels ({', '.join(labels)}) were analysed each by itself, with a threshold of its "
        f"own for the contrast ({', '.join(thresholds)}). Puncta of two labels in the same cell were taken "
        "to be in one place below the larger of the labels' typical full widths at half maximum"
        f"{_given(data)} {found.cite('Bolte and Cordelières 2006')}, beside a randomised control "
        f"{found.cite('Costes et al. 2004')}."
    )


def _given(data: ReportData) -> str:
    limit = data.settings.label_distance_um
    return "" if limit is None else f" (set to {limit:g} µm)"

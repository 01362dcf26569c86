"""What the report says about markers: gates, cell types, and how far shape and markers agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import some
from napari_tam.report.data import as_number

if TYPE_CHECKING:
    from napari_tam.report.data import ReportData


def marker_methods(data: ReportData) -> list[str]:
    """Return sentences of the methods; none without markers."""
    table = data.gates
    if table is None or table.empty:
        return []
    gated = table[np.isfinite(as_number(table["gate"]))]
    names = ", ".join(dict.fromkeys(str(name) for name in table["marker"]))
    found = [
        f"Markers ({names}) were measured in every cell less the median outside all cells; what is compared "
        f"with a gate is the {data.settings.marker_readout.replace('_', ' ')}."
    ]
    if len(gated):
        how = ", ".join(dict.fromkeys(str(rule) for rule in gated["rule"]))
        # markers may share a control
        cells = int(gated.groupby("marker")["control_cells"].sum().max())
        counted = f"; up to {cells:,} control cells a marker" if cells else ""
        found.append(f"Cells are positive for a marker above a gate of their plate ({how}{counted}).")
    rules = data.settings.types
    if rules and data.cell_types is not None:
        listing = "; ".join(f"{name}: {rules[name]}" for name in sorted(rules))
        counts = data.cell_types.groupby("cell_type")["cells"].sum()
        counted = ", ".join(f"{int(counts[name]):,} {name}" for name in counts.index)
        found.append(
            f"Cell types follow from rules of markers ({listing}). Counted were {counted}; uptake and "
            f"phenotype are those of {data.settings.analyse_types}."
        )
    rules = data.settings.marker_phenotypes
    if rules:
        listing = "; ".join(f"{name}: {rules[name]}" for name in sorted(rules))
        found.append(f"Phenotypes by markers follow from rules ({listing}).{agreement_sentence(data)}")
    return found


def agreement_sentence(data: ReportData) -> str:
    """Return how far phenotypes by shape and by markers agree over all cells; empty if that is not known."""
    table = data.marker_agreement
    if table is None:
        return ""
    whole = table[table["condition"].isna() | (table["condition"] == "")]
    if whole.empty or not np.isfinite(as_number(whole["kappa"])[0]):
        return ""
    row = whole.iloc[0]
    between = ""
    if np.isfinite(row["kappa_low"]):
        between = f" (95 % interval over {int(row['units'])} replicates: {row['kappa_low']:.2f} to "
        between += f"{row['kappa_high']:.2f})"
    return (
        f" Shape and markers agree on {row['agree']:.0%} of {int(row['known']):,} cells, Cohen's kappa "
        f"{row['kappa']:.2f}{between}.{_area_sentence(row)}"
    )


def _area_sentence(row: Any) -> str:
    if "auc" not in row or not np.isfinite(row["auc"]):
        return ""
    interval = f" ({row['auc_low']:.2f} to {row['auc_high']:.2f})" if np.isfinite(row["auc_low"]) else ""
    return (
        " The shape's probability tells cells of both phenotypes by markers apart with an area under the "
        f"ROC curve of {row['auc']:.2f}{interval} ({int(row['auc_cells']):,} cells; 0.5 is chance)."
    )


def marker_cautions(data: ReportData) -> list[str]:
    """Return what must be known before markers are believed."""
    table = data.gates
    if table is None or table.empty:
        return []
    found = []
    suggested = table[table["suggested"].astype(bool)]
    if len(suggested):
        names = some(list(dict.fromkeys(str(name) for name in suggested["marker"])))
        found.append(
            f"The gate of {names} is a suggestion, because no control says what a negative cell looks like. "
            "Look at the figure of the gates; unstained, isotype or FMO wells (control_role) set it."
        )
    lacking = table[~np.isfinite(as_number(table["gate"]))]
    for _, row in lacking.iterrows():
        plate = f"plate {row['plate']}, " if isinstance(row["plate"], str) and row["plate"] else ""
        found.append(f"Marker {plate}{row['marker']}: {row['note']}.")
    uncertain = table[as_number(table["control_cells"]) > 0]
    for _, row in uncertain.iterrows():
        if isinstance(row["note"], str) and row["note"] and np.isfinite(row["gate"]):
            found.append(f"Marker {row['marker']}: {row['note']}.")
    return list(dict.fromkeys([*found, *_empty_rules(data)]))


def _empty_rules(data: ReportData) -> list[str]:
    """Return a sentence for every rule that no cell meets."""
    found = []
    for column, rules in (
        ("cell_type", data.settings.types),
        ("marker_phenotype", data.settings.marker_phenotypes),
    ):
        if column not in data.every_cell or data.every_cell.empty:
            continue
        called = set(data.every_cell[column].dropna().astype(str))
        found += [
            f"No cell is called {name}: none meets its rule ({rule}), or a gate that it needs is missing."
            for name, rule in sorted(rules.items())
            if name not in called
        ]
    return found

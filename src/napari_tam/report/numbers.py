"""The numbers of a report: what the run found, in all and for each condition."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.phenotype.classify import UNCERTAIN
from napari_tam.report.data import as_number, is_stated, whole
from napari_tam.report.figures.comparison import p_text
from napari_tam.report.readouts import READOUTS, label_of, named
from napari_tam.results.folder import FAILED, OK, PENDING

if TYPE_CHECKING:
    from napari_tam.report.data import ReportData

Rows = list[list[str]]


def key_numbers(data: ReportData) -> list[tuple[str, str]]:
    """Return the run's main numbers as (number, what it is)."""
    status = data.images["status"].value_counts()
    left_out = sum(int(status.get(name, 0)) for name in (FAILED, PENDING))
    found = [(f"{status.get(OK, 0):,}", "images analysed" + (f", {left_out} not" if left_out else ""))]
    found.append((f"{len(data.cells):,}", "cells"))
    counts = as_number(data.treated["puncta_count"])
    puncta = f"{data.label} puncta" if data.label else "puncta"
    if len(counts):
        whose = "cell" if len(data.treated) == len(data.cells) else "treated cell"
        found.append((f"{np.median(counts):g}", f"{puncta} per {whose} (median)"))
    inside = int((as_number(data.puncta["label"]) > 0).sum()) if "label" in data.puncta else 0
    found.append((f"{inside:,}", f"{puncta} in cells, {len(data.puncta) - inside:,} outside"))
    if data.has("positive", data.treated):
        found.append(
            (
                percent(float(np.nanmean(as_number(data.treated["positive"])))),
                f"of the treated cells positive{f' for {data.label}' if data.label else ''}",
            )
        )
    if data.has("aggregate", data.puncta):
        share = float(np.nanmean(as_number(data.puncta["aggregate"])))
        found.append((f"{100 * share:.1f} %", f"of the {puncta} are aggregates"))
    inner = whole(data.cells)
    for name in (*data.classes, UNCERTAIN):
        if data.classes and len(inner):
            share = float((inner["phenotype"] == name).mean())
            found.append((percent(share), f"{name} (border cells left out)"))
    return found


def percent(share: float) -> str:
    """Return a share as per cent."""
    return f"{100 * share:.0f} %" if np.isfinite(share) else "-"


def condition_table(data: ReportData) -> tuple[list[str], Rows]:
    """Return head and rows of the table of groups: replicates, cells, mean ± SD of their means."""
    if not data.has_layout:
        return [], []
    head = ["condition", "replicates", "cells", *(f"{named(r.name)}, mean ± SD" for r in READOUTS)]
    means = {r.name: data.unit_means(r.name) for r in READOUTS}
    if data.has("positive"):
        head.append("positive, mean ± SD")
        means["positive"] = data.unit_means("positive")
    rows = []
    first = means[READOUTS[0].name]
    for group in data.group_order():
        here = first[first["group"] == group]
        row = [group, str(len(here)), f"{here['cells'].sum():,}"]
        for name, table in means.items():
            values = table.loc[table["group"] == group, "value"].dropna()
            row.append(
                mean_sd(values * (100 if name == "positive" else 1)) + (" %" if name == "positive" else "")
            )
        rows.append(row)
    return head, rows


def mean_sd(values: pd.Series[float]) -> str:
    """Return mean ± SD of replicates; the mean alone if there is one."""
    if not len(values):
        return "-"
    mean, spread = float(values.mean()), float(values.std())
    if len(values) < 2 or not np.isfinite(spread) or spread <= 0:
        return number(mean) if len(values) < 2 else f"{number(mean)} ± 0"
    decimals = min(6, max(0, 1 - math.floor(math.log10(spread))))  # two figures of the SD
    return f"{mean:,.{decimals}f} ± {spread:,.{decimals}f}"


def number(value: Any) -> str:
    """Return a number with three figures, thousands apart; a dash for a missing one."""
    try:
        figure = float(value)
    except (TypeError, ValueError):
        return "-"
    if not np.isfinite(figure):
        return "-"
    if abs(figure) >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.3g}"


def comparison_tables(data: ReportData) -> list[tuple[str, tuple[list[str], Rows]]]:
    """Return readout, and head and rows of its table of tests, for every readout."""
    table = data.comparisons
    if table is None or table.empty:
        return []
    head = [
        "comparison", "n", "means", "difference (95 % interval)", "ratio", "Hedges g", "p", "p adjusted",
        "test",
    ]  # fmt: skip
    found: dict[str, Rows] = {}
    for _, row in table.iterrows():
        note = str(row["note"]) if isinstance(row.get("note"), str) and row["note"] else ""
        tested = np.isfinite(as_number(pd.Series([row["p"]]))[0])
        interval = f" ({number(row['ci_low'])} to {number(row['ci_high'])})" if tested else ""
        test = str(row["test"]) if isinstance(row["test"], str) else ""
        what = ": ".join(part for part in (test, note) if part) or "no test"
        found.setdefault(label_of(str(row["readout"])), []).append(
            [
                str(row["comparison"]) or "-",
                f"{number(row['n_a'])}, {number(row['n_b'])}",
                f"{number(row['mean_a'])}, {number(row['mean_b'])}",
                f"{number(row['difference'])}{interval}",
                number(row["ratio"]),
                number(row["effect_size"]),
                _p(row["p"]),
                _p(row["p_adjusted"]),
                what,
            ]
        )
    return [(readout, (head, rows)) for readout, rows in found.items()]


def _p(value: Any) -> str:
    p = as_number(pd.Series([value]))[0]
    return p_text(float(p)).removeprefix("p = ").removeprefix("p ") if np.isfinite(p) else "-"


def threshold_table(data: ReportData) -> tuple[list[str], Rows]:
    """Return head and rows of the table of thresholds."""
    table = data.thresholds
    if table is None or table.empty:
        return [], []
    head = ["plate", "readout", "rule", "control cells", "threshold", "note"]
    plates = table["plate"].where(is_stated(table["plate"]), "-")
    return head, [
        [
            str(plate),
            label_of(str(row["readout"])),
            _text(row["rule"]),
            number(row["control_cells"]),
            number(row["threshold"]),
            _text(row.get("note")),
        ]
        for plate, (_, row) in zip(plates, table.iterrows(), strict=True)
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def kinetics_table(data: ReportData) -> tuple[list[str], Rows]:
    """Return head and rows of the pooled fits over time."""
    if data.kinetics is None or data.kinetics.empty:
        return [], []
    head = ["condition", "readout", "rate (1/h)", "plateau", "half time (h), interval", "n", "note"]
    pooled = data.kinetics[~is_stated(data.kinetics["track"])]
    return head, [
        [
            _text(row["condition"]) or "all cells",
            label_of(str(row["readout"])),
            number(row["rate_per_h"]),
            number(row["plateau"]),
            f"{number(row['half_time_h'])} ({number(row['half_time_low'])} to "
            f"{number(row['half_time_high'])})",
            number(row["n"]),
            _text(row.get("note")),
        ]
        for _, row in pooled.iterrows()
    ]


def failed_table(data: ReportData) -> tuple[list[str], Rows]:
    """Return head and rows of the images that could not be analysed."""
    bad = data.images[data.images["status"] != OK]
    if bad.empty:
        return [], []
    errors = bad["error"] if "error" in bad else pd.Series("", index=bad.index)
    rows = zip(bad["image"], bad["status"], errors, strict=True)
    return ["image", "status", "reason"], [[str(i), str(s), _text(e)] for i, s, e in rows]


def settings_table(data: ReportData) -> tuple[list[str], Rows]:
    """Return head and rows of the settings, those that differ from their default first and marked."""
    rows: Rows = []
    defaults = type(data.settings)()
    for name, info in type(data.settings).model_fields.items():
        value, default = getattr(data.settings, name), getattr(defaults, name)
        extra = info.json_schema_extra
        unit = f" {extra['unit']}" if isinstance(extra, dict) and extra["unit"] else ""
        rows.append(
            [
                name,
                _value(value, unit),
                "" if value == default else f"default: {_value(default, unit)}",
            ]
        )
    rows.sort(key=lambda row: not row[2])
    return ["setting", "value", "changed"], rows


def _value(value: Any, unit: str) -> str:
    if value is None or value == {}:
        return "unset"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{k} = {v}" for k, v in value.items())
    return f"{value}{unit}"

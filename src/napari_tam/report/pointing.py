"""What the page tells when one points at a dot or a well, for ``report.js``: figures, cells, wells, fields.

Numbers are texts already: the page writes them as everywhere else, and JSON meets no NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_tam.report.numbers import number
from napari_tam.report.pictures import MOST_FIELDS, cell_pictures, evenly, field_pictures
from napari_tam.report.quality import score_fields
from napari_tam.results.folder import OK

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari_tam.report.data import ReportData
    from napari_tam.report.spots import Pointed

#: Cells that the page knows at most; dots of others are drawn, and nothing is told of them.
MOST_CELLS = 4000

#: What is told of a well: columns of the table of `napari_tam.report.figures.plate.plate_map`, in words.
FACTS = {
    "images": "images",
    "cells": "cells",
    "puncta_per_cell": "puncta per cell",
    "positive_percent": "positive cells (%)",
}


def told(data: ReportData, figures: dict[str, Pointed]) -> dict[str, Any]:
    """Return what the page tells, ready for JSON.

    Parameters
    ----------
    data
        Those of the first exosome label.
    figures
        By name.

    Returns
    -------
    dict
        ``figures``: by name, ``of`` (cells or wells), ``size`` and ``columns``, each a pair of names and
        places: x, y, number of the cell or well, a text for each name. ``cells``: image, label, sentences,
        picture (or an empty text). ``wells``: name, group, facts (pairs) and numbers of its fields.
        ``fields``: name, verdict, picture. ``note``: what is left out, or an empty text.
    """
    rows, known, note = _cells(data, [f for f in figures.values() if f.size is None])
    wells: list[dict[str, Any]] = []
    fields = _fields(data) if any(f.size is not None for f in figures.values()) else pd.DataFrame()
    shown = {}
    for name, figure in figures.items():
        numbers = known if figure.size is None else _wells(figure, fields, wells)
        columns = []
        for column in figure.columns:
            places = [[x, y, numbers[key], *texts] for x, y, key, texts in column.places if key in numbers]
            if places:
                columns.append([column.names, places])
        if columns:
            of = "cells" if figure.size is None else "wells"
            shown[name] = {"of": of, "size": figure.size, "columns": columns}
    listed = [list(row) for row in fields[["name", "verdict", "picture"]].to_numpy()] if len(fields) else []
    return {"figures": shown, "cells": rows, "wells": wells, "fields": listed, "note": note}


def _cells(data: ReportData, figures: list[Pointed]) -> tuple[list[list[Any]], dict[Hashable, int], str]:
    """Return the cells of the figures, the number of each by its index, and what is left out."""
    drawn = {key for figure in figures for column in figure.columns for _, _, key, _ in column.places}
    every = data.cells.loc[data.cells.index.isin(list(drawn))]
    cells = every.loc[evenly(list(every.index), MOST_CELLS)]
    pictures = cell_pictures(data, cells)
    groups = data.groups(cells) if data.has_layout else pd.Series("", cells.index)
    rows: list[list[Any]] = []
    for (index, cell), group, unit in zip(cells.iterrows(), groups, data.unit_names(cells), strict=True):
        texts = [_phenotype(cell), group, f"{data.unit} {unit}" if unit else ""]
        shown = pictures.get(index, "")
        rows.append([str(cell["image"]), int(cell["label"]), list(filter(None, texts)), shown])
    counts = ((len(cells), len(every), "answer"), (len(pictures), len(cells), "have a picture"))
    note = " ".join(f"{some:,} of {all_:,} cells {do}." for some, all_, do in counts if some < all_)
    return rows, {index: k for k, index in enumerate(cells.index)}, note


def _phenotype(cell: pd.Series[Any]) -> str:
    values = [cell.get(name) for name in ("phenotype", "phenotype_reason")]
    stated = [value for value in values if isinstance(value, str) and value]
    return f"{stated[0]} ({stated[1]})" if len(stated) == 2 else "".join(stated)


def _fields(data: ReportData) -> pd.DataFrame:
    """Return name, plate, well, group, verdict and picture of every image."""
    scores = score_fields(data).set_index("image")["reasons"]
    images = data.images
    names = images["image"].astype(str)
    groups = data.groups(images) if data.has_layout else ""
    errors = images["error"].astype(str) if "error" in images else pd.Series("", images.index)
    verdicts = names.map(lambda name: scores.get(name, "")).mask(lambda t: t == "", "passed all checks")
    table = pd.DataFrame(
        {
            "name": names,
            "plate": data.plate_names(images),
            "well": data.image_wells(),
            "group": groups,
            "verdict": verdicts.where(images["status"] == OK, "not analysed: " + errors),
        }
    )
    placed = table[table["well"] != ""]
    if len(placed) > MOST_FIELDS:  # one a well, rather than all of a few
        placed = placed.drop_duplicates(["plate", "well"])
    pictures = field_pictures(data, placed["name"].tolist())
    table["picture"] = [pictures.get(name, "") for name in table["name"]]
    return table.assign(number=range(len(table)))


def _wells(figure: Pointed, fields: pd.DataFrame, wells: list[dict[str, Any]]) -> dict[Hashable, int]:
    """Add the wells of a figure to those that are known; return the number of each by plate and name."""
    numbers: dict[Hashable, int] = {}
    by_well = dict(list(fields.groupby(["plate", "well"], sort=False)))
    for _, row in figure.table.iterrows():
        key = row["plate"], row["well"]
        own = by_well.get(key, fields.iloc[:0])
        facts = [[text, number(row[name])] for name, text in FACTS.items() if pd.notna(row[name])]
        numbers[key] = len(wells)
        wells.append(
            {
                "name": f"{row['plate']} {row['well']}".strip(),
                "group": "; ".join(dict.fromkeys(group for group in own["group"] if group)),
                "facts": facts,
                "fields": own["number"].tolist(),
            }
        )
    return numbers

"""Cells → replicates: one row for every replicate, condition and phenotype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.columns import REPLICATE_COLUMNS, table_of_rows
from napari_tam.errors import InputError, nearest
from napari_tam.markers.labels import labels_of, of_label

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.settings import Settings

_Row = dict[str, Any]


#: The share of positive cells, which is no column of cells.csv; of one label among several
#: positive_fraction_GFP.
POSITIVE = "positive_fraction"

#: What a row of replicates.csv is about.
KEYS = ("condition", "dose", "time", "donor", "plate", "replicate", "control_role")

#: Columns that can be the experimental unit, the strictest first.
UNITS = ("donor", "replicate", "plate", "well")


def readouts_of(cells: pd.DataFrame, settings: Settings) -> list[str]:
    """Return the readouts that the settings name; of several exosome labels the usual ones once a label.

    Raises
    ------
    InputError
        If one is no number column of the cells.
    """
    wanted = dict.fromkeys(name.strip() for name in settings.comparison_readouts.split(","))
    if settings.comparison_readouts == type(settings).model_fields["comparison_readouts"].default:
        # those without a name are the first label's
        wanted |= dict.fromkeys(
            of_label(name, label) for label in labels_of(cells.columns)[1:] for name in tuple(wanted)
        )
    numbers = [*_shares(cells), *cells.select_dtypes("number").columns]
    for name in filter(None, wanted):
        if name not in numbers:
            raise InputError(
                f"'{name}' is no readout{nearest(name, numbers)}",
                where="comparison_readouts",
                fix="name positive_fraction or number columns of cells.csv",
            )
    return [name for name in wanted if name]


def is_share(readout: str) -> bool:
    """Tell whether a readout is a share of positive cells."""
    return readout == POSITIVE or readout.startswith(f"{POSITIVE}_")


def column_of(readout: str) -> str:
    """Return the column of cells.csv that a readout is the mean of."""
    return readout.replace(POSITIVE, "positive", 1) if is_share(readout) else readout


def _shares(cells: pd.DataFrame) -> dict[str, str]:
    """Return the shares of positive cells, with the columns that they are of."""
    shares = [of_label(POSITIVE, label) for label in ("", *labels_of(cells.columns))]
    return {share: column_of(share) for share in shares}


def unit_of(cells: pd.DataFrame, settings: Settings) -> str:
    """Return what counts as one independent experiment.

    auto: donors if there are several, else what the layout calls replicates, else plates if there are
    several, else wells.
    """
    if settings.comparison_unit != "auto":
        return settings.comparison_unit
    differ = {name: set(cells[name]) - {""} for name in UNITS}
    if len(differ["donor"]) > 1:
        return "donor"
    if differ["replicate"]:
        return "replicate"
    return "plate" if len(differ["plate"]) > 1 else "well"


def replicate_table(cells: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return replicates.csv: the means of the cells of each replicate, of all cells and by phenotype.

    Parameters
    ----------
    cells
        cells.csv with the columns of layout and decisions.
    settings
        The group comparison is used.
    """
    import pandas as pd

    shares = _shares(cells)
    names = [name for name in readouts_of(cells, settings) if name != POSITIVE]
    unit = unit_of(cells, settings)
    cells = cells.assign(unit=unit_names(cells, unit))
    keys = [*KEYS, "unit"]
    parts = [("", cells)]
    parts += [(name, cells[cells["phenotype"] == name]) for name in phenotypes_of(cells)]
    rows: list[_Row] = []
    for phenotype, part in parts:
        known = part[(part["condition"] != "") | (part["control_role"] != "")]
        for values, group in known.groupby(keys, sort=True, dropna=False):
            row: _Row = dict(zip(keys, values, strict=True))
            row |= {"phenotype": phenotype, "cells": len(group)}
            for name in (POSITIVE, *names):
                own = group[shares[name]].astype("boolean") if name in shares else group[name]
                row[name] = float(own.mean()) if own.notna().any() else np.nan
            rows.append(row)
    table = table_of_rows(REPLICATE_COLUMNS, rows)
    means = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=float) for name in names})
    return pd.concat([table, means], axis=1)


def phenotypes_of(cells: pd.DataFrame) -> list[str]:
    """Return the phenotypes that cells were called, without "uncertain"."""
    if "phenotype" not in cells:
        return []
    return sorted(set(cells["phenotype"].dropna()) - {"", "uncertain"})


def unit_names(cells: pd.DataFrame, unit: str) -> pd.Series[str]:
    """Return the name of the independent experiment that each cell belongs to; empty: none is known."""
    name = cells[unit].astype(str)
    if unit in ("donor", "plate"):
        return name
    plate = cells["plate"].astype(str)
    return name.where((plate == "") | (name == ""), plate + "/" + name)

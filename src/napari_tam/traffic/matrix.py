"""transfer_matrix.csv: in which cell types the exosomes of every label are, and between the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.columns import TRANSFER_COLUMNS, table_of_rows
from napari_tam.markers.labels import LABEL, rows_of
from napari_tam.settings import NO_TYPES
from napari_tam.traffic.units import conditions, mean_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam.settings import Settings
    from napari_tam.traffic.labels import Route

#: Where puncta are that no cell holds, and in cells of which the type is not known.
BETWEEN, UNKNOWN = "between cells", "not known"


def transfer_matrix(
    cells: pd.DataFrame, puncta: pd.DataFrame, routes: Sequence[Route], settings: Settings
) -> pd.DataFrame:
    """Return transfer_matrix.csv.

    Shares are means of the replicates' shares, so that one with many puncta does not count for more.

    Parameters
    ----------
    cells
        Cells that were given exosomes, with `cell_type`, `unit` and `condition`.
    puncta
        The puncta of the same images.
    routes
        Who gives and takes each label.
    settings
        `types` has the names.
    """
    import pandas as pd

    images = cells.drop_duplicates("image").set_index("image")
    here = puncta[puncta["image"].isin(images.index)]
    own = pd.MultiIndex.from_frame(cells[["image", "label"]])
    types = pd.Series(cells["cell_type"].to_numpy(object), index=own)
    place = types.reindex(pd.MultiIndex.from_frame(here[["image", "label"]])).to_numpy(object)
    place = np.where(here["label"].to_numpy() == 0, BETWEEN, np.where(pd.isna(place), UNKNOWN, place))
    place = np.where(place == "", UNKNOWN, place)
    here = here.assign(
        place=place,
        unit=images["unit"].reindex(here["image"]).to_numpy(object),
        condition=images["condition"].reindex(here["image"]).to_numpy(object),
    )
    places = [*sorted(settings.types), *NO_TYPES, UNKNOWN, BETWEEN]
    rows: list[dict[str, Any]] = []
    for route in routes:
        for condition, part in conditions(cells):
            spots = rows_of(here, route.label)
            spots = spots if not condition else spots[spots["condition"] == condition]
            for row in _rows(part, spots, places):
                rows.append(
                    row | {"condition": condition, LABEL: route.label, "donors": ", ".join(route.donors)}
                )
    return table_of_rows(TRANSFER_COLUMNS, rows)


def _rows(cells: pd.DataFrame, puncta: pd.DataFrame, places: list[str]) -> list[dict[str, Any]]:
    import pandas as pd

    units = sorted(set(cells["unit"]))
    index = pd.Index(units)
    counts = pd.crosstab(puncta["unit"], puncta["place"]).reindex(index=index, columns=places, fill_value=0)
    light = puncta.pivot_table(
        index="unit", columns="place", values="intensity", aggfunc="sum", observed=True
    ).reindex(index=index, columns=places)
    light = light.fillna(0.0).clip(lower=0)
    number = pd.crosstab(cells["unit"], cells["cell_type"]).reindex(index=index, fill_value=0)
    rows = []
    for place in places:
        in_it = number[place] if place in number else pd.Series(0, index=index)
        if not counts[place].sum() and not in_it.sum() and place in (*NO_TYPES, UNKNOWN):
            continue
        row: dict[str, Any] = {
            "place": place,
            "cells": int(in_it.sum()),
            "puncta": int(counts[place].sum()),
            "light": float(light[place].sum()),
            "units": len(units),
        }
        for name, table in (("puncta", counts), ("light", light)):
            total = table.sum(axis=1).to_numpy(np.float64)
            with np.errstate(invalid="ignore", divide="ignore"):
                shares = table[place].to_numpy(np.float64) / total
            mean, low, high = mean_interval(shares, 0.0, 1.0)
            row |= {f"{name}_share": mean, f"{name}_share_low": low, f"{name}_share_high": high}
        with np.errstate(invalid="ignore", divide="ignore"):
            each = counts[place].to_numpy(np.float64) / in_it.to_numpy(np.float64)
        mean, low, high = mean_interval(each[in_it.to_numpy() > 0], 0.0)
        row |= {"per_cell": mean, "per_cell_low": low, "per_cell_high": high}
        rows.append(row)
    return rows

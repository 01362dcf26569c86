"""What goes from cell type to cell type in a finished run, from its tables and masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.celltypes.types import analysed, controls_of_markers
from napari_tam.columns import build_table, traffic_cell_columns
from napari_tam.errors import some
from napari_tam.io.layout import NO_EXOSOMES
from napari_tam.markers.labels import labels_of
from napari_tam.results.folder import mask_path, read_mask
from napari_tam.traffic.association import association
from napari_tam.traffic.curve import curves
from napari_tam.traffic.distances import CENTRES, EDGES, Outlines, outlines_of
from napari_tam.traffic.labels import Route, routes
from napari_tam.traffic.matrix import transfer_matrix
from napari_tam.traffic.polarisation import uptake_polarisation
from napari_tam.uptake.group_tests import LEAST_UNITS
from napari_tam.uptake.replicates import unit_names, unit_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.settings import Settings
    from napari_tam.traffic.distances import Pairs

#: Masks of more pixels are not read as a whole; distances are then between centres.
LARGEST_MASK = 2**26


@dataclass(frozen=True)
class Communication:
    """What was found; all empty where no types are told apart.

    Attributes
    ----------
    cells
        `traffic_cell_columns`, one row per cell.
    tables
        traffic, transfer_matrix, spatial_association and uptake_polarisation: name to table.
    notes
        What a reader should know: sentences.
    """

    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def communicate(
    folder: Path | None, cells: pd.DataFrame, puncta: pd.DataFrame, images: pd.DataFrame, settings: Settings
) -> Communication:
    """Measure who gives and who takes.

    Parameters
    ----------
    folder
        The results folder, whose masks give distances between edges; None: distances between centres.
    cells
        All cells of the run, with `cell_type` and the columns of the layout.
    puncta, images
        puncta.csv and images.csv (`image`, `pixel_size_um` and, of volumes, `z_step_um`).
    settings
        The groups markers and communication.

    Raises
    ------
    InputError
        If the settings name a label that there is not, or leave nobody to take.
    """
    if not settings.types or "cell_type" not in cells:
        return Communication()
    labels = labels_of(cells.columns) or [""]
    found = routes(labels, settings)
    given = _given(cells)
    notes = [note for route in found for note in _missing(route, cells[given])]
    places, pairs, kind = _places(folder, cells, images, found, settings)
    columns = build_table(traffic_cell_columns(labels), places, len(cells))
    cells = cells.assign(**{str(name): columns[name].array for name in columns})
    cells["place"] = cells.groupby("image", sort=False).cumcount()
    cells["unit"] = unit_names(cells, unit_of(cells, settings)).to_numpy(object)
    here = cells[given & (cells["cell_type"] != "").to_numpy(bool)]
    notes += _few(here)
    readout = settings.traffic_readout
    tables = {
        "traffic": curves(here, found, readout, kind),
        "transfer_matrix": transfer_matrix(cells[given], puncta, found, settings),
        "spatial_association": association(here, pairs, found, readout, settings.neighbour_radius_um),
        "uptake_polarisation": uptake_polarisation(here[analysed(here, settings)], found, readout, settings),
    }
    return Communication(columns, tables, tuple(dict.fromkeys(notes)))


def _given(cells: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return the cells that were given exosomes and have all their stains."""
    return (~cells["control_role"].isin(NO_EXOSOMES)).to_numpy(bool) & ~controls_of_markers(cells)


def _missing(route: Route, cells: pd.DataFrame) -> list[str]:
    """Say what is missing for a label, one sentence each."""
    what = f" of {route.label}" if route.label else ""
    if not route.donors:
        return [f"no donor{what}: types has rules for recipients only, and none for the cells that give"]
    return [
        f"no cell is a {job}{what} ({some(list(names))}): there is no traffic to measure"
        for names, job in ((route.donors, "donor"), (route.recipients, "recipient"))
        if not cells["cell_type"].isin(names).any()
    ]


def _few(cells: pd.DataFrame) -> list[str]:
    units = sorted(set(cells["unit"]) - {""})
    if len(units) >= LEAST_UNITS or cells.empty:
        return []
    many = "one replicate" if len(units) == 1 else f"{len(units)} replicates" if units else "no replicate"
    return [
        f"communication: {many} with cells of known type in the layout, so figures have no interval and "
        f"nothing is tested ({LEAST_UNITS} are needed)"
    ]


def _places(
    folder: Path | None,
    cells: pd.DataFrame,
    images: pd.DataFrame,
    found: list[Route],
    settings: Settings,
) -> tuple[dict[str, Any], dict[str, Pairs], str]:
    """Return the columns of distances and neighbours, the pairs of every image, and how it was measured."""
    about = images.set_index("image")
    columns: dict[str, Any] = {}
    for route in found:
        columns[route.column] = np.full(len(cells), np.nan)
        columns[route.neighbours] = np.full(len(cells), np.nan)
    pairs: dict[str, Pairs] = {}
    kinds = set()
    for image, rows in cells.groupby("image", sort=False).indices.items():
        part = cells.iloc[rows]
        types = part["cell_type"].to_numpy(object)
        if not (types != "").any():
            continue
        where = _outlines(folder, str(image), part, about)
        kinds.add(where.kind)
        near = where.pairs(settings.neighbour_radius_um)
        pairs[str(image)] = near
        for route in found:
            donors = np.isin(types, route.donors)
            columns[route.column][rows] = where.nearest(donors)
            count = np.zeros(len(part))
            np.add.at(count, near[:, 0], donors[near[:, 1]])
            np.add.at(count, near[:, 1], donors[near[:, 0]])
            columns[route.neighbours][rows] = np.where(types == "", np.nan, count)
    for route in found:
        columns[route.neighbours] = pd.array(
            [pd.NA if np.isnan(each) else int(each) for each in columns[route.neighbours]], dtype="Int64"
        )
    return columns, pairs, EDGES if kinds <= {EDGES} else CENTRES if kinds <= {CENTRES} else "both"


def _outlines(folder: Path | None, image: str, cells: pd.DataFrame, about: pd.DataFrame) -> Outlines:
    row: dict[Any, Any] = about.loc[image].to_dict()
    pixel = float(row["pixel_size_um"])
    path = None if folder is None else mask_path(folder, image, "cells")
    large = {"height_px", "width_px"} <= set(about) and float(
        row["height_px"] * row["width_px"]
    ) > LARGEST_MASK
    if path is None or large or not path.exists():
        return outlines_of(cells, None, (), pixel)
    labels = read_mask(path)
    step = float(row["z_step_um"]) if labels.ndim == 3 and "z_step_um" in about else pixel
    return outlines_of(cells, labels, [step, pixel, pixel][-labels.ndim :], pixel)

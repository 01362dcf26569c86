"""Puncta of several exosome labels in a cell: how many of one have one of another in the same place.

Definitions of the columns: `napari_tam.io.label_columns.together_columns`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.io.label_columns import chance_column, together_column
from napari_tam.markers.labels import LABEL
from napari_tam.measure.colocalisation import rotations
from napari_tam.measure.groups import means
from napari_tam.measure.place import nearest_pixel

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam.measure.colocalisation import CellPixels
    from napari_tam.measure.regions import Floats, Ints, Regions
    from napari_tam.settings import Settings


def label_distance(puncta: pd.DataFrame, settings: Settings) -> float:
    """Return below which distance (µm) puncta of two labels are in one place; NaN without puncta.

    Parameters
    ----------
    puncta
        Of all labels, with `LABEL` and width_um.
    settings
        `label_distance_um` is used; unset, it is the largest of the labels' median widths.
    """
    if settings.label_distance_um is not None:
        return settings.label_distance_um
    widths = puncta.groupby(LABEL)["width_um"].median()
    return float(widths.max()) if len(widths) else float("nan")


def nearest_other(places: Floats, rank: Ints, labels: pd.Series[str]) -> Floats:
    """Return how far each punctum's nearest one of another label in the same cell is; NaN without one.

    Parameters
    ----------
    places
        (N, 2) or (N, 3) positions.
    rank
        (N,) cell of each; -1 = outside every cell, where nothing is a neighbour.
    labels
        (N,) label of each.
    """
    found = np.full(len(places), np.nan)
    for label in labels.unique():
        own = (labels == label).to_numpy(bool) & (rank >= 0)
        others = (labels != label).to_numpy(bool) & (rank >= 0)
        tree = _Cellwise(places[others], rank[others])
        found[own] = tree.distance(places[own], rank[own])
    return found


def together(
    labels: Sequence[str],
    puncta: pd.DataFrame,
    places: Floats,
    rank: Ints,
    regions: Regions,
    pixels: CellPixels | None,
    limit_um: float,
    pixel_size_um: float,
    settings: Settings,
) -> dict[str, npt.NDArray[Any]]:
    """Return for every ordered pair of labels the share of puncta that have one of the other beside them.

    Parameters
    ----------
    labels
        The labels, also those without puncta.
    puncta
        Of all labels, with `LABEL`, y_px and x_px.
    places
        (N, 2) or (N, 3) positions in µm, the last two of which are y and x.
    rank
        (N,) cell of each; -1 = outside.
    regions, pixels
        The cells, and their pixels for the turns (None without cells). Of a volume those of its projection.
    limit_um, pixel_size_um
        See `label_distance`; and the edge length of a pixel.
    settings
        `colocalisation_randomisations`.
    """
    label_of = puncta[LABEL].to_numpy(object)
    cells = len(regions)
    turns = rotations(settings.colocalisation_randomisations)
    columns: dict[str, npt.NDArray[Any]] = {}
    for label in labels:
        own = np.flatnonzero((label_of == label) & (rank >= 0))
        turned = _turned(puncta.iloc[own], places[own], rank[own], regions, pixels, turns, pixel_size_um)
        for other in labels:
            if other == label:
                continue
            beside = (label_of == other) & (rank >= 0)
            tree = _Cellwise(places[beside], rank[beside])
            near = tree.within(places[own], rank[own], limit_um)
            columns[together_column(label, other)] = means(near, rank[own], cells)
            at, moved = turned
            hits = np.zeros(len(at))
            for each in moved:
                hits += tree.within(each, rank[own][at], limit_um)
            chance = means(hits / max(len(turns), 1), rank[own][at], cells)
            columns[chance_column(label, other)] = chance if len(turns) else np.full(cells, np.nan)
    return columns


def _turned(
    puncta: pd.DataFrame,
    places: Floats,
    rank: Ints,
    regions: Regions,
    pixels: CellPixels | None,
    turns: Floats,
    pixel_size_um: float,
) -> tuple[Ints, list[Floats]]:
    """Return which puncta can be turned inside their cells, and their positions after every turn.

    Those of a volume that stand beside their cell's projection cannot.
    """
    if pixels is None or not len(puncta):
        return np.zeros(0, np.int64), []
    width = regions.shape[1]
    y, x = (puncta[name].to_numpy(np.float64) for name in ("y_px", "x_px"))
    row, col = nearest_pixel(y, x, regions.shape)
    at = np.flatnonzero(regions.rank_at(row, col) == rank)
    flat = (row * width + col)[at]
    place = pixels.place[flat]
    moved = []
    for turn in turns:
        to = pixels.flat[pixels.turned(place, turn)]
        each = places[at].copy()
        # where a punctum lies in its pixel stays
        each[:, -2] += (to // width - flat // width) * pixel_size_um
        each[:, -1] += (to % width - flat % width) * pixel_size_um
        moved.append(each)
    return at, moved


class _Cellwise:
    """Positions of which only those in the same cell are neighbours."""

    def __init__(self, places: Floats, rank: Ints) -> None:
        from scipy.spatial import cKDTree  # images of one label need none

        # the cell as a further, far stretched axis
        self._far = 1e3 + 4 * float(np.abs(places).max(initial=0.0))
        self._tree = cKDTree(self._with_cell(places, rank)) if len(places) else None

    def _with_cell(self, places: Floats, rank: Ints) -> Floats:
        return np.column_stack([places, self._far * rank])

    def distance(self, places: Floats, rank: Ints) -> Floats:
        """Return the distance of each position to the nearest one in its cell; NaN without one."""
        if self._tree is None or not len(places):
            return np.full(len(places), np.nan)
        found, _ = self._tree.query(self._with_cell(places, rank))
        return np.where(found < self._far / 2, found, np.nan)

    def within(self, places: Floats, rank: Ints, limit: float) -> npt.NDArray[np.bool_]:
        """Tell which positions have one in their cell within a distance."""
        if self._tree is None or not len(places) or not np.isfinite(limit):
            return np.zeros(len(places), bool)
        found, _ = self._tree.query(self._with_cell(places, rank), distance_upper_bound=limit * (1 + 1e-9))
        return np.asarray(np.isfinite(found), bool)

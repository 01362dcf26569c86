"""Labels and puncta of a field → one row per cell, one row per punctum, one summary.

Definitions of all columns: `napari_tam.columns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.columns import (
    CELL_COLUMNS,
    PUNCTA_COLUMNS,
    SUMMARY_COLUMNS,
    build_table,
    join_tables,
    marker_columns,
)
from napari_tam.io.label_columns import label_columns, together_columns
from napari_tam.markers.labels import LABEL, by_label, is_exosome_role, rows_of
from napari_tam.markers.names import is_marker_role, marker_of
from napari_tam.measure.colocalisation import CellPixels, colocalise
from napari_tam.measure.groups import means, medians
from napari_tam.measure.intensity import background, contrast_to_noise, focus_score, saturated_fractions
from napari_tam.measure.labels import label_distance, nearest_other, together
from napari_tam.measure.markers import measure_markers
from napari_tam.measure.place import (
    boundary_distance,
    edge_distance,
    nearest_pixel,
    nucleus_distance,
    nucleus_owners,
)
from napari_tam.measure.regions import Floats, Ints, Regions
from napari_tam.measure.shape import inscribed_radius, shape
from napari_tam.settings import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_tam.io.field import Field
    from napari_tam.measure.intensity import Background
    from napari_tam.settings import Settings

_Columns = dict[str, npt.NDArray[Any]]


def measure(
    field: Field,
    cells: npt.NDArray[Any],
    nuclei: npt.NDArray[Any] | None,
    spots: pd.DataFrame,
    settings: Settings,
    raw_exosomes: Mapping[str, npt.NDArray[Any]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, object]]:
    """Measure every cell and every punctum of a field.

    Parameters
    ----------
    field
        The image; it must have the role cell, and one exosome channel or several.
    cells
        YX labels of the cells, 0 = background.
    nuclei
        YX labels of the nuclei, or None without a nuclear stain.
    spots
        Puncta: `y_px`, `x_px` (pixel centres at integers) and the detector's other columns
        (`napari_tam.columns.PUNCTA_COLUMNS`); missing columns become NaN, others are kept. With several
        exosome channels `napari_tam.markers.labels.LABEL` says which one a punctum is of.
    settings
        `perinuclear_distance_um`, `central_radius`, `marker_rim_um`, `label_distance_um` and those of the
        co-localisation are used.
    raw_exosomes
        The exosome channels before corrections by role, which judge saturation; None: those of `field`.

    Returns
    -------
    table, puncta, summary
        One row per label (`CELL_COLUMNS`, then `marker_columns` of the field's markers, and with several
        exosome channels `napari_tam.io.label_columns.label_columns` and `together_columns`), ascending; one
        row per punctum in the order of `spots` (`PUNCTA_COLUMNS`, then further ones of `spots`), label after
        label; and the field's summary statistics (`SUMMARY_COLUMNS`, then `marker_summary_columns` and
        `label_summary_columns`). Without cells or puncta the tables have all columns and no rows.

    Raises
    ------
    ValueError
        If a label image has not the field's shape.
    """
    check_labels(cells, nuclei, field.shape)
    regions = Regions(cells)
    distance = boundary_distance(regions)
    shared = _Shared(field, regions, distance, nuclei, settings)
    raw = raw_exosomes or {}
    parts = {
        label: _measure_exosomes(shared, role, rows_of(spots, label), raw.get(role))
        for label, role in field.exosomes.items()
    }
    first = next(iter(parts.values()))
    values: _Columns = {"label": regions.ids}
    values |= shared.shape | first.values
    values |= cell_means(field.channels, regions)
    values |= _nuclei_of_cells(shared.nuclear, shared.owner, values["area_um2"], field.pixel_size_um)
    values["focus_score"] = focus_score(field.channels["cell"], regions, values["cell_mean"])
    values["contrast_to_noise"] = contrast_to_noise(
        field.channels["cell"], regions, values["cell_mean"], distance
    )
    values["touches_border"] = regions.touches_border
    values["contact_fraction"] = regions.contacts / regions.crossings[:2].sum(axis=0)
    marked, marker_levels = measure_markers(field, regions, distance, nuclei, settings)
    columns = (
        *CELL_COLUMNS,
        *marker_columns([marker_of(role) for role in field.channels if is_marker_role(role)]),
    )
    values |= marked
    table = build_table(columns, {"image": field.name, "frame": field.frame, **values}, len(regions))
    notes = dict.fromkeys(note for part in parts.values() for note in part.notes)
    summary = {
        "image": field.name,
        "frame": field.frame,
        "cells": len(regions),
        "nuclei": None if shared.nuclear is None else len(shared.nuclear),
        **first.summary,
        "cell_area_fraction": float(regions.area.sum() / regions.labels.size),
        "cells_touching_border": int(regions.touches_border.sum()),
        "focus_score": _median(values["focus_score"]),
        "notes": "; ".join([*field.notes, *notes]),
        **marker_levels,
    }
    listed = [column.name for column in SUMMARY_COLUMNS]
    summary = {name: summary[name] for name in (*listed, *marker_levels)}
    if len(parts) == 1:
        return table, first.puncta, summary
    labelled = by_label({label: part.values for label, part in parts.items()})
    table = pd.concat([table, build_table(label_columns(list(parts)), labelled, len(regions))], axis=1)
    summary |= by_label({label: part.summary for label, part in parts.items()})
    puncta = stacked(parts)
    rank = np.concatenate([part.rank for part in parts.values()])
    limit_um = label_distance(puncta, settings)
    places = puncta[["y_px", "x_px"]].to_numpy(np.float64) * field.pixel_size_um
    puncta["other_label_um"] = nearest_other(places, rank, puncta[LABEL])
    found = together(
        list(parts), puncta, places, rank, regions, shared.pixels, limit_um, field.pixel_size_um, settings
    )
    table = pd.concat([table, build_table(together_columns(list(parts)), found, len(regions))], axis=1)
    return table, puncta, summary | {"label_distance_um": limit_um}


@dataclass(frozen=True)
class _Shared:
    """What is the same for all exosome channels of a field."""

    field: Field
    regions: Regions
    distance: npt.NDArray[np.float32]
    nuclei: npt.NDArray[Any] | None
    settings: Settings

    @cached_property
    def nuclear(self) -> Regions | None:
        return None if self.nuclei is None else Regions(self.nuclei)

    @cached_property
    def owner(self) -> Ints | None:
        return None if self.nuclear is None else nucleus_owners(self.nuclear, self.regions)

    @cached_property
    def shape(self) -> _Columns:
        return shape(self.regions, self.distance, self.field.pixel_size_um)

    @cached_property
    def pixels(self) -> CellPixels | None:
        """The pixels as they are turned inside their cells; None without cells."""
        return CellPixels.of(self.regions, self.distance, self.nuclei) if len(self.regions) else None


@dataclass(frozen=True)
class Exosomes:
    """What is measured of one exosome channel: columns of the cells, puncta with their cells, summary."""

    values: _Columns
    puncta: pd.DataFrame
    rank: Ints
    summary: dict[str, object]
    notes: tuple[str, ...]


def _measure_exosomes(
    shared: _Shared, role: str, spots: pd.DataFrame, raw: npt.NDArray[Any] | None
) -> Exosomes:
    """Measure one exosome channel."""
    field, regions, settings = shared.field, shared.regions, shared.settings
    exosome = field.channels[role]
    level = background(exosome, regions, shared.distance)
    puncta, rank = _puncta(field, regions, shared.distance, shared.nuclear, shared.owner, spots)
    values = puncta_of_cells(puncta, rank, shared.shape["area_um2"], settings)
    values |= exosome_intensities(exosome, regions, level)
    if "lysosome" in field.channels:
        at = rank >= 0
        row, col = nearest_pixel(puncta["y_px"].to_numpy(), puncta["x_px"].to_numpy(), regions.shape)
        centroids = (row * regions.shape[1] + col)[at]
        values |= colocalise(exosome, field.channels["lysosome"], regions, shared.pixels, centroids, settings)
    values["saturated_fraction"], saturated = saturated_fractions(exosome if raw is None else raw, regions)
    summary = {**exosome_summary(rank, level), "saturated_fraction": saturated}
    return Exosomes(values, puncta, rank, summary, level.notes)


def stacked(parts: Mapping[str, Exosomes]) -> pd.DataFrame:
    """Return the puncta of several labels, by label, as one table that names the label."""
    return join_tables([part.puncta.assign(**{LABEL: label}) for label, part in parts.items()])


def exosome_summary(rank: Ints, level: Background) -> dict[str, object]:
    """Return what images.csv says of puncta and background; `rank` has the cell of each, -1 = outside."""
    inside = int((rank >= 0).sum())
    return {
        "puncta": len(rank),
        "puncta_in_cells": inside,
        "puncta_outside": len(rank) - inside,
        "exosome_background": level.median,
        "exosome_background_mean": level.mean,
        "exosome_background_method": level.method,
    }


def check_labels(cells: npt.NDArray[Any], nuclei: npt.NDArray[Any] | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError if label images do not have the shape of their field."""
    for name, labels in (("cell", cells), ("nucleus", nuclei)):
        if labels is not None and labels.shape != shape:
            raise ValueError(f"the {name} labels are {labels.shape}, the image is {shape}")


def _median(values: Floats) -> float:
    """Return the median of the finite values, NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _puncta(
    field: Field,
    regions: Regions,
    distance: npt.NDArray[np.float32],
    nuclei: Regions | None,
    owner: Ints | None,
    spots: pd.DataFrame,
) -> tuple[pd.DataFrame, Ints]:
    """Return the puncta table, and the rank of each punctum's cell (-1 = outside)."""
    empty = pd.Series(dtype=float)
    y = spots.get("y_px", empty).to_numpy(np.float64)
    x = spots.get("x_px", empty).to_numpy(np.float64)
    um = field.pixel_size_um
    rank = regions.rank_at(*nearest_pixel(y, x, regions.shape))
    edge = edge_distance(regions, distance, y, x, rank)
    # Rank -1 takes the appended NaN.
    deepest = np.append(inscribed_radius(regions, distance), np.nan)[rank]
    own: _Columns = {
        "label": np.append(regions.ids, 0)[rank],
        "y_px": y,
        "x_px": x,
        "y_um": y * um,
        "x_um": x * um,
        "edge_distance_um": edge * um,
        "nucleus_distance_um": np.full(len(y), np.nan),
        "relative_radius": 1 - edge / deepest,
    }
    if nuclei is not None and owner is not None:
        own["nucleus_distance_um"] = nucleus_distance(nuclei, owner, y, x, rank) * um
    known = {column.name for column in PUNCTA_COLUMNS}
    given = {name: spots[name].to_numpy() for name in spots.columns if name in known}
    table = build_table(PUNCTA_COLUMNS, {**given, "image": field.name, "frame": field.frame, **own}, len(y))
    further = [name for name in spots.columns if name not in known]
    return pd.concat([table, spots[further].reset_index(drop=True)], axis=1), rank


def puncta_of_cells(puncta: pd.DataFrame, rank: Ints, area_um2: Floats, settings: Settings) -> _Columns:
    """Return the columns that summarise each cell's puncta."""
    n = len(area_um2)
    at = rank >= 0
    cell = rank[at]
    inside = {name: puncta[name].to_numpy()[at] for name in puncta.columns if name not in ("image", "frame")}
    count = np.bincount(cell, minlength=n)
    nucleus = inside["nucleus_distance_um"]
    # A cell either has a nucleus, and all its puncta a distance, or it has none.
    perinuclear = np.where(np.isnan(nucleus), np.nan, nucleus <= settings.perinuclear_distance_um)
    return {
        "puncta_count": count,
        "puncta_per_um2": count / area_um2,
        "puncta_intensity_sum": np.bincount(cell, inside["intensity"], minlength=n),
        "puncta_intensity_mean": means(inside["intensity"], cell, n),
        "puncta_intensity_median": medians(inside["intensity"], cell, n),
        "puncta_width_um": medians(inside["width_um"], cell, n),
        "puncta_snr": medians(inside["snr"], cell, n),
        "puncta_edge_distance_um": medians(inside["edge_distance_um"], cell, n),
        "puncta_nucleus_distance_um": medians(nucleus, cell, n),
        "puncta_relative_radius": means(inside["relative_radius"], cell, n),
        "central_fraction": means(inside["relative_radius"] < settings.central_radius, cell, n),
        "perinuclear_fraction": means(perinuclear, cell, n),
    }


def cell_means(channels: Mapping[str, npt.NDArray[np.generic]], regions: Regions) -> _Columns:
    """Return the whole-cell means of all channels (YX, by role) but exosomes and markers."""
    roles = [role for role in ROLES if role in channels and not is_exosome_role(role)]
    return {f"{role}_mean": regions.sums(channels[role]) / regions.area for role in roles}


def exosome_intensities(image: npt.NDArray[np.generic], regions: Regions, level: Background) -> _Columns:
    """Return the whole-cell mean and sums of an exosome channel (YX)."""
    total = regions.sums(image)
    return {
        "exosome_mean": total / regions.area,
        "exosome_integrated": total - regions.area * level.median,
        "ctcf": total - regions.area * level.mean,
    }


def _nuclei_of_cells(
    nuclei: Regions | None, owner: Ints | None, area_um2: Floats, pixel_size_um: float
) -> _Columns:
    """Return number and area of each cell's nuclei; nothing without a nuclear stain."""
    if nuclei is None or owner is None:
        return {}
    owned = owner >= 0
    count = np.bincount(owner[owned], minlength=len(area_um2))
    area = np.bincount(owner[owned], nuclei.area[owned], minlength=len(area_um2)) * pixel_size_um**2
    return {
        "nucleus_count": count,
        "no_nucleus": count == 0,
        "many_nuclei": count > 1,
        "nucleus_area_um2": area,
        "nucleus_cell_area_ratio": area / area_um2,
    }

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
from napari_tam.markers.labels import LABEL, by_label, is_exosome_role
from napari_tam.markers.names import is_marker_role, marker_of
from napari_tam.measure.again import Measured, measure_again
from napari_tam.measure.colocalisation import CellPixels, colocalise
from napari_tam.measure.groups import means, medians
from napari_tam.measure.intensity import contrast_to_noise
from napari_tam.measure.labels import label_distance, nearest_other, together
from napari_tam.measure.local import Around, Columns, Picture, Places
from napari_tam.measure.markers import measure_markers
from napari_tam.measure.place import nearest_pixel
from napari_tam.settings import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_tam.io.field import Field
    from napari_tam.measure.intensity import Background
    from napari_tam.measure.regions import Floats, Ints
    from napari_tam.settings import Settings


@dataclass(frozen=True)
class Tables:
    """The measurements of a field.

    Attributes
    ----------
    table, puncta, summary
        See `measure`.
    measured
        What the next measurement of the same picture can begin with.
    """

    table: pd.DataFrame
    puncta: pd.DataFrame
    summary: dict[str, object]
    measured: Measured


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
    found = measure_field(field, cells, nuclei, spots, settings, raw_exosomes)
    return found.table, found.puncta, found.summary


def measure_field(
    field: Field,
    cells: npt.NDArray[Any],
    nuclei: npt.NDArray[Any] | None,
    spots: pd.DataFrame,
    settings: Settings,
    raw_exosomes: Mapping[str, npt.NDArray[Any]] | None = None,
    earlier: Measured | None = None,
) -> Tables:
    """Measure as `measure` does, with `earlier` only those cells that are not as they were.

    Parameters
    ----------
    field, cells, nuclei, spots, settings, raw_exosomes
        See `measure`.
    earlier
        Of a measurement of the very same channels, with other masks or puncta.
    """
    check_labels(cells, nuclei, field.shape)
    empty = pd.Series(dtype=float)
    y, x = (spots.get(name, empty).to_numpy(np.float64) for name in ("y_px", "x_px"))
    around: Around | None = None
    if earlier is None or (nuclei is None) != (earlier.nuclei is None) or needs_the_whole(field):
        around = Around.of(cells, nuclei)
        picture = Picture.of(field, raw_exosomes or {}) if earlier is None else earlier.picture
        measured = Measured.of(picture, around, cells, nuclei, y, x)
    else:
        measured = measure_again(earlier, cells, nuclei, y, x)
    whole = _Whole(field, measured, around, settings)
    parts = {label: _measure_exosomes(whole, label, role, spots) for label, role in field.exosomes.items()}
    first = next(iter(parts.values()))
    own = measured.cells.values
    n = len(measured.cells.ids)
    values: Columns = {"label": measured.cells.ids, **whole.own_columns, **first.values}
    level = measured.levels["cell"].background
    values["contrast_to_noise"] = contrast_to_noise(values["cell_mean"], level.median, measured.picture.noise)
    marked, marker_levels = whole.markers
    columns = (
        *CELL_COLUMNS,
        *marker_columns([marker_of(role) for role in field.channels if is_marker_role(role)]),
    )
    table = build_table(columns, {"image": field.name, "frame": field.frame, **values, **marked}, n)
    notes = dict.fromkeys(note for part in parts.values() for note in part.notes)
    summary = {
        "image": field.name,
        "frame": field.frame,
        "cells": n,
        "nuclei": None if nuclei is None else len(measured.nuclear_ids),
        **first.summary,
        "cell_area_fraction": float(own["area_px"].sum() / cells.size),
        "cells_touching_border": int(own["touches_border"].sum()),
        "focus_score": _median(values["focus_score"]),
        "notes": "; ".join([*field.notes, *notes]),
        **marker_levels,
    }
    listed = [column.name for column in SUMMARY_COLUMNS]
    summary = {name: summary[name] for name in (*listed, *marker_levels)}
    if len(parts) == 1:
        return Tables(table, first.puncta, summary, measured)
    return Tables(*_with_labels(whole, parts, table, summary), measured)


def needs_the_whole(field: Field) -> bool:
    """Whether a column of some cells depends on all cells, beyond the background: of these none is kept."""
    return (
        len(field.exosomes) > 1
        or "lysosome" in field.channels
        or any(is_marker_role(role) for role in field.channels)
    )


def _with_labels(
    whole: _Whole, parts: Mapping[str, Exosomes], table: pd.DataFrame, summary: dict[str, object]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, object]]:
    """Add the columns of several exosome labels to tables and summary."""
    settings, um, around = whole.settings, whole.field.pixel_size_um, whole.around
    assert around is not None
    regions = around.cells
    labelled = by_label({label: part.values for label, part in parts.items()})
    table = pd.concat([table, build_table(label_columns(list(parts)), labelled, len(regions))], axis=1)
    summary |= by_label({label: part.summary for label, part in parts.items()})
    puncta = stacked(parts)
    rank = np.concatenate([part.rank for part in parts.values()])
    limit_um = label_distance(puncta, settings)
    places = puncta[["y_px", "x_px"]].to_numpy(np.float64) * um
    puncta["other_label_um"] = nearest_other(places, rank, puncta[LABEL])
    found = together(list(parts), puncta, places, rank, regions, whole.pixels, limit_um, um, settings)
    table = pd.concat([table, build_table(together_columns(list(parts)), found, len(regions))], axis=1)
    return table, puncta, summary | {"label_distance_um": limit_um}


@dataclass(frozen=True)
class _Whole:
    """A field, and what is the same for all its exosome channels; `around` only where it is needed."""

    field: Field
    measured: Measured
    around: Around | None
    settings: Settings

    @cached_property
    def own_columns(self) -> Columns:
        """The columns that are values of `napari_tam.measure.local.Cells`, or follow from them alone."""
        own, um, n = self.measured.cells.values, self.field.pixel_size_um, len(self.measured.cells.ids)
        names = {column.name for column in CELL_COLUMNS}
        columns = {name: each for name, each in own.items() if name in names}
        roles = [role for role in ROLES if f"total {role}" in own and not is_exosome_role(role)]
        columns |= {f"{role}_mean": own[f"total {role}"] / own["area_px"] for role in roles}
        if self.measured.nuclei is not None:
            count, area = own["nucleus_count"], own["nucleus_px"] * um**2
            columns |= {"no_nucleus": count == 0, "many_nuclei": count > 1, "nucleus_area_um2": area}
            columns["nucleus_cell_area_ratio"] = area / own["area_um2"]
        assert all(len(each) == n for each in columns.values())
        return columns

    @cached_property
    def pixels(self) -> CellPixels | None:
        """The pixels as they are turned inside their cells; None without cells."""
        around = self.around
        assert around is not None
        if not len(around.cells):
            return None
        return CellPixels.of(around.cells, around.distance, self.measured.nuclei)

    @property
    def markers(self) -> tuple[Columns, dict[str, float]]:
        """Columns and summary of the marker channels."""
        if self.around is None:
            return {}, {}
        around = self.around
        return measure_markers(self.field, around.cells, around.distance, self.measured.nuclei, self.settings)


@dataclass(frozen=True)
class Exosomes:
    """What is measured of one exosome channel: columns of the cells, puncta with their cells, summary."""

    values: Columns
    puncta: pd.DataFrame
    rank: Ints
    summary: dict[str, object]
    notes: tuple[str, ...]


def _measure_exosomes(whole: _Whole, label: str, role: str, spots: pd.DataFrame) -> Exosomes:
    """Measure one exosome channel; `spots` are those of all."""
    field, measured, settings = whole.field, whole.measured, whole.settings
    cells = measured.cells
    own = cells.values
    level = measured.levels[role].background
    places = measured.places
    if label and LABEL in spots:
        rows = np.flatnonzero(spots[LABEL] == label)
        spots, places = spots.iloc[rows], places.at(rows)
    puncta, rank = _puncta(field, places, spots), cells.ranks(places.label)
    values = puncta_of_cells(puncta, rank, own["area_um2"], settings)
    values |= exosome_intensities(own[f"total {role}"], own["area_px"], level)
    if "lysosome" in field.channels:
        assert whole.around is not None
        values |= _with_lysosomes(whole, whole.around, role, puncta, rank)
    values["saturated_fraction"] = own[f"saturated {role}"] / own["area_px"]
    share = measured.picture.saturation[role][1]
    summary = {**exosome_summary(rank, level), "saturated_fraction": share}
    return Exosomes(values, puncta, rank, summary, level.notes)


def _with_lysosomes(whole: _Whole, around: Around, role: str, puncta: pd.DataFrame, rank: Ints) -> Columns:
    """Return the co-localisation of an exosome channel with the lysosomes."""
    channels, regions = whole.field.channels, around.cells
    row, col = nearest_pixel(puncta["y_px"].to_numpy(), puncta["x_px"].to_numpy(), regions.shape)
    centroids = (row * regions.shape[1] + col)[rank >= 0]
    return colocalise(channels[role], channels["lysosome"], regions, whole.pixels, centroids, whole.settings)


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


def _puncta(field: Field, places: Places, spots: pd.DataFrame) -> pd.DataFrame:
    """Return the puncta table."""
    empty, um = pd.Series(dtype=float), field.pixel_size_um
    y, x = (spots.get(name, empty).to_numpy(np.float64) for name in ("y_px", "x_px"))
    own: Columns = {
        "label": places.label,
        "y_px": y,
        "x_px": x,
        "y_um": y * um,
        "x_um": x * um,
        "edge_distance_um": places.edge_px * um,
        "nucleus_distance_um": places.nucleus_px * um,
        "relative_radius": places.relative_radius,
    }
    known = {column.name for column in PUNCTA_COLUMNS}
    given = {name: spots[name].to_numpy() for name in spots.columns if name in known}
    table = build_table(PUNCTA_COLUMNS, {**given, "image": field.name, "frame": field.frame, **own}, len(y))
    further = [name for name in spots.columns if name not in known]
    return pd.concat([table, spots[further].reset_index(drop=True)], axis=1)


def puncta_of_cells(puncta: pd.DataFrame, rank: Ints, area_um2: Floats, settings: Settings) -> Columns:
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


def exosome_intensities(total: Floats, area: Floats, level: Background) -> Columns:
    """Return the whole-cell mean and sums of an exosome channel, from each cell's sum and pixels."""
    return {
        "exosome_mean": total / area,
        "exosome_integrated": total - area * level.median,
        "ctcf": total - area * level.mean,
    }

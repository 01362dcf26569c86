"""The columns that there are once an exosome label, where an image has several exosome channels.

They are those of `napari_tam.columns` about exosomes with the label's name behind theirs; the columns without
a name are those of the first label.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from napari_tam.columns import (
    CELL_COLUMNS,
    DECISION_COLUMNS,
    PUNCTA_COLUMNS,
    STEP_COLUMNS,
    SUMMARY_COLUMNS,
    VOLUME_CELL_COLUMNS,
    VOLUME_SUMMARY_COLUMNS,
    Column,
)
from napari_tam.markers.labels import LABEL, of_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

#: Columns of cells.csv about exosomes, besides all of these groups.
_GROUPS = ("puncta", "place", "partners")
_CELLS = ("exosome_mean", "exosome_integrated", "ctcf", "saturated_fraction")
_OF_VOLUMES = (
    "puncta_per_um3",
    "internal_count",
    "membrane_count",
    "internal_fraction",
    "membrane_fraction",
    "puncta_depth_um",
)

#: What is measured of each label in cells.csv (of volumes, the last six as well), and in images.csv.
OF_CELLS = tuple(c.name for c in CELL_COLUMNS if c.group in _GROUPS or c.name in _CELLS) + _OF_VOLUMES
OF_IMAGES = (
    "puncta",
    "puncta_in_cells",
    "puncta_outside",
    "exosome_background",
    "exosome_background_mean",
    "exosome_background_method",
    "saturated_fraction",
    "puncta_threshold",
    "puncta_false_share",
    "membrane_distance_um",
    "puncta_internal",
    "puncta_membrane",
)

#: Of each pair of labels, in cells.csv.
_TOGETHER = "puncta_with_"


def _named(columns: Iterable[Column], labels: Sequence[str]) -> tuple[Column, ...]:
    columns = list(columns)
    return tuple(
        replace(each, name=of_label(each.name, label), definition=f"{each.name} of the label {label} alone.")
        for label in labels
        for each in columns
    )


def label_columns(labels: Sequence[str] = ("LABEL",), *, volume: bool = False) -> tuple[Column, ...]:
    """Return what the per-cell table has of each label, where there are several."""
    known = (*CELL_COLUMNS, *VOLUME_CELL_COLUMNS) if volume else CELL_COLUMNS
    return _named((column for column in known if column.name in OF_CELLS), labels)


def label_decision_columns(labels: Sequence[str] = ("LABEL",)) -> tuple[Column, ...]:
    """Return what `napari_tam.uptake.decide` decides about each cell for each label."""
    return _named(DECISION_COLUMNS, labels)


def label_summary_columns(labels: Sequence[str] = ("LABEL",), *, volume: bool = False) -> tuple[Column, ...]:
    """Return what the images table has of each label."""
    more = VOLUME_SUMMARY_COLUMNS if volume else ()
    known = (column for column in (*SUMMARY_COLUMNS, *STEP_COLUMNS, *more) if column.name in OF_IMAGES)
    return _named(known, labels)


def together_column(label: str, other: str) -> str:
    """Return the column of the share of a label's puncta that have one of another beside them."""
    return of_label(f"{_TOGETHER}{other}", label)


def chance_column(label: str, other: str) -> str:
    """Return the column of what chance gives for `together_column`."""
    return of_label(f"{_TOGETHER}{other}_random", label)


def together_columns(labels: Sequence[str] = ("LABEL", "OTHER")) -> tuple[Column, ...]:
    """Return what `napari_tam.measure.labels` adds to the per-cell table for every ordered pair of labels."""
    pairs = [(label, other) for label in labels for other in labels if other != label]
    return tuple(
        column
        for label, other in pairs
        for column in (
            Column(
                together_column(label, other),
                "number",
                "",
                "partners",
                f"Share of the cell's puncta of {label} that have one of {other} in the same cell within "
                "label_distance_um (images.csv); missing without puncta of the label.",
                "Bolte & Cordelières 2006, J Microsc 224:213, centroid distances",
            ),
            Column(
                chance_column(label, other),
                "number",
                "",
                "partners",
                f"The same when the puncta of {label} are turned inside the cell: mean of the setting "
                "colocalisation_randomisations turns, each punctum within its shell of equal distance from "
                "the nucleus (8 shells; without a nucleus: of equal relative depth below the edge), by 10 % "
                "to 90 % of the circle. What chance gives.",
                "after Costes et al. 2004",
            ),
        )
    )


#: What puncta.csv has more where there are several labels.
LABEL_PUNCTA_COLUMNS: tuple[Column, ...] = (
    Column(LABEL, "text", "", "keys", "The exosome label; only where there are several."),
    Column(
        "other_label_um",
        "number",
        "µm",
        "partners",
        "Distance to the nearest punctum of another label in the same cell; missing without one. Only where "
        "there are several labels.",
    ),
)

#: What images.csv has more.
LABEL_SUMMARY_COLUMNS: tuple[Column, ...] = (
    Column(
        "label_distance_um",
        "number",
        "µm",
        "partners",
        "Puncta of two labels nearer than this count as being in one place: the setting, or the larger of "
        "the labels' typical widths (median full width at half maximum), which is what the microscope "
        "resolves.",
    ),
)


def as_first(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return a table of cells or images whose columns without a name are those of a label.

    Parameters
    ----------
    table
        cells.csv or images.csv.
    label
        The label; empty where there is one exosome channel: the very same table.
    """
    if not label:
        return table
    known = (*OF_CELLS, *OF_IMAGES, *(column.name for column in DECISION_COLUMNS))
    own = {name: table[of_label(name, label)] for name in known if of_label(name, label) in table}
    return table.assign(**own)


@cache
def reserved_labels() -> frozenset[str]:
    """Return what no label can be called (casefolded): with it a column would get the name of another one."""
    known = {
        column.name
        for column in (
            *CELL_COLUMNS,
            *VOLUME_CELL_COLUMNS,
            *SUMMARY_COLUMNS,
            *STEP_COLUMNS,
            *VOLUME_SUMMARY_COLUMNS,
            *DECISION_COLUMNS,
            *PUNCTA_COLUMNS,
        )
    }
    stems = {*OF_CELLS, *OF_IMAGES, *(column.name for column in DECISION_COLUMNS), "exosome"}
    ends = {name[len(stem) + 1 :] for name in known for stem in stems if name.startswith(f"{stem}_")}
    return frozenset(end.casefold() for end in ends)

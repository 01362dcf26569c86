"""Several exosome channels: what their labels are called in settings, fields and tables.

Tumour exosomes with GFP beside macrophage exosomes with PKH26: in the settings they are listed under the role
``exosome``. A field with one exosome channel has it as ``exosome``; with several each has a role of its own,
``exosome_GFP``. In the tables of such a field every column about exosomes is there once a label, with the
label's name behind it (``puncta_count_GFP``); the columns without a name are those of the first label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_tam.markers.names import slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

#: The role of the exosomes, and how that of one label among several begins.
EXOSOME = "exosome"

#: The column of puncta, candidates and thresholds that names the label where there are several.
LABEL = "exosome_label"


def exosome_role(name: str) -> str:
    """Return the role that one label of several has in a field: ``exosome_GFP``."""
    return f"{EXOSOME}_{slug(name)}"


def label_of(role: str) -> str:
    """Return the label of a role: ``GFP`` of ``exosome_GFP``; empty for anything else."""
    name = role.removeprefix(f"{EXOSOME}_")
    return name if name != role and name and slug(name) == name else ""


def is_exosome_role(role: str) -> bool:
    """Tell whether a role of a field is that of exosomes."""
    return role == EXOSOME or bool(label_of(role))


def exosomes_in(roles: Iterable[str]) -> dict[str, str]:
    """Return the exosome channels among roles, in their order: label (empty for a single one) to role."""
    return {label_of(role): role for role in roles if is_exosome_role(role)}


def labels_in(roles: Iterable[str]) -> list[str]:
    """Return the labels of several exosome channels among roles, in their order; none for a single one."""
    return [name for name in exosomes_in(roles) if name]


def first_exosome(channels: Mapping[str, Any]) -> Any:
    """Return the channel of the first label.

    Raises
    ------
    KeyError
        If there is no exosome channel.
    """
    role = next((role for role in channels if is_exosome_role(role)), EXOSOME)
    return channels[role]


def of_label(column: str, label: str) -> str:
    """Return a column's name for a label: ``puncta_count_GFP``; without a label the column itself."""
    return f"{column}_{label}" if label else column


def by_label(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is known of each label, by label and column, as one row with the columns of each."""
    return {of_label(name, label): own for label, each in values.items() for name, own in each.items()}


def by_label_and_first(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the same, and without a label's name what is known of the first."""
    return by_label(values) | dict(next(iter(values.values()), {}))


def labels_of(columns: Iterable[str]) -> list[str]:
    """Return the labels that a table of cells has columns of, in their order; none for a single channel."""
    start = "exosome_integrated_"
    return [name.removeprefix(start) for name in columns if name.startswith(start)]


def labels_counted(columns: Iterable[str]) -> list[str]:
    """Return the labels that a row of images.csv counts puncta of, in their order; none for one channel."""
    start = "puncta_in_cells_"
    return [name.removeprefix(start) for name in columns if name.startswith(start)]


def rows_of(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return the rows of a label in a table of puncta or candidates.

    Parameters
    ----------
    table
        With the column `LABEL` where there are several labels.
    label
        The label; empty where there is one exosome channel: all rows.
    """
    return table[table[LABEL] == label] if label and LABEL in table else table

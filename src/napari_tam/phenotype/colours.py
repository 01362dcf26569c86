"""The colours of phenotypes, the same in every picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_tam.columns import class_column
from napari_tam.phenotype.classify import UNCERTAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

#: Colours of classes in their order (Okabe and Ito: apart for colour-blind eyes too), and uncertain.
CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442")
UNCERTAIN_COLOUR = "#A0A0A0"


def phenotype_colours(classes: Sequence[str]) -> dict[str, str]:
    """Return the colour (#RRGGBB) of every class, and of uncertain."""
    colours = {name: CLASS_COLOURS[k % len(CLASS_COLOURS)] for k, name in enumerate(classes)}
    return colours | {UNCERTAIN: UNCERTAIN_COLOUR}


def classes_of(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the class names of a per-cell table, in the order of its probability columns."""
    names = [name for name in table["phenotype"].dropna().unique() if name != UNCERTAIN]
    columns = [name.removeprefix("p_") for name in table.columns if name.startswith("p_")]
    known = {class_column(name): name for name in names}
    return tuple(known.get(column, column.upper()) for column in columns)

"""A colour for every row of a table by one of its columns: categorical for classes, viridis for numbers.

Both suit colour-blind readers; the classes' colours are those of Okabe and Ito.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

#: What has no value; "uncertain" has the same colour.
MISSING = "#A0A0A0"

#: The dimmest and brightest of this share (per cent) have the end colours of the scale.
CLIPPED = 2.0


@dataclass(frozen=True)
class Colouring:
    """Colours and what they mean.

    Attributes
    ----------
    rgba
        (N, 4) float32, one colour per row.
    legend
        Texts and their colours (#RRGGBB); for numbers the ends and the middle of the scale.
    """

    rgba: npt.NDArray[np.float32]
    legend: tuple[tuple[str, str], ...]


def is_number(values: pd.Series) -> bool:
    """Whether a column is coloured along a scale."""
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def colour_column(table: pd.DataFrame, column: str) -> Colouring:
    """Give every cell of a table the colour of its value in a column; phenotypes have their own."""
    if column == "phenotype":
        from napari_tam.phenotype.colours import classes_of, phenotype_colours

        return colour_rows(table[column], phenotype_colours(classes_of(table)))
    return colour_rows(table[column])


def colour_rows(values: pd.Series, known: Mapping[str, str] | None = None) -> Colouring:
    """Give every value of a column a colour; texts those of `known`, or one after the other."""
    if is_number(values):
        return _scale(values.to_numpy(np.float64, na_value=np.nan))
    texts = values.astype("string")
    names = sorted(texts.dropna().unique())
    if known is None:
        from napari_tam.phenotype.classify import UNCERTAIN
        from napari_tam.phenotype.colours import phenotype_colours

        known = phenotype_colours([name for name in names if name != UNCERTAIN])
    colours = {name: known.get(name, MISSING) for name in names}
    shades = {name: _rgba(colour) for name, colour in colours.items()}
    missing = _rgba(MISSING)
    rgba = np.array([shades.get(text, missing) for text in texts.fillna("").tolist()], np.float32)
    return Colouring(rgba.reshape(-1, 4), tuple(colours.items()))


def _scale(values: npt.NDArray[np.float64]) -> Colouring:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    viridis = colormaps["viridis"]
    known = np.isfinite(values)
    rgba = np.tile(np.array(_rgba(MISSING), np.float32), (len(values), 1))
    if not known.any():
        return Colouring(rgba, (("no value", MISSING),))
    low, high = np.percentile(values[known], [CLIPPED, 100 - CLIPPED])
    share = (values[known] - low) / (high - low) if high > low else np.full(known.sum(), 0.5)
    rgba[known] = viridis(np.clip(share, 0, 1)).astype(np.float32)
    ends = ((low, 0.0), ((low + high) / 2, 0.5), (high, 1.0))
    return Colouring(rgba, tuple((f"{value:.3g}", to_hex(viridis(at))) for value, at in ends))


def _rgba(colour: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 1.0

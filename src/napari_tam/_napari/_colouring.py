"""A colour for every row of a table by one of its columns: categorical for classes, viridis for numbers.

Both suit colour-blind readers; the classes' colours are those of Okabe and Ito.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

#: Colour of missing values.
MISSING = "#A0A0A0"

#: Colours of classes in their order (Okabe and Ito 2008).
CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#F0E442")

#: The colour scale is clipped at this percentile and at 100 minus it.
CLIPPED = 2.0

#: A class of this name has the colour of missing values.
UNCERTAIN = "uncertain"


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


def class_colours(names: list[str]) -> dict[str, str]:
    """Return the colour (#RRGGBB) of every class."""
    named = [name for name in names if name != UNCERTAIN]
    colours = {name: CLASS_COLOURS[k % len(CLASS_COLOURS)] for k, name in enumerate(sorted(named))}
    return colours | ({UNCERTAIN: MISSING} if UNCERTAIN in names else {})


def colour_rows(values: pd.Series) -> Colouring:
    """Give every value of a column a colour."""
    if is_number(values):
        return _scale(values.to_numpy(np.float64, na_value=np.nan))
    texts = values.astype("string")
    colours = class_colours(sorted(texts.dropna().unique()))
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

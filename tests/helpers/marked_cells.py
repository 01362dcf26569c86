"""Tables of cells whose markers, types and controls are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

#: Median light of negative and positive cells, and the spread (SD of the logarithm) of both.
DARK, BRIGHT, SPREAD = 40.0, 400.0, 0.4


def light(rng: np.random.Generator, positive: Any, gain: float = 1.0) -> Any:
    """Return light of cells that are positive or not."""
    median = np.where(positive, BRIGHT, DARK)
    return gain * median * np.exp(rng.normal(0, SPREAD, len(positive))) + rng.normal(0, 4, len(positive))


def cells_of(
    image: str, markers: dict[str, Any], role: str = "", plate: str = "", **about: Any
) -> pd.DataFrame:
    """Return a table of cells of one image, with the columns of the layout."""
    n = len(next(iter(markers.values())))
    table = pd.DataFrame({"image": image, "label": np.arange(1, n + 1)})
    for name, values in markers.items():
        for part in ("mean", "median", "integrated"):
            table[f"marker_{name}_{part}"] = values
    layout = {"well": "", "condition": "", "dose": np.nan, "time": np.nan, "donor": "", "replicate": ""}
    return table.assign(**(layout | about), plate=plate, control_role=role)


def images_of(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image with its plate and control_role."""
    return cells[["image", "plate", "control_role"]].drop_duplicates().reset_index(drop=True)

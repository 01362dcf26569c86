"""A colour for every cell, looked up in one array.

napari asks a `DirectLabelColormap` for the colours of all 65,536 values of a 16-bit layer, compiles a
function for that (seconds, the first time) and then fills a table in a Python loop (0.1 s, with every
selected cell).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

if TYPE_CHECKING:
    import pandas as pd

#: More labels than this do not fit into 16 bits; napari's own colormap takes any number.
MOST = np.iinfo(np.uint16).max


class CellColours(DirectLabelColormap):
    """A faster `DirectLabelColormap` with the same colours."""

    @classmethod
    def of(cls, labels: Any, rgba: Any) -> CellColours:
        """Give labels (N,) colours (N, 4); one that is not among them (it is being painted) is white."""
        colours: dict[int | None, Any] = {None: np.ones(4, np.float32), 0: np.zeros(4, np.float32)}
        colours |= dict(zip(np.asarray(labels).tolist(), rgba, strict=True))
        return cls(color_dict=colours)

    @classmethod
    def of_column(cls, table: pd.DataFrame, column: str) -> CellColours:
        """Colour the cells of a table by a column."""
        from napari_tam._napari._column_colours import colour_column

        return cls.of(table["label"].to_numpy(), colour_column(table, column).rgba)

    def _map_without_cache(self, values: Any) -> Any:
        """Return the colours of values, (..., 4) float32 (napari keeps what it returns)."""
        known = {label: colour for label, colour in self.color_dict.items() if label is not None}
        if not known or min(known) < 0 or max(known) > MOST:
            return super()._map_without_cache(values)
        table = np.tile(np.asarray(self.default_color, np.float32), (MOST + 2, 1))
        table[list(known)] = np.array(list(known.values()), np.float32)
        return table[np.clip(np.asarray(values, np.int64), -1, MOST + 1)]


def small(labels: Any) -> Any:
    """Return a copy of labels (YX) as uint16 if they fit, which is drawn from the array directly."""
    fits = labels.size == 0 or int(labels.max()) <= MOST
    return np.array(labels, np.uint16 if fits else labels.dtype)

"""Backgrounds of a picture that is analysed in tiles: those of the whole picture, not of each tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.markers.labels import of_label
from napari_tam.markers.names import is_marker_role
from napari_tam.measure.intensity import BACKGROUND_MARGIN_PX

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.pipeline.tile_labels import Tile

#: Every so many rows and columns are looked at for the background.
STEP = 4

#: What of a marker is a mean, from which the background is taken as it is.
_MEANS = ("mean", "median", "nucleus_mean", "cytoplasm_mean", "rim_mean")


@dataclass(frozen=True)
class Level:
    """One background, and what it was taken from.

    Attributes
    ----------
    role
        The channel.
    name
        Its column in the images table.
    mean
        Whether it is the mean of the pixels outside cells; else their median.
    sums, means
        Columns of cells from which it was taken once a pixel, or once.
    """

    role: str
    name: str
    mean: bool
    sums: tuple[str, ...]
    means: tuple[str, ...] = ()

    def add(self, table: pd.DataFrame, area_px: Any, level: float) -> None:
        """Add a background to the columns of a table of cells."""
        for column in self.sums:
            table[column] += area_px * level
        for column in self.means:
            table[column] += level

    def of(self, free: npt.NDArray[Any], told: Sequence[dict[str, object]]) -> float:
        """Return the background of the whole picture.

        Parameters
        ----------
        free
            The channel's pixels outside cells; if there are none, the median of what the tiles say is taken.
        told
            The summaries of the tiles.
        """
        if len(free):
            return float(free.mean(dtype=np.float64)) if self.mean else float(np.median(free))
        return float(np.nanmedian([float(each[self.name]) for each in told]))  # type: ignore[arg-type]


def levels_of(field: Field) -> list[Level]:
    """Return the backgrounds of a field: of its exosome channels and markers."""
    found = []
    exosomes = field.exosomes
    for number, (label, role) in enumerate(exosomes.items()):
        # the columns without a name are those of the first label
        for name in dict.fromkeys(("", label)) if number == 0 else (label,):
            integrated, ctcf = (of_label(column, name) for column in ("exosome_integrated", "ctcf"))
            found.append(Level(role, of_label("exosome_background", name), False, (integrated,)))
            found.append(Level(role, of_label("exosome_background_mean", name), True, (ctcf,)))
    for role in filter(is_marker_role, field.channels):
        means = tuple(f"{role}_{part}" for part in _MEANS)
        found.append(Level(role, f"{role}_background", False, (f"{role}_integrated",), means))
    return found


def free_pixels(analysis: Analysis, tile: Tile, roles: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return some of the pixels of channels in a tile's core that are no cell, clear of their edges."""
    import cv2

    core = tuple(
        slice(own.start - start, own.stop - start) for own, start in zip(tile.core, tile.origin, strict=True)
    )
    size = 2 * BACKGROUND_MARGIN_PX + 1
    near = cv2.dilate((analysis.cells > 0).astype(np.uint8), np.ones((size, size), np.uint8))
    every = slice(None, None, STEP)
    outside = near[core][every, every] == 0
    return {role: analysis.field.channels[role][core][every, every][outside] for role in roles}

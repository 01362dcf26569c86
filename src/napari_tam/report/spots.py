"""Where the dots and wells of a figure are in its picture, so that the page can tell what one points at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.report.numbers import number

if TYPE_CHECKING:
    from collections.abc import Hashable

    import pandas as pd
    from matplotlib.figure import Figure

    from napari_tam.report.style import Drawn, Spots

#: Places are whole numbers, of which this is the width or the height of a figure.
WHOLE = 10_000


@dataclass(frozen=True)
class Column:
    """Places of a figure between which the arrow keys go up and down.

    Attributes
    ----------
    names
        What the figure tells of each.
    places
        From the top: distance from the left and from the top (of `WHOLE`), what it stands for, and a text for
        each name.
    """

    names: tuple[str, ...]
    places: tuple[tuple[int, int, Hashable, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Pointed:
    """The places of one figure.

    Attributes
    ----------
    columns
        From left to right, axes after axes.
    size
        Width and height (of `WHOLE`) of places that are wells; None for dots that are cells.
    table
        That of the figure.
    """

    columns: tuple[Column, ...]
    size: tuple[int, int] | None
    table: pd.DataFrame


def pointed(drawn: Drawn) -> Pointed | None:
    """Return where the places of a figure are; None where one cannot point at any.

    The figure must have been drawn (encoded): only then its layout is known. Places beyond the axes are left
    out, as they are not seen either.
    """
    columns = [column for spots in drawn.spots for column in _columns(drawn.figure, spots)]
    if not columns:
        return None
    size = None
    if drawn.spots[0].size is not None:
        corners = _shares(drawn.figure, drawn.spots[0], np.array([(0.0, 0.0), drawn.spots[0].size]))
        width, height = np.abs(corners[1] - corners[0]).round().astype(int)
        size = int(width), int(height)
    return Pointed(tuple(columns), size, drawn.table)


def _shares(figure: Figure, spots: Spots, places: Any) -> Any:
    """Return places (N × 2, units of the axis) as distances from the figure's left and top (of `WHOLE`)."""
    pixels = spots.axis.transData.transform(places)
    shares = WHOLE * pixels / (figure.bbox.width, figure.bbox.height)
    return np.stack([shares[:, 0], WHOLE - shares[:, 1]], axis=1)


def _columns(figure: Figure, spots: Spots) -> list[Column]:
    places = np.stack([np.asarray(spots.x, float), np.asarray(spots.y, float)], axis=1)
    (left, right), (bottom, top) = (
        sorted(limits) for limits in (spots.axis.get_xlim(), spots.axis.get_ylim())
    )
    shown = (places >= (left, bottom)).all(axis=1) & (places <= (right, top)).all(axis=1)
    at = np.round(_shares(figure, spots, places))
    part = np.floor((places[:, 0] - left) / (right - left) * spots.slices)
    columns = []
    for k in np.unique(part[shown]):
        own = np.flatnonzero(shown & (part == k))
        own = own[np.lexsort((at[own, 0], at[own, 1]))]
        told = [
            (int(at[i, 0]), int(at[i, 1]), spots.keys[i], tuple(number(v[i]) for v in spots.values.values()))
            for i in own
        ]
        columns.append(Column(tuple(spots.values), tuple(told)))
    return columns

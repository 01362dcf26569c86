"""How the report's figures look: sizes, colours, users' names as plain text.

Everything is set on the figure itself: matplotlib's global settings and pyplot are left alone, so
that a report can be made inside another program (the plugin, a notebook).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Width of a figure in inches: the text width of an A4 page, so that fonts print at their size.
WIDTH = 7.0

#: Font sizes in points: axis labels, numbers, small print.
LABEL, TICK, SMALL = 9, 8, 7

#: Colours of replicates and conditions: apart for colour-blind eyes (Okabe and Ito; Tol), and none of
#: them is a phenotype's (`napari_tam.train.figures`). The shape or dash says the same again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#332288", "#882255", "#999933", "#44AA99")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
GREY, PALE, INK = "#8A8A8A", "#E6E6E6", "#222222"

#: Longer names are cut.
LONGEST = 32


class MissingData(Exception):
    """A figure that cannot be drawn; the text says why in one sentence."""


@dataclass(frozen=True)
class Spots:
    """Places in a figure that stand for a cell or a well, which the page tells when one points there.

    Attributes
    ----------
    axis
        Where they are.
    x, y
        In its units.
    keys
        What each stands for: the index of a row of `ReportData.cells`, or plate and well.
    values
        What is told of them by this figure: name and number of every place.
    slices
        The arrow keys go up and down in so many equal parts of the x axis.
    size
        Width and height in units of the axis; None for dots.
    """

    axis: Axes
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    keys: Sequence[Hashable] | pd.Index[Any]
    values: dict[str, npt.NDArray[np.float64]]
    slices: int = 1
    size: tuple[float, float] | None = None


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn.

    Attributes
    ----------
    figure
        The figure.
    table
        The numbers that it shows.
    caption
        What it shows, and how many.
    picture
        It consists of pictures: embedded as PNG, not as SVG.
    spots
        What one can point at.
    """

    figure: Figure
    table: pd.DataFrame
    caption: str
    picture: bool = False
    spots: tuple[Spots, ...] = ()


def plain(text: object, longest: int = LONGEST) -> str:
    """Return a user's text on one line and not too long, for a figure.

    Dollars are escaped (matplotlib would take what is between two for a formula), and characters
    that cannot be printed are dropped (they are not allowed in SVG).
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if len(line) > longest:
        line = line[: longest - 1].rstrip() + "…"
    return line.replace("$", r"\$")


def legend_text(text: object) -> str:
    """Return a user's text for a legend, which leaves out what begins with an underscore."""
    line = plain(text)
    return f" {line}" if line.startswith("_") else line


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Return a figure of the page's width and its axes (2-D array), not yet tidied.

    Parameters
    ----------
    height
        In inches.
    rows, columns
        Number of axes.
    **options
        For ``Figure.subplots``; ``width`` (inches) replaces the page's width.
    """
    from matplotlib.figure import Figure

    width = options.pop("width", WIDTH)
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        tidy(axis)
    return figure, axes


def tidy(axis: Axes) -> None:
    """Give axes the report's font sizes and only the two spines that carry numbers."""
    axis.spines[["top", "right"]].set_visible(False)
    for spine in ("left", "bottom"):
        axis.spines[spine].set_color(INK)
    axis.tick_params(labelsize=TICK, color=INK, labelcolor=INK)
    for label in (axis.xaxis.label, axis.yaxis.label, axis.title):
        label.set_fontsize(LABEL)
        label.set_color(INK)
    axis.title.set_fontweight("bold")


def legend(axis: Axes, handles: Sequence[Any], title: str, *, columns: int = 1) -> None:
    """Put a legend to the right of the axes."""
    axis.legend(
        handles=list(handles),
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
        ncols=columns,
    )


def threshold_line(axis: Axes, value: float, text: str) -> None:
    """Mark a value of the x axis by a dashed line, with a text beside its upper end."""
    axis.axvline(value, color=INK, linestyle="--", linewidth=1.2)
    axis.annotate(
        text,
        (value, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -2),
        textcoords="offset points",
        fontsize=SMALL,
        va="top",
    )


def spread(values: npt.NDArray[np.float64], half_width: float = 0.35) -> npt.NDArray[np.float64]:
    """Return sideways shifts that show how many values lie at each height.

    The width at a height follows the density there, and the places within it a van der Corput
    sequence (as in "quasirandom" plots): the same values always give the same picture.
    """
    number = len(values)
    if number < 3 or np.ptp(values) == 0:
        return (_corput(number) - 0.5) * half_width
    from scipy.stats import gaussian_kde

    heights = (values - values.min()) / np.ptp(values)  # the squares of tiny differences would be 0
    sample = heights if number <= 2000 else heights[:: number // 2000 + 1]
    if np.ptp(sample) == 0:
        return (_corput(number) - 0.5) * half_width
    grid = np.linspace(0, 1, 128)
    density = np.interp(heights, grid, gaussian_kde(sample)(grid))
    order = np.argsort(values, kind="stable")
    places = np.empty(number)
    places[order] = _corput(number) * 2 - 1
    return np.asarray(places * half_width * density / density.max())


def _corput(number: int) -> npt.NDArray[np.float64]:
    """Return the first terms of the van der Corput sequence in base 2, between 0 and 1."""
    index, places, weight = np.arange(1, number + 1), np.zeros(number), 0.5
    while index.any():
        places += weight * (index & 1)
        index = index >> 1
        weight /= 2
    return places


def upper_limit(values: npt.NDArray[np.float64], share: float = 99.5) -> float:
    """Return where an axis may end so that a few extreme cells do not flatten the others."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 1.0
    top, most = float(finite.max()), float(np.percentile(finite, share))
    # nothing above 0 anywhere: an axis needs some length
    return (top if top <= 1.5 * most or most <= 0 else most) or 1.0

"""Histograms of where the puncta lie: distance to the cell's edge and to its nucleus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_tam.report.data import ReportData, as_number, is_stated
from napari_tam.report.style import (
    COLOURS,
    DASHES,
    Drawn,
    MissingData,
    legend,
    legend_text,
    new_figure,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

#: Conditions drawn.
MOST_GROUPS = 6

#: A histogram of fewer puncta is not drawn.
LEAST = 20

DISTANCES = {
    "edge_distance_um": "distance to the cell's edge (µm)",
    "nucleus_distance_um": "distance to the nucleus (µm; 0 = over it)",
}


def place(data: ReportData) -> Drawn:
    """Draw how far the puncta lie from the edge of their cell and from its nucleus."""
    puncta = _puncta(data)
    shown = [name for name in DISTANCES if name in puncta and puncta[name].notna().sum() >= LEAST]
    if not shown:
        raise MissingData(f"fewer than {LEAST} puncta lie in cells")
    size = puncta["group"].value_counts()
    groups = [group for group in sorted(size.index) if size[group] >= LEAST]
    if not groups:
        puncta["group"], groups = "all cells", ["all cells"]
    kept = groups[:MOST_GROUPS]
    figure, axes = new_figure(2.7, 1, len(shown))
    tables = []
    for axis, name in zip(axes[0], shown, strict=True):
        edges = _edges(puncta[name].dropna().to_numpy(np.float64))
        for k, group in enumerate(kept):
            values = puncta.loc[puncta["group"] == group, name].dropna().to_numpy(np.float64)
            if len(values) >= LEAST:
                tables.append(_draw(axis, values, edges, k).assign(distance=name, group=group))
        axis.set(xlabel=DISTANCES[name], xlim=(0, edges[-1]), ylim=(0, None))
        axis.set_ylabel("share of the puncta (%)")
    _legend(axes[0, -1], kept, puncta)
    caption = (
        "Puncta inside cells; the curves add up to 100 %, so that conditions with unlike uptake compare."
    )
    if "nucleus_distance_um" not in shown:
        caption += " There is no distance to the nucleus, for there is no nuclear stain."
    else:
        caption += " Cells without a nucleus are left out on the right."
    if not data.has("z_step_um", data.analysed):
        caption += " One plane cannot tell whether a punctum lies in or on the cell."
    if len(groups) > len(kept):
        caption += f" The first {len(kept)} of {len(groups)} conditions are shown."
    return Drawn(figure, pd.concat(tables, ignore_index=True), caption)


def _puncta(data: ReportData) -> pd.DataFrame:
    """Return the puncta in cells that are no negative controls, and the condition of each."""
    puncta = data.puncta[data.puncta["label"] > 0].copy()
    for name in DISTANCES:
        if name in puncta:
            puncta[name] = as_number(puncta[name])
    if not data.has("condition"):
        return puncta.assign(group="all cells")
    treated = data.treated[is_stated(data.treated["condition"])]
    condition = treated.groupby("image")["condition"].first()
    puncta["group"] = puncta["image"].map(condition)
    return puncta.dropna(subset=["group"])


def _edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    top = max(1.0, float(np.ceil(np.percentile(values, 99))))
    step = next(s for s in (0.25, 0.5, 1, 2, 5, 10, 100) if top / s <= 40 or s == 100)
    return np.arange(0, top + step, step)


def _draw(
    axis: Axes, values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64], k: int
) -> pd.DataFrame:
    counts, _ = np.histogram(values, edges)
    share = 100 * counts / len(values)
    axis.stairs(
        share, edges, color=COLOURS[k % len(COLOURS)], linestyle=DASHES[k % len(DASHES)], linewidth=1.4
    )
    return pd.DataFrame({"from_um": edges[:-1], "to_um": edges[1:], "puncta": counts, "percent": share})


def _legend(axis: Axes, groups: list[str], puncta: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D

    number = puncta["group"].value_counts()
    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[k % len(COLOURS)],
            linestyle=DASHES[k % len(DASHES)],
            label=legend_text(group) + f" ({number[group]})",
        )
        for k, group in enumerate(groups)
    ]
    legend(axis, handles, "condition (puncta)")

"""How far the puncta stand out, and the threshold between what counts and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_tam.puncta.threshold import EDGES, LOWEST
from napari_tam.report.data import as_number
from napari_tam.report.style import COLOURS, GREY, Drawn, MissingData, new_figure, threshold_line, tidy

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_tam.puncta.threshold import Threshold
    from napari_tam.report.data import ReportData


def contrast_distribution(data: ReportData) -> Drawn:
    """Draw the contrasts that the threshold was learnt from, or those of the puncta where it was set."""
    threshold = data.puncta_threshold
    edges = np.array(EDGES)
    counts = np.array(threshold.histogram if threshold is not None else ())
    learnt = counts.size == len(EDGES) - 1 and counts.sum() > 0
    if not learnt:
        counts = _counts(data, edges)
    value = threshold.value if threshold is not None else data.settings.threshold_of(data.label) or LOWEST
    figure, axes = new_figure(2.5, 1, 1)
    axis = axes[0, 0]
    left_out = edges[:-1] < value
    for chosen, colour in ((left_out, GREY), (~left_out, COLOURS[0])):
        axis.bar(
            edges[:-1][chosen], counts[chosen], np.diff(edges)[chosen], align="edge", color=colour, alpha=0.7
        )
    axis.set_xscale("log", base=2)
    ticks = [tick for tick in (1, 2, 4, 8, 16, 32, 64, 128, 256) if edges[0] <= tick <= edges[-1]]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set(xlabel="contrast (SD of the structure around it)", ylabel="number of puncta", xlim=(1, 256))
    if value > LOWEST:
        threshold_line(axis, value, f"threshold {value:.3g}")
    tidy(axis)
    table = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "number": counts, "threshold": value})
    return Drawn(figure, table, _caption(threshold, value, learnt=learnt))


def _counts(data: ReportData, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    if not data.has("contrast", data.puncta):
        raise MissingData("the puncta have no contrast: the results are of an earlier version")
    values = as_number(data.puncta["contrast"])
    values = np.clip(values[np.isfinite(values)], edges[0], np.nextafter(edges[-1], 0))
    return np.histogram(values, edges)[0]


def _caption(threshold: Threshold | None, value: float, *, learnt: bool) -> str:
    shown = "puncta whose score is high enough"
    if not learnt:
        caption = "All puncta in the tables."
    elif threshold is not None and threshold.rule == "controls":
        caption = f"All {shown}, in cells of {len(threshold.images)} images of the control wells."
    else:
        images = 0 if threshold is None else len(threshold.images)
        caption = f"All {shown}, in {images} images that the threshold was learnt from."
    if value > LOWEST:
        caption += " Those left of the dashed line are not counted, in any image."
    if threshold is not None and threshold.reason:
        caption += f" The threshold: {threshold.reason}."
    return caption

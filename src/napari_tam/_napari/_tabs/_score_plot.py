"""The distribution of the candidates' scores with a line to drag: the score from which on they are puncta."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize

from napari_tam._napari._tabs._threshold_plot import ThresholdPlot

if TYPE_CHECKING:
    import numpy.typing as npt

#: Bars of the whole axis, and the scores that the line can be dragged to.
_BARS, _FIRST, _LAST = 25, 0.02, 0.98


class ScorePlot(ThresholdPlot):
    """Bars of scores on an axis from 0 to 1."""

    least_px = 80
    caption, lowest = "score of the candidates", 0.0
    ticks = (0, 0.2, 0.4, 0.6, 0.8, 1)

    def sizeHint(self) -> QSize:
        """Return a size for a dock."""
        return QSize(300, 90)

    def show_scores(self, scores: npt.NDArray[np.float64], value: float) -> None:
        """Draw other scores (N,), and the score in use."""
        self.value, self.highest = value, 1.0
        self.counts = np.histogram(scores, _BARS, (0, 1))[0]
        self.update()

    def _share(self, value: float) -> float:
        return value

    def _value_at(self, share: float) -> float:
        return float(np.clip(round(share, 2), _FIRST, _LAST))

    def _edge(self, number: int) -> float:
        return number / _BARS

"""The distribution of contrasts with a line to drag: the threshold of the puncta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    import numpy.typing as npt

#: The axis goes from here at least to there; what lies beyond is in the outermost bars.
LOWEST, LEAST_HIGHEST, HIGHEST = 1.0, 32.0, 512.0

#: Bars for each doubling of the contrast.
_BARS = 4

#: How near to the line (px) the mouse takes it.
_GRIP_PX = 12

#: Room (px) at the left, the top, the right, and the bottom, where the numbers stand.
_LEFT, _TOP, _RIGHT, _BOTTOM = 8, 22, 12, 34

_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class ThresholdPlot(QWidget):
    """Bars of contrasts on a logarithmic axis; kept and left out differ in colour.

    Parameters
    ----------
    kept, out
        Colours (#RRGGBB) of what lies above and below the line.
    """

    #: Emitted with the value that the line was dragged to.
    moved = Signal(float)

    #: What the axis says, where it begins, and its numbers.
    caption, lowest = "contrast of the candidates", LOWEST
    #: Its height (px) at least.
    least_px = 100
    ticks: tuple[float, ...] = _TICKS

    def __init__(self, kept: str, out: str) -> None:
        super().__init__()
        self._kept, self._out = QColor(kept), QColor(out)
        self.value = self.lowest
        #: Another threshold that is marked: that of the batch.
        self.mark: float | None = None
        self.highest = LEAST_HIGHEST
        self.counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.dragging = False
        self.setMouseTracking(True)
        self.setMinimumHeight(self.least_px)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Return a size for a dock."""
        return QSize(300, 125)

    def show_contrasts(self, contrast: npt.NDArray[np.float64], value: float, mark: float | None) -> None:
        """Draw other contrasts (N,), the threshold, and perhaps another one that is marked."""
        self.value, self.mark = max(value, LOWEST), mark
        bars = len(self.counts)
        if not self.dragging or not bars:  # the axis stays while the line is on its way
            top = max(LEAST_HIGHEST, self.value, mark or 0, float(contrast.max(initial=0)))
            bars = int(np.ceil(_BARS * np.log2(min(top, HIGHEST) / LOWEST)))
            self.highest = LOWEST * 2 ** (bars / _BARS)
        place = np.floor(_BARS * np.log2(np.maximum(contrast, LOWEST) / LOWEST)).astype(np.intp)
        self.counts = np.bincount(np.minimum(place, bars - 1), minlength=bars)
        self.update()

    def clear(self) -> None:
        """Draw nothing."""
        self.counts = np.zeros(0, np.int64)
        self.dragging = False
        self.update()

    def x_of(self, value: float) -> float:
        """Return where a value stands in the widget, in px."""
        return float(_LEFT + min(max(self._share(value), 0), 1) * (self.width() - _LEFT - _RIGHT))

    def contrast_at(self, x: float) -> float:
        """Return the value of a place in the widget, rounded to what the eye can place there."""
        share = np.clip((x - _LEFT) / max(self.width() - _LEFT - _RIGHT, 1), 0, 1)
        return self._value_at(float(share))

    def _share(self, value: float) -> float:
        """Return how far along the axis a value stands, from 0 to 1."""
        return float(np.log2(max(value, LOWEST) / LOWEST) / np.log2(self.highest / LOWEST))

    def _value_at(self, share: float) -> float:
        contrast = float(LOWEST * (self.highest / LOWEST) ** share)
        return round(contrast, 2 if contrast < 10 else 1)

    def _edge(self, number: int) -> float:
        """Return where a bar begins."""
        return float(LOWEST * 2 ** (number / _BARS))

    def mousePressEvent(self, event: Any) -> None:
        """Take the line."""
        near = abs(event.position().x() - self.x_of(self.value)) <= _GRIP_PX
        if event.button() == Qt.MouseButton.LeftButton and near and len(self.counts):
            self.dragging = True

    def mouseMoveEvent(self, event: Any) -> None:
        """Drag the line; without a button, show that it can be."""
        x = event.position().x()
        if self.dragging:
            value = self.contrast_at(x)
            if value != self.value:
                self.value = value
                self.update()
                self.moved.emit(value)
        elif len(self.counts) and abs(x - self.x_of(self.value)) <= _GRIP_PX:
            self.setCursor(Qt.CursorShape.SizeHorCursor)
        else:
            self.unsetCursor()

    def mouseReleaseEvent(self, _: Any) -> None:
        """Let the line go."""
        self.dragging = False

    def paintEvent(self, _: Any) -> None:
        """Draw bars, axis, and line."""
        if not len(self.counts):
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().windowText().color()
        bottom = self.height() - _BOTTOM
        self._draw_bars(painter, bottom)
        self._draw_axis(painter, bottom, ink)
        if self.mark is not None:
            painter.setPen(QPen(ink, 1, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(self.x_of(self.mark), _TOP), QPointF(self.x_of(self.mark), bottom))
        self._draw_line(painter, bottom, ink)
        painter.end()

    def _draw_bars(self, painter: QPainter, bottom: int) -> None:
        line, tallest = self.x_of(self.value), max(int(self.counts.max()), 1)
        for number, count in enumerate(self.counts.tolist()):
            left, right = (self.x_of(self._edge(number + end)) for end in (0, 1))
            height = (bottom - _TOP) * count / tallest
            for start, end, colour in (
                (left, min(right, line), self._out),
                (max(left, line), right, self._kept),
            ):
                if end > start and count:
                    box = QRectF(start, bottom - height, max(end - start - (end == right), 1), height)
                    painter.fillRect(box, colour)

    def _draw_axis(self, painter: QPainter, bottom: int, ink: QColor) -> None:
        painter.setPen(QPen(ink, 1))
        painter.drawLine(_LEFT, bottom, self.width() - _RIGHT, bottom)
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        for tick in self.ticks:
            if tick <= self.highest:
                x = self.x_of(tick)
                painter.drawLine(QPointF(x, bottom), QPointF(x, bottom + 3))
                box = QRectF(x - 20, bottom + 3, 40, 14)
                painter.drawText(box, Qt.AlignmentFlag.AlignCenter, f"{tick:g}")
        box = QRectF(_LEFT, bottom + 17, self.width() - _LEFT - _RIGHT, 16)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, self.caption)

    def _draw_line(self, painter: QPainter, bottom: int, ink: QColor) -> None:
        x = self.x_of(self.value)
        painter.setPen(QPen(ink, 2))
        painter.drawLine(QPointF(x, _TOP - 4), QPointF(x, bottom))
        painter.setBrush(ink)
        painter.drawPolygon(
            QPolygonF([QPointF(x - 5, _TOP - 9), QPointF(x + 5, _TOP - 9), QPointF(x, _TOP - 2)])
        )
        text = f"{self.value:g}" if self.value > self.lowest else "keeps all"
        left = min(max(x - 40, 0), self.width() - 80)
        align = Qt.AlignmentFlag.AlignLeft if left == 0 else Qt.AlignmentFlag.AlignHCenter
        painter.drawText(QRectF(max(left, 2), 0, 80, 13), align | Qt.AlignmentFlag.AlignVCenter, text)

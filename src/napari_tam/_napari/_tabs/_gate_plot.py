"""Cells by one or two markers, with the gates as lines to drag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

#: The axes go so many decades down from the brightest cells; what is darker stands at their beginning.
DECADES = 3.0

#: How near to a line (px) the mouse takes it.
_GRIP_PX = 10

#: Room (px) at the left, the top, the right and the bottom.
_LEFT, _TOP, _RIGHT, _BOTTOM = 44, 20, 12, 34

_BARS, _POINT_PX = 40, 5


class Axis:
    """A logarithmic axis of a marker's light.

    Parameters
    ----------
    values
        (N,) light of the cells.
    gate
        The gate, which lies on the axis in any case; NaN without one.
    """

    def __init__(self, values: Floats, gate: float) -> None:
        known = values[np.isfinite(values)]
        top = max(float(known.max(initial=0.0)), gate if np.isfinite(gate) else 0.0, 1e-6)
        self.high = float(np.log10(1.1 * top))
        self.low = self.high - DECADES

    def share(self, values: Any) -> Any:
        """Return where values stand, 0 to 1."""
        log = np.log10(np.maximum(values, 10**self.low))
        return np.clip((log - self.low) / DECADES, 0, 1)

    def value(self, share: float) -> float:
        """Return the value at a place, to three figures."""
        return float(f"{10 ** (self.low + DECADES * min(max(share, 0.0), 1.0)):.3g}")


class GatePlot(QWidget):
    """A scatter of two markers, or the histogram of one; each gate is a line that can be dragged."""

    #: Emitted while a line is dragged: "x" or "y", and the gate.
    moved = Signal(str, float)
    #: Emitted when the line is let go.
    dropped = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.names: tuple[str, str] = ("", "")
        self.first: Floats = np.zeros(0)
        self.second: Floats | None = None
        self.gates: dict[str, float] = {"x": np.nan, "y": np.nan}
        self.colours: npt.NDArray[np.float32] = np.zeros((0, 4), np.float32)
        self.axes: dict[str, Axis] = {}
        self.dragging = ""
        self.setMouseTracking(True)
        self.setMinimumHeight(220)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def sizeHint(self) -> QSize:
        """Return a size for a dock."""
        return QSize(300, 260)

    def show_cells(
        self, names: tuple[str, str], x: Floats, y: Floats | None, gates: tuple[float, float], colours: Any
    ) -> None:
        """Draw other cells: light of one marker, or of two, their gates (NaN: none) and (N, 4) colours."""
        same = self.names == names and len(self.first) == len(x)
        self.names, self.first, self.second, self.colours = names, x, y, colours
        self.gates = {"x": gates[0], "y": gates[1] if y is not None else np.nan}
        if not (self.dragging and same):  # the axes stay while a line is on its way
            self.axes = {"x": Axis(x, gates[0])} | ({} if y is None else {"y": Axis(y, gates[1])})
        self.update()

    def clear(self) -> None:
        """Draw nothing."""
        self.axes, self.dragging = {}, ""
        self.update()

    def place_of(self, axis: str, value: float) -> float:
        """Return where a value of an axis stands in the widget, in px."""
        share = float(self.axes[axis].share(value))
        if axis == "x":
            return _LEFT + share * (self.width() - _LEFT - _RIGHT)
        return self.height() - _BOTTOM - share * (self.height() - _TOP - _BOTTOM)

    def value_at(self, axis: str, px: float) -> float:
        """Return the value of a place in the widget."""
        if axis == "x":
            share = (px - _LEFT) / max(self.width() - _LEFT - _RIGHT, 1)
        else:
            share = (self.height() - _BOTTOM - px) / max(self.height() - _TOP - _BOTTOM, 1)
        return self.axes[axis].value(share)

    def _line_at(self, event: Any) -> str:
        """Return the axis whose line is under the mouse; empty if none is."""
        at = {"x": event.position().x(), "y": event.position().y()}
        near = {
            axis: abs(at[axis] - self.place_of(axis, self.gates[axis]))
            for axis in self.axes
            if np.isfinite(self.gates[axis])
        }
        best = min(near, key=lambda axis: near[axis], default="")
        return best if best and near[best] <= _GRIP_PX else ""

    def mousePressEvent(self, event: Any) -> None:
        """Take a line."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.dragging = self._line_at(event)

    def mouseMoveEvent(self, event: Any) -> None:
        """Drag the line; without a button, show that it can be."""
        if self.dragging:
            px = event.position().x() if self.dragging == "x" else event.position().y()
            value = self.value_at(self.dragging, px)
            if value != self.gates[self.dragging]:
                self.gates[self.dragging] = value
                self.moved.emit(self.dragging, value)
            return
        shapes = {"x": Qt.CursorShape.SizeHorCursor, "y": Qt.CursorShape.SizeVerCursor}
        line = self._line_at(event)
        if line:
            self.setCursor(shapes[line])
        else:
            self.unsetCursor()

    def mouseReleaseEvent(self, _: Any) -> None:
        """Let the line go."""
        if self.dragging:
            self.dragging = ""
            self.dropped.emit()

    def paintEvent(self, _: Any) -> None:
        """Draw cells, axes and lines."""
        if not self.axes:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        ink = self.palette().windowText().color()
        if self.second is None:
            self._draw_bars(painter)
        else:
            self._draw_points(painter, self.second)
        self._draw_axes(painter, ink)
        for axis in self.axes:
            self._draw_line(painter, axis, ink)
        painter.end()

    def _draw_points(self, painter: QPainter, y: Floats) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        known = np.isfinite(self.first) & np.isfinite(y)
        across = _LEFT + self.axes["x"].share(self.first[known]) * (self.width() - _LEFT - _RIGHT)
        up = self.axes["y"].share(y[known]) * (self.height() - _TOP - _BOTTOM)
        for px, py, rgba in zip(across, self.height() - _BOTTOM - up, self.colours[known], strict=True):
            painter.setBrush(_colour(rgba))
            painter.drawEllipse(QPointF(float(px), float(py)), _POINT_PX / 2, _POINT_PX / 2)

    def _draw_bars(self, painter: QPainter) -> None:
        known = np.isfinite(self.first)
        place = np.minimum((self.axes["x"].share(self.first[known]) * _BARS).astype(np.intp), _BARS - 1)
        counts = np.bincount(place, minlength=_BARS)
        width = (self.width() - _LEFT - _RIGHT) / _BARS
        height = (self.height() - _TOP - _BOTTOM) / max(int(counts.max(initial=0)), 1)
        for number in np.flatnonzero(counts).tolist():
            # the cells of a bar may be on both sides of the gate: each colour has its share of it
            own = self.colours[known][place == number]
            colours, shares = np.unique(own, axis=0, return_counts=True)
            bottom = float(self.height() - _BOTTOM)
            for rgba, share in zip(colours, shares, strict=True):
                tall = float(share * height)
                box = QRectF(_LEFT + number * width, bottom - tall, width, tall)
                painter.fillRect(box, _colour(rgba))
                bottom -= tall

    def _draw_axes(self, painter: QPainter, ink: QColor) -> None:
        painter.setPen(QPen(ink, 1))
        bottom = self.height() - _BOTTOM
        painter.drawLine(_LEFT, bottom, self.width() - _RIGHT, bottom)
        painter.drawLine(_LEFT, _TOP, _LEFT, bottom)
        centre = Qt.AlignmentFlag.AlignCenter
        for axis, scale in self.axes.items():
            for power in range(int(np.ceil(scale.low)), int(np.floor(scale.high)) + 1):
                at, text = self.place_of(axis, 10.0**power), f"{10.0**power:g}"
                if axis == "x":
                    painter.drawLine(QPointF(at, bottom), QPointF(at, bottom + 3))
                    painter.drawText(QRectF(at - 25, bottom + 3, 50, 14), centre, text)
                else:
                    painter.drawLine(QPointF(_LEFT - 3, at), QPointF(_LEFT, at))
                    painter.drawText(QRectF(0, at - 7, _LEFT - 5, 14), Qt.AlignmentFlag.AlignRight, text)
        room = QRectF(_LEFT, bottom + 17, self.width() - _LEFT - _RIGHT, 16)
        painter.drawText(room, centre, f"{self.names[0]} (light of the cells)")
        said = self.names[1] if self.second is not None else "cells"
        painter.drawText(QRectF(2, 0, self.width(), 14), Qt.AlignmentFlag.AlignLeft, said)

    def _draw_line(self, painter: QPainter, axis: str, ink: QColor) -> None:
        gate = self.gates[axis]
        if not np.isfinite(gate):
            return
        at, bottom, right = self.place_of(axis, gate), self.height() - _BOTTOM, self.width() - _RIGHT
        painter.setPen(QPen(ink, 2))
        if axis == "x":
            painter.drawLine(QPointF(at, _TOP - 4), QPointF(at, bottom))
            left = min(max(at - 40, 60.0), self.width() - 82.0)
            painter.drawText(QRectF(left, 2, 80, 13), Qt.AlignmentFlag.AlignHCenter, f"{gate:g}")
        else:
            painter.drawLine(QPointF(_LEFT, at), QPointF(right, at))
            painter.drawText(QRectF(right - 60, at - 15, 58, 13), Qt.AlignmentFlag.AlignRight, f"{gate:g}")


def _colour(rgba: npt.NDArray[np.float32]) -> QColor:
    red, green, blue = (float(part) for part in rgba[:3])
    return QColor.fromRgbF(red, green, blue)

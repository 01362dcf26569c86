"""Small widgets that the tabs share: path field, entries that ignore the mouse wheel, scrolling column."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from psygnal import Signal
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QSize, Qt, QTimer
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDockWidget,
    QDoubleSpinBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMainWindow,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from napari_tam._napari._job import Job


class Combo(QComboBox):
    """A combo box that ignores the mouse wheel unless it has the focus."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)

    def wheelEvent(self, event: Any) -> None:
        """Scroll the form rather than the choice."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class Number(QDoubleSpinBox):
    """A number shown without trailing zeros; ignores the mouse wheel unless it has the focus."""

    def __init__(self, low: float, high: float, *, whole: bool = False) -> None:
        super().__init__()
        self.setDecimals(0 if whole else 7)
        self.setRange(low, high)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)

    def textFromValue(self, value: float) -> str:
        """Return the text of a value."""
        return f"{value:.7g}"

    def wheelEvent(self, event: Any) -> None:
        """Scroll the form rather than the value."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class PathEdit(QWidget):
    """A path to type or to choose.

    Parameters
    ----------
    title
        Of the dialog.
    kind
        ``folder``, ``file`` or ``new folder``.
    """

    changed = Signal(str)

    def __init__(self, title: str, kind: str = "folder", hint: str = "") -> None:
        super().__init__()
        self._title, self._kind = title, kind
        self.line = QLineEdit()
        self.line.setPlaceholderText(hint)
        browse = QPushButton("…")
        browse.setMaximumWidth(32)
        browse.setToolTip(title)
        browse.clicked.connect(self._browse)
        self.line.editingFinished.connect(lambda: self.changed.emit(self.line.text()))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        layout.addWidget(browse)

    @property
    def value(self) -> Path | None:
        """The path; None if there is none."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    @value.setter
    def value(self, path: Path | str | None) -> None:
        self.line.setText("" if path is None else str(path))
        self.changed.emit(self.line.text())

    def _browse(self) -> None:
        if self._kind == "file":
            chosen, _ = QFileDialog.getOpenFileName(self, self._title, self.line.text())
        else:
            chosen = QFileDialog.getExistingDirectory(self, self._title, self.line.text())
        if chosen:
            self.value = chosen


class Panel(QWidget):
    """A widget that the plugin docks; two on the same side are shown as tabs."""

    def __init__(self) -> None:
        super().__init__()
        self._joined = False
        windows = [each for each in QApplication.topLevelWidgets() if isinstance(each, QMainWindow)]
        self._sizes = [(ref(each), each.size()) for each in windows]

    def showEvent(self, event: Any) -> None:
        """Join the other panels, if there are any: a laptop's screen has no room for two of them."""
        super().showEvent(event)
        dock, window = _dock_of(self), self.window()
        if dock is None or self._joined or not isinstance(window, QMainWindow):
            return
        self._joined = True
        for panel in window.findChildren(Panel):
            other = _dock_of(panel)
            if other is None or other is dock or other.isFloating():
                continue
            if window.dockWidgetArea(other) == window.dockWidgetArea(dock):
                window.tabifyDockWidget(other, dock)
                dock.raise_()
                QTimer.singleShot(0, partial(_shrink, self._sizes))
                return


def _shrink(sizes: list[tuple[ref[QMainWindow], QSize]]) -> None:
    """Restore the window sizes: they grew while two panels were briefly stacked."""
    for known, size in sizes:
        window = known()
        if window is not None and isalive(window) and not (window.isMaximized() or window.isFullScreen()):
            window.resize(size)


def _dock_of(widget: QWidget) -> QDockWidget | None:
    above = widget.parentWidget()
    while above is not None and not isinstance(above, QDockWidget):
        above = above.parentWidget()
    return above


def taken_out(widget: QWidget, event: Any) -> bool:
    """Whether an event tells that napari has closed the widget's dock: it takes the widget out of it."""
    return bool(event.type() == QEvent.Type.ParentChange and widget.parentWidget() is None)


def button(text: str, tooltip: str, action: Any) -> QPushButton:
    """Return a button."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    made.clicked.connect(lambda: action())
    return made


class Report(QPlainTextEdit):
    """The report of a training; cleared if the training was refused or cancelled.

    Parameters
    ----------
    hint
        Text shown before.
    job
        The job that trains.
    """

    _TRAINING = "Training …"

    def __init__(self, hint: str, job: Job) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setPlaceholderText(hint)
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        job.busy.connect(self._on_busy)

    def begin(self) -> None:
        """Show that the training is running."""
        self.setPlainText(self._TRAINING)

    def _on_busy(self, busy: bool) -> None:
        if not busy and self.toPlainText() == self._TRAINING:
            self.clear()


def row(*widgets: QWidget) -> QWidget:
    """Put widgets side by side."""
    box = QWidget()
    layout = QHBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        wide = isinstance(widget, Combo | QLineEdit | PathEdit)
        layout.addWidget(widget, 3 if wide else 0 if isinstance(widget, QLabel) else 1)
    return box


def column(*widgets: QWidget) -> QWidget:
    """Put widgets below one another, and let them scroll."""
    inner = QWidget()
    layout = QVBoxLayout(inner)
    layout.setContentsMargins(4, 4, 4, 4)
    for widget in widgets:
        layout.addWidget(widget)
    layout.addStretch(1)
    area = QScrollArea()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inner)
    return area

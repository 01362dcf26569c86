"""napari's features table: where it stands, how wide its columns are, and what their headers say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt

from napari_tam.columns import label_of

if TYPE_CHECKING:
    from qtpy.QtWidgets import QMainWindow


def below_the_image(window: QMainWindow, dock: Any) -> None:
    """Move a wide table below the image, between what is docked at its sides, and give it some rows."""
    sides = {
        Qt.Corner.BottomLeftCorner: Qt.DockWidgetArea.LeftDockWidgetArea,
        Qt.Corner.BottomRightCorner: Qt.DockWidgetArea.RightDockWidgetArea,
    }
    for corner, side in sides.items():  # else the sides' least height leaves a laptop's screen one row
        window.setCorner(corner, side)
    window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
    window.resizeDocks([dock], [window.height() // 3], Qt.Orientation.Vertical)


def fit_headers(view: Any) -> None:
    """Make every column as wide as its name."""
    model, header = view.model(), view.horizontalHeader()
    say_in_words(model)
    for at in range(model.columnCount()):
        view.setColumnWidth(at, header.sectionSizeHint(at) + 12)  # a mark of the order is drawn there


def say_in_words(model: Any) -> None:
    """Let a table's headers say the columns' words and units; their tooltips have the columns' names."""
    while hasattr(model, "sourceModel"):
        model = model.sourceModel()
    if model is None or getattr(model, "in_words", False):
        return
    plain = model.headerData
    roles = Qt.ItemDataRole

    def header(section: int, orientation: Any, role: int = roles.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal and role in (roles.DisplayRole, roles.ToolTipRole):
            name = str(plain(section, orientation, roles.DisplayRole))
            if role == roles.ToolTipRole:
                return f"column {name}"
            return {"index": "Cell number", "Index": "Row"}.get(name) or label_of(name)
        return plain(section, orientation, role)

    model.headerData, model.in_words = header, True

"""What a user reads in the plugin are words: no name of a column, no key of a setting."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari_viewers import FakeModels, add_channels, open_widget, run

from napari_tam import columns
from napari_tam.columns import Column, label_of, title_of, unit_of
from napari_tam.settings import Settings


def raw_names() -> set[str]:
    """Names of columns and settings that are no words: those with an underscore."""
    tables = [value for name, value in vars(columns).items() if name.isupper() and isinstance(value, tuple)]
    names = {column.name for table in tables for column in table if isinstance(column, Column)}
    names |= {column.name for column in (*columns.marker_columns(("CD86",)), *columns.phenotype_columns())}
    return {name for name in {*names, *Settings.model_fields} if "_" in name}


def visible_texts(widget: Any) -> list[tuple[str, str]]:
    """All texts of a widget and what is in it, with the type that shows them; of lists every entry."""
    from qtpy.QtWidgets import (
        QAbstractButton,
        QComboBox,
        QGroupBox,
        QLabel,
        QLineEdit,
        QTableWidget,
        QTabWidget,
    )

    found = []
    for kind in (QAbstractButton, QLabel):
        found += [(type(each).__name__, each.text()) for each in widget.findChildren(kind)]
    found += [("group", each.title()) for each in widget.findChildren(QGroupBox)]
    found += [("hint", each.placeholderText()) for each in widget.findChildren(QLineEdit)]
    for combo in widget.findChildren(QComboBox):
        found += [("list", combo.itemText(at)) for at in range(combo.count())]
    for tabs in widget.findChildren(QTabWidget):
        found += [("tab", tabs.tabText(at)) for at in range(tabs.count())]
    for table in widget.findChildren(QTableWidget):
        heads = [table.horizontalHeaderItem(at) for at in range(table.columnCount())]
        found += [("head", head.text()) for head in heads if head is not None]
    return found


def unreadable(texts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    names = raw_names()
    return [(kind, text) for kind, text in texts if names & set(re.findall(r"\w+", text))]


def test_the_walk_finds_a_raw_name(qtbot: Any) -> None:
    from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

    box = QWidget()
    qtbot.addWidget(box)
    layout, combo = QVBoxLayout(box), QComboBox()
    combo.addItems(["words", "puncta_count"])
    for each in (combo, QLabel("the setting puncta_score is too high")):
        layout.addWidget(each)
    assert [kind for kind, _ in unreadable(visible_texts(box))] == ["QLabel", "list"]


def test_the_plugin_shows_words_and_tells_the_columns_in_tooltips(
    viewer: Any, models: FakeModels, qtbot: Any, npe2pm: Any
) -> None:
    from qtpy.QtCore import Qt

    add_channels(viewer)
    widget = open_widget(viewer)
    _, batch = viewer.window.add_plugin_dock_widget("napari-tam", "Analyse a folder")
    run(widget, qtbot)
    widget.tabs.setCurrentWidget(widget.teach)
    widget.plot.show_columns("exosome_integrated", "area_um2")
    texts = [*visible_texts(widget), *visible_texts(batch)]
    assert len(texts) > 150
    assert unreadable(texts) == []
    axes = widget.plot._canvas.figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Area (µm²)", "Exosome intensity (counts)")
    combo = widget.plot.upright
    at = combo.findData("puncta_count")
    assert combo.itemText(at) == "Puncta per cell"
    assert combo.itemData(at, Qt.ItemDataRole.ToolTipRole) == "column puncta_count"
    with npe2pm.tmp_plugin(package="napari"):
        widget.results.open_table()
        model = widget.results._table.table.model()
        across = Qt.Orientation.Horizontal
        heads = [str(model.headerData(at, across)) for at in range(model.columnCount())]
        tips = [
            str(model.headerData(at, across, Qt.ItemDataRole.ToolTipRole))
            for at in range(model.columnCount())
        ]
    assert "Area (µm²)" in heads
    assert tips[heads.index("Area (µm²)")] == "column area_um2"
    assert unreadable([("head", head) for head in heads]) == []


def test_every_column_has_words_of_its_own_and_its_unit() -> None:
    names = [column.name for column in (*columns.CELL_COLUMNS, *columns.marker_columns(("CD86", "CD206")))]
    titles = [title_of(name) for name in names]
    assert len(set(titles)) == len(titles)
    assert all("_" not in title and title[0] == title[0].upper() for title in titles)
    for column in columns.CELL_COLUMNS:
        assert unit_of(column.name) == column.unit
        assert (f"({column.unit})" in label_of(column.name)) == bool(column.unit)
    assert label_of("marker_CD86_rim_mean") == "CD86: mean intensity at the rim (counts)"
    assert label_of("p_m1") == "Probability of M1"
    assert label_of("exosome_integrated_PKH26") == "Exosome intensity, PKH26 (counts)"

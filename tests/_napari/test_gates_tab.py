"""The gates tab in real viewers: lines to drag, cells that follow at once, gates that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari_viewers import FakeModels, add_channels, open_widget, run
from qtpy.QtCore import QPoint, Qt

from napari_tam._napari._results import choose
from napari_tam.results.tables import read_csv
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

#: Light of the markers in the two cells, above the background of 100.
CD86, CD206 = (400, 80), (60, 900)


@pytest.fixture
def done(viewer: Any, models: FakeModels, qtbot: Any) -> Any:
    """A widget after its first run; the two cells carry one marker each."""
    cell, *_ = add_channels(viewer)
    where = {"scale": cell.scale, "units": cell.units, "translate": cell.translate}
    layers = {}
    for name, light in (("CD86", CD86), ("CD206", CD206)):
        image = np.full((64, 64), 100, np.uint16)
        image[::2, ::3] += 1
        for label, level in enumerate(light, 1):
            image[models.cell_labels == label] += level
        layers[f"marker_{name}"] = viewer.add_image(image, name=name, **where)
    widget = open_widget(viewer)
    widget.choose(layers)
    widget.form["marker_phenotypes"].value = {"M1": "CD86+", "M2": "CD206+"}
    widget.form["gates"].value = {"CD86": 200.0, "CD206": 200.0}
    run(widget, qtbot)
    widget.tabs.setCurrentWidget(widget.gates)
    widget.gates.plot.resize(400, 300)
    return widget


def colours(widget: Any, label: int) -> tuple[float, ...]:
    layer = widget.session.current.layers["cells"]
    return tuple(np.round(layer.colormap.map(np.array([label], np.uint16))[0], 3).tolist())


def drag(qtbot: Any, plot: Any, axis: str, to: float) -> None:
    def at(value: float) -> QPoint:
        px = round(plot.place_of(axis, value))
        return QPoint(px, 100) if axis == "x" else QPoint(150, px)

    qtbot.mousePress(plot, Qt.MouseButton.LeftButton, pos=at(plot.gates[axis]))
    qtbot.mouseMove(plot, at(to))
    qtbot.mouseRelease(plot, Qt.MouseButton.LeftButton, pos=at(to))


def test_a_dragged_gate_recolours_the_cells_at_once(done: Any, qtbot: Any) -> None:
    tab, table = done.gates, lambda: done.session.current.analysis.table.set_index("label")
    assert table()["CD86_positive"].tolist() == [True, False]
    assert table()["marker_phenotype"].tolist() == ["M1", "M2"]
    tab.marker.setCurrentText("CD86")
    tab.against.setCurrentText("CD206")
    tab.draw()
    assert colours(done, 1) != colours(done, 2)
    drag(qtbot, tab.plot, "x", 40.0)
    assert tab.plot.gates["x"] == pytest.approx(40, rel=0.1)
    assert table()["CD86_positive"].tolist() == [True, True]
    assert table()["marker_phenotype"].tolist() == ["M1", "double positive"]
    assert colours(done, 1) == colours(done, 2)
    # the form and the table of the layer have it when the line is let go
    assert done.form["gates"].value["CD86"] == tab.plot.gates["x"]
    features = done.session.current.layers["cells"].features.set_index("index")
    assert features.loc[2, "marker_phenotype"] == "double positive"
    drag(qtbot, tab.plot, "y", 950.0)
    assert table()["CD206_positive"].tolist() == [False, False]
    # the columns can be what the cells are coloured by elsewhere, too
    choose(tab.shown, "marker_phenotype")
    tab.draw()
    assert done.session.current.column == "marker_phenotype"
    assert "<b>2</b> M1" in tab.text.text()


def test_nothing_is_dragged_beside_the_line_or_without_a_gate(done: Any, qtbot: Any) -> None:
    done.gates.draw()
    plot, before = done.gates.plot, dict(done.gates.plot.gates)
    x = round(plot.place_of("x", plot.gates["x"]))
    qtbot.mousePress(plot, Qt.MouseButton.LeftButton, pos=QPoint(x - 60, 100))
    qtbot.mouseMove(plot, QPoint(x + 60, 100))
    assert plot.gates["x"] == before["x"] and plot.dragging == ""


def test_gates_are_saved_to_the_results_and_read_back(
    done: Any, models: Any, tmp_path: Path, errors: list[str]
) -> None:
    found = done.session.current
    models.hashes, models.device = {}, "cpu"
    done.gates.save()
    assert "no results to which the gates belong" in errors[0]
    found.folder = tmp_path / "results"
    done.results.save()
    done.gates.set_gate("CD206", 30.0)
    done.gates.save()
    assert len(errors) == 1
    gates = read_csv(found.folder / "gates.csv").set_index("marker")
    assert gates["gate"].to_dict() == {"CD86": 200.0, "CD206": 30.0}
    assert (gates["rule"] == "given").all()
    cells = read_csv(found.folder / "cells.csv").set_index("label")
    assert cells["CD206_positive"].tolist() == [True, True]
    assert cells["marker_phenotype"].tolist() == ["double positive", "M2"]
    assert Settings.from_yaml(found.folder / "settings.yaml").gates == {"CD86": 200.0, "CD206": 30.0}


def test_without_markers_the_tab_says_what_to_do(viewer: Any, models: FakeModels, qtbot: Any) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    assert not widget.gates.isEnabled() and "Tick markers" in widget.gates.text.text()


def test_the_plot_holds_every_cell_once(done: Any, qtbot: Any) -> None:
    rng = np.random.default_rng(0)
    values = 10 ** rng.normal(2, 0.6, 500)
    plot = done.gates.plot
    plot.show_cells(("A", "B"), values, None, (100.0, np.nan), np.tile([1, 0, 0, 1], (500, 1)))
    for value in (1e-9, 3.0, 100.0, 1e9):
        px = plot.place_of("x", value)
        assert 0 <= px <= plot.width()
    axis = plot.axes["x"]
    assert axis.value(float(axis.share(100.0))) == pytest.approx(100, rel=0.01)
    assert isinstance(plot.grab().toImage().width(), int)

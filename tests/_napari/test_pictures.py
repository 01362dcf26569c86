"""Outlines at a switch; plots and views that are saved say what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari_viewers import FakeModels, add_channels, open_widget, run
from qtpy.QtWidgets import QFileDialog

if TYPE_CHECKING:
    from pathlib import Path


def choose_file(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Answer the question for a file."""
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *given: (str(path), ""))


def test_pictures_of_plot_and_view(
    viewer: Any,
    models: FakeModels,
    qtbot: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[str],
) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    plot, bar = widget.plot, widget.results
    plot.show_columns("area_um2", "puncta_count")
    for ending in ("png", "svg", "csv"):
        choose_file(monkeypatch, tmp_path / f"plot.{ending}")
        plot.save()
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    table = pd.read_csv(tmp_path / "plot.csv")
    assert table.columns.tolist() == ["image", "label", "area_um2", "puncta_count"]
    np.testing.assert_allclose(table["area_um2"], plot.points[:, 1])
    assert errors == []
    choose_file(monkeypatch, tmp_path / "plot.docx")
    plot.save()
    assert "Choose .png, .svg or .csv" in errors[0]

    layers = [viewer.layers[f"{kind} (CD11b)"] for kind in ("cells", "nuclei")]
    bar.outlines.setChecked(True)
    assert all(layer.contour > 0 for layer in layers)
    run(widget, qtbot)
    assert all(layer.contour > 0 for layer in layers)
    bar.outlines.setChecked(False)
    assert all(layer.contour == 0 for layer in layers)

    seen: list[bool] = []  # offscreen nothing can be drawn; what is asked of napari can be seen
    scale_bar = widget.session.viewer.canvas.overlays.scale_bar
    monkeypatch.setattr(
        type(widget.session.viewer), "screenshot", lambda *given, **named: seen.append(scale_bar.visible)
    )
    choose_file(monkeypatch, tmp_path / "view.png")
    bar.save_view()
    assert seen == [True]
    assert not scale_bar.visible

"""What a run shows before its end, what is loaded before it, and the wheel that turns meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari_viewers import PUNCTA, FakeModels, add_channels, open_widget, run
from qtpy.QtWidgets import QLabel

from napari_tam._napari import _wheel

LAYERS = ["nuclei (CD11b)", "cells (CD11b)", "puncta (CD11b)"]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], str]]:
    """Per layer that is shown early: its name, the viewer's layers after it, the active one."""
    from napari_tam._napari._early import EarlyLayers

    seen = []
    original = EarlyLayers._reveal

    def reveal(self: Any, name: str, visible: bool) -> None:
        original(self, name, visible)
        layers = self._viewer.layers
        seen.append((name, [layer.name for layer in layers], layers.selection.active.name))

    monkeypatch.setattr(EarlyLayers, "_reveal", reveal)
    return seen


def test_a_first_run_shows_cells_and_puncta_as_they_are_found(
    viewer: Any, models: FakeModels, qtbot: Any, shown: list[Any]
) -> None:
    images = add_channels(viewer)
    names = [layer.name for layer in images]
    viewer.layers.selection.active = images[1]
    run(open_widget(viewer), qtbot)
    assert [name for name, *_ in shown] == LAYERS
    for number, (_, layers, active) in enumerate(shown, 1):
        assert layers == names + LAYERS[:number]
        assert active == images[1].name


def test_the_result_takes_the_early_layers_over(
    viewer: Any, models: FakeModels, qtbot: Any, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_tam._napari._early import EarlyLayers

    add_channels(viewer)
    widget = open_widget(viewer)
    early = {}
    take = EarlyLayers.take

    def taken(self: Any, image: str, name: str) -> Any:
        early[name] = self._layers[name]
        assert not early[name].editable
        return take(self, image, name)

    monkeypatch.setattr(EarlyLayers, "take", taken)
    run(widget, qtbot)
    found = widget.session.found["CD11b"]
    assert [layer.name for layer in viewer.layers][3:] == LAYERS
    for name, kind in zip(LAYERS, ("nuclei", "cells", "puncta"), strict=True):
        layer = viewer.layers[name]
        assert layer == early[name] == found.layers[kind]
        assert layer.editable
        assert layer.visible == (kind != "nuclei")
    assert viewer.layers.selection.active == found.layers["cells"]
    expected = {arguments["name"]: (data, arguments) for data, arguments, _ in found.layers_data()}
    for name in LAYERS:
        data, arguments = expected[name]
        layer = viewer.layers[name]
        np.testing.assert_array_equal(layer.data, data)
        assert layer.metadata == arguments["metadata"]
        if arguments["features"] is not None:
            assert layer.features.equals(arguments["features"])
    viewer.layers["cells (CD11b)"].selected_label = 2  # as if its row had been clicked
    assert found.selected == {2}


def test_a_second_run_shows_nothing_before_its_result(
    viewer: Any, models: FakeModels, qtbot: Any, shown: list[Any]
) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    shown.clear()
    widget.form["cell_probability"].value = 0.6
    run(widget, qtbot)
    assert shown == []
    assert [layer.name for layer in viewer.layers][3:] == LAYERS


def test_a_run_that_is_stopped_or_fails_takes_its_early_layers_away(
    viewer: Any, models: FakeModels, qtbot: Any, shown: list[Any], errors: list[str]
) -> None:
    from napari_tam.errors import InputError

    images = add_channels(viewer)
    widget = open_widget(viewer)
    models.go_on.clear()
    widget.run()
    qtbot.waitUntil(lambda: bool(shown))  # the nuclei
    widget.cancel()
    models.go_on.set()
    qtbot.waitUntil(lambda: widget.idle)
    assert list(viewer.layers) == images
    models.error = InputError("the network refuses")
    shown.clear()
    run(widget, qtbot)
    assert [name for name, *_ in shown] == LAYERS[:1]
    assert list(viewer.layers) == images
    assert errors
    models.error = None
    run(widget, qtbot)
    assert [layer.name for layer in viewer.layers][3:] == LAYERS


def test_a_layer_that_was_deleted_meanwhile_comes_with_the_result(
    viewer: Any, models: FakeModels, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_tam._napari._early import EarlyLayers

    add_channels(viewer)
    widget = open_widget(viewer)
    original = EarlyLayers._reveal

    def reveal(self: Any, name: str, visible: bool) -> None:
        original(self, name, visible)
        if name == "puncta (CD11b)":
            viewer.layers.remove(viewer.layers["cells (CD11b)"])

    monkeypatch.setattr(EarlyLayers, "_reveal", reveal)
    run(widget, qtbot)
    assert {layer.name for layer in viewer.layers} >= set(LAYERS)
    np.testing.assert_array_equal(viewer.layers["cells (CD11b)"].data, models.cell_labels)
    np.testing.assert_array_equal(viewer.layers["puncta (CD11b)"].data, PUNCTA[["y_px", "x_px"]])


def test_the_wheel_turns_slowly_while_a_run_goes_on(viewer: Any, models: FakeModels, qtbot: Any) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    labels = widget.window().findChildren(QLabel)
    [movie] = [label.movie() for label in labels if label.movie() is not None]
    models.go_on.clear()
    widget.run()
    assert movie.speed() == _wheel.SLOW
    models.go_on.set()
    qtbot.waitUntil(lambda: widget.idle)
    assert movie.speed() == _wheel.USUAL


def test_what_a_run_needs_is_loaded_ahead_and_once(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_tam.pipeline import models as loading_models

    loaded = []
    load = loading_models.load_models

    def counted(settings: Any) -> Any:
        loaded.append(settings)
        return load(settings)

    monkeypatch.setattr(loading_models, "load_models", counted)
    widget = open_widget(viewer)
    widget.load_ahead()
    widget.load_ahead()
    qtbot.waitUntil(lambda: widget._ahead.done, timeout=60_000)
    assert len(loaded) == 1
    settings = widget.settings_form.settings()
    assert widget.session.has_models(settings)
    widget.session.models(settings)
    assert len(loaded) == 1


def test_loading_ahead_says_nothing_of_what_is_wrong(
    viewer: Any, qtbot: Any, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = open_widget(viewer)
    widget.form["cells_model"].value = "/nowhere/a_network"
    widget.load_ahead()
    qtbot.waitUntil(lambda: widget._ahead.done, timeout=60_000)
    assert errors == []
    assert not widget.session.has_models(widget.settings_form.settings())


def test_a_run_that_begins_meanwhile_stops_what_is_loaded_ahead(
    viewer: Any, models: FakeModels, qtbot: Any, errors: list[str]
) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    models.go_on.clear()
    widget.load_ahead()
    widget.run()
    assert widget._ahead._stop.is_set()
    models.go_on.set()
    qtbot.waitUntil(lambda: widget.idle, timeout=60_000)
    assert widget._ahead.done
    assert [layer.name for layer in viewer.layers][3:] == LAYERS
    assert errors == []

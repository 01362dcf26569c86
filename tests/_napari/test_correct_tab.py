"""Corrections with the mouse and the keyboard in real viewers: what changes, is undone, and is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari_viewers import PIXEL_UM, FakeModels, add_channels, open_widget, run

from napari_tam._napari._correction import _unsaved
from napari_tam._napari._correction._actions import ACTIONS
from napari_tam.results.edits import read_edits

if TYPE_CHECKING:
    from pathlib import Path

CELLS, NUCLEI, POINTS = "cells (CD11b)", "nuclei (CD11b)", "puncta (CD11b)"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions about corrections that are not saved; all are answered with discard."""
    questions: list[str] = []

    def answer(parent: Any, text: str, *, cancel: bool) -> str:
        questions.append(text)
        return "discard"

    monkeypatch.setattr(_unsaved, "ask", answer)
    monkeypatch.setattr("napari_tam._napari._tabs._correct.ask", answer)
    return questions


@pytest.fixture
def done(viewer: Any, models: FakeModels, qtbot: Any, asked: list[str]) -> Any:
    """A widget after a run: cells 1 and 2, one nucleus and three puncta; nothing measures by itself."""
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    widget.correct.by_itself.setChecked(False)
    models.calls.clear()
    return widget


class Mouse:
    """Presses, moves and releases as napari's canvas reports them."""

    def __init__(self, viewer: Any) -> None:
        self.viewer, self.layer = viewer, viewer.layers[CELLS]

    def _event(self, kind: str, place: Any, modifiers: tuple[str, ...]) -> Any:
        from types import SimpleNamespace

        position = self.layer.data_to_world(place)
        return SimpleNamespace(type=kind, position=position, modifiers=list(modifiers), button=1)

    def stroke(self, *places: Any, modifiers: tuple[str, ...] = ()) -> None:
        """Press at the first place, move over the others and release at the last."""
        event = self._event("mouse_press", places[0], modifiers)
        running = [each(self.viewer, event) for each in list(self.viewer.mouse_drag_callbacks)]
        for generator in running:
            next(generator, None)
        for place in places[1:]:
            event.__dict__.update(self._event("mouse_move", place, modifiers).__dict__)
            for generator in running:
                next(generator, None)
        event.type = "mouse_release"
        for generator in running:
            next(generator, None)


def press(viewer: Any, key: str) -> None:
    """Press a key as the viewer's own key handler does, for the layer that is chosen."""
    layer = viewer.layers.selection.active
    from app_model.types import KeyBinding

    assert all(function.__name__ for function in layer.keymap.values())  # napari asks for it
    layer.keymap[KeyBinding.from_str(key.replace("Control", "Ctrl").replace("-", "+"))](layer)


def labels(viewer: Any) -> set[int]:
    return {int(label) for label in np.unique(viewer.layers[CELLS].data)} - {0}


def test_the_keys_are_none_of_naparis_own_and_every_action_has_button_key_and_tip(done: Any) -> None:
    from app_model.types import KeyBinding
    from napari.utils.shortcuts import default_shortcuts

    ours = {KeyBinding.from_str(action.key.replace("-", "+")) for action in ACTIONS}
    theirs = {
        KeyBinding.from_str(str(key))
        for name, keys in default_shortcuts.items()
        for key in keys
        if not any(
            kind in str(name) for kind in ("shape", "vertex", "polyline", "surface", "tracks", "vectors")
        )
        and str(name) != "napari:delete_selected_points"  # no labels layer has it
    }
    assert len(theirs) > 40
    assert not ours & theirs
    for kind in ("cells", "nuclei", "puncta"):
        keys = [action.key for action in ACTIONS if kind in action.kinds]
        assert len(keys) == len(set(keys))
    for action in ACTIONS:
        made = done.correct.buttons[action.name]
        assert action.title in made.text()
        assert action.key.replace("-", "+") in made.text()
        assert action.tip in made.toolTip()
        assert callable(getattr(done.correct.editor, action.name))


def test_cells_selected_with_shift_are_merged_and_one_undo_parts_them(viewer: Any, done: Any) -> None:
    before = viewer.layers[CELLS].data.copy()
    viewer.layers[CELLS].data[25:30, 20:35] = 2  # they touch now
    touching = viewer.layers[CELLS].data.copy()
    mouse = Mouse(viewer)
    mouse.stroke((10, 10))
    mouse.stroke((40, 40), modifiers=("Shift",))
    assert done.session.current.selected == {1, 2}
    press(viewer, "J")
    assert labels(viewer) == {2} or labels(viewer) == {1}
    assert ((viewer.layers[CELLS].data > 0) == (touching > 0)).all()
    press(viewer, "Control-Z")
    np.testing.assert_array_equal(viewer.layers[CELLS].data, touching)
    press(viewer, "Control-Shift-Z")
    assert len(labels(viewer)) == 1
    assert (before > 0).sum() < (touching > 0).sum()


def test_a_drawn_line_splits_a_cell_and_the_pen_stays_until_escape(viewer: Any, done: Any) -> None:
    mouse = Mouse(viewer)
    layers = list(viewer.layers)
    viewer.layers.selection.active = viewer.layers[CELLS]
    press(viewer, "K")
    assert not viewer.layers[CELLS].mouse_pan
    mouse.stroke((2, 14.5), (15, 14.5), (30, 14.5))
    assert labels(viewer) == {1, 2, 3}
    assert len(set(viewer.layers[CELLS].data[5:25, 5:13].ravel().tolist())) == 1
    mouse.stroke((26, 39.5), (55, 39.5))  # once more without the key
    assert labels(viewer) == {1, 2, 3, 4}
    press(viewer, "Escape")
    assert viewer.layers[CELLS].mouse_pan
    assert list(viewer.layers) == layers
    mouse.stroke((2, 8), (30, 8))
    assert labels(viewer) == {1, 2, 3, 4}
    press(viewer, "Control-Z")
    assert labels(viewer) == {1, 2, 3}


def test_a_line_that_cuts_nothing_is_told_and_changes_nothing(
    viewer: Any, done: Any, errors: list[str]
) -> None:
    before = viewer.layers[CELLS].data.copy()
    done.correct.editor.do("split_by_line")
    Mouse(viewer).stroke((10, 2), (10, 15))
    assert "cuts no cell in two" in errors[0]
    np.testing.assert_array_equal(viewer.layers[CELLS].data, before)
    assert not done.session.current.dirty


def test_a_cell_is_split_by_its_nuclei_deleted_grown_shrunk_and_lassoed(viewer: Any, done: Any) -> None:
    cells, mouse = viewer.layers[CELLS], Mouse(viewer)
    viewer.layers[NUCLEI].data[18:23, 18:23] = 2
    mouse.stroke((10, 10))
    press(viewer, "Shift-K")
    assert labels(viewer) == {1, 2, 3}
    assert cells.data[12, 12] != cells.data[20, 20]
    mouse.stroke((40, 40))
    press(viewer, "G")
    assert (cells.data == 2).sum() == 400 + 80
    press(viewer, "Shift-G")
    assert (cells.data == 2).sum() == 400
    press(viewer, "Delete")
    assert labels(viewer) == {1, 3}
    press(viewer, "Shift-W")
    mouse.stroke((40, 40), (40, 60), (60, 60), (60, 40), (41, 40))
    [new] = labels(viewer) - {1, 3}
    assert new > 3
    assert (cells.data[42:58, 42:58] == new).all()
    press(viewer, "Escape")
    press(viewer, "H")
    mouse.stroke((35, 35), (35, 63), (63, 63), (63, 35), (36, 35))
    assert labels(viewer) == {new}
    for _ in range(6):  # keep, add, delete, shrink, grow, split
        press(viewer, "Control-Z")
    np.testing.assert_array_equal(cells.data, done.session.current.analysis.cells)


def test_a_cell_is_added_where_the_network_sees_one_on_second_sight(
    viewer: Any, done: Any, qtbot: Any, models: FakeModels, errors: list[str]
) -> None:
    from napari_tam.segment.segmenter import Segmentation

    asked: list[Any] = []

    def segment(image: Any, second: Any, um: float, diameter: Any, settings: Any, nuclei: Any = None) -> Any:
        asked.append((image.shape, settings.cell_probability))
        labels = np.zeros(image.shape, np.uint16)
        if settings.cell_probability < 0.5:
            labels[-14:-2, 2:14] = 7
        return Segmentation(labels, float(diameter))

    models.cells.segment = segment
    done.correct.editor.do("add_by_click")
    mouse = Mouse(viewer)
    mouse.stroke((56, 6))
    qtbot.waitUntil(lambda: 3 in labels(viewer), timeout=60_000)
    assert (viewer.layers[CELLS].data == 3).sum() == 144
    assert [probability for _, probability in asked] == pytest.approx([0.5, 0.2])
    qtbot.waitUntil(lambda: done.correct.looking.idle, timeout=60_000)
    mouse.stroke((30, 58))
    qtbot.waitUntil(lambda: bool(errors) and done.correct.looking.idle, timeout=60_000)
    assert "nothing was found there" in errors[0]
    mouse.stroke((40, 40))
    assert "a cell already" in errors[1]
    press(viewer, "Control-Z")
    assert labels(viewer) == {1, 2}


def test_puncta_are_deleted_inside_an_outline_and_come_back(viewer: Any, done: Any) -> None:
    points, mouse = viewer.layers[POINTS], Mouse(viewer)
    before = points.data.copy()
    viewer.layers.selection.active = points
    press(viewer, "H")
    mouse.stroke((5, 5), (5, 25), (25, 25), (25, 5), (6, 5))
    assert points.data.tolist() == [[55.0, 58.0]]
    press(viewer, "Control-Z")
    np.testing.assert_array_equal(points.data, before)
    press(viewer, "Control-Shift-Z")
    assert len(points.data) == 1
    points.add((30.0, 30.0))
    points.add((34.0, 30.0))
    points.selected_data = {0, 2}
    press(viewer, "Shift-D")
    assert points.data.tolist() == [[30.0, 30.0]]
    for _ in range(3):
        press(viewer, "Control-Z")
    assert points.data.tolist() == [[55.0, 58.0]]


def test_measurements_follow_by_themselves_and_keep_what_changed_meanwhile(
    viewer: Any, done: Any, qtbot: Any, models: FakeModels, tmp_path: Path
) -> None:
    tab, mouse = done.correct, Mouse(viewer)
    done.session.current.folder = tmp_path
    done.session.forget_models()  # so that it is measured in the background
    tab.by_itself.setChecked(True)
    mouse.stroke((40, 40))
    press(viewer, "Delete")
    assert tab.resting
    qtbot.waitUntil(lambda: not tab.resting and not done.idle, timeout=5_000)
    mouse.stroke((10, 10))  # while it is being measured
    press(viewer, "G")
    qtbot.waitUntil(lambda: not tab.resting and done.idle and not done.session.current.dirty, timeout=60_000)
    table = done.session.current.analysis.table
    assert table["label"].tolist() == [1]
    assert table["area_um2"].tolist() == [480 * PIXEL_UM**2]
    assert models.calls == []
    qtbot.waitUntil(lambda: not done.session.current.unsaved, timeout=5_000)
    kept = read_edits(tmp_path, "CD11b", (64, 64))
    assert kept is not None
    assert kept.cells is not None
    assert int((kept.cells == 1).sum()) == 480


def test_a_few_cells_are_measured_without_a_run_in_the_background(
    viewer: Any, done: Any, qtbot: Any, models: FakeModels, tmp_path: Path
) -> None:
    tab, mouse, busy = done.correct, Mouse(viewer), []
    done.job.busy.connect(busy.append)
    done.session.current.folder = tmp_path
    tab.by_itself.setChecked(True)
    mouse.stroke((40, 40))
    press(viewer, "Delete")
    qtbot.waitUntil(lambda: not done.session.current.dirty, timeout=5_000)
    found = done.session.current
    assert busy == models.calls == []
    assert found.analysis.table["label"].tolist() == [1]
    assert viewer.layers[CELLS].features["index"].tolist() == [0, 1]
    assert found.analysis.summary["cells"] == 1
    press(viewer, "Control-Z")
    qtbot.waitUntil(lambda: not done.session.current.dirty, timeout=5_000)
    assert done.session.current.analysis.table["label"].tolist() == [1, 2]
    assert found.unsaved  # which takes longer than measuring does, and waits for further corrections
    done.correct.let_go()
    kept = read_edits(tmp_path, "CD11b", (64, 64))
    assert kept is not None
    assert not done.session.current.unsaved


def test_doubtful_cells_come_one_after_another_and_what_is_done_is_counted(
    viewer: Any, models: FakeModels, qtbot: Any, asked: list[str]
) -> None:
    from napari_tam.segment.segmenter import Segmentation

    confidence = np.array([0.5, 0.2], np.float32)
    models.cells.segment = lambda *given: Segmentation(models.cell_labels, 5.0, confidence)
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    tab, found = widget.correct, widget.session.current
    assert tab.doubtful.text() == "0 of 2 doubtful cells looked at"
    viewer.layers.selection.active = viewer.layers[CELLS]
    press(viewer, "N")
    assert found.selected == {2}
    assert viewer.scene.camera.center[-2:] == pytest.approx(viewer.layers[CELLS].data_to_world((39.5, 39.5)))
    press(viewer, "Shift-N")
    assert tab.doubtful.text() == "1 of 2 doubtful cells looked at"
    assert found.selected == {1}
    press(viewer, "G")
    assert tab.doubtful.text() == "2 of 2 doubtful cells looked at"
    tab.update_measurements()
    qtbot.waitUntil(lambda: widget.idle, timeout=60_000)
    table = widget.session.current.analysis.table  # what was not touched is still judged
    assert np.isnan(table["segmentation_confidence"][0])
    assert table["segmentation_confidence"][1] == pytest.approx(0.2)
    assert tab.doubtful.text() == "2 of 2 doubtful cells looked at"
    press(viewer, "N")
    assert tab.state.text() == "All 2 doubtful cells looked at."


@pytest.mark.parametrize("answer", ["save", "discard", "cancel"])
def test_closing_with_unsaved_corrections_asks_once(
    viewer: Any, done: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    from qtpy.QtCore import QCoreApplication
    from qtpy.QtGui import QCloseEvent

    questions: list[str] = []

    def ask(parent: Any, text: str, *, cancel: bool) -> str:
        questions.append(text)
        return answer

    found, window = done.session.current, done.window()
    found.folder = tmp_path
    monkeypatch.setattr(_unsaved, "ask", ask)
    assert not done.correct.guard.eventFilter(window, QCloseEvent())
    Mouse(viewer).stroke((10, 10))
    press(viewer, "Delete")
    event = QCloseEvent()
    kept_open = done.correct.guard.eventFilter(window, event)
    assert questions == ["The corrections of 'CD11b' are not saved. Save them?"]
    assert kept_open == (answer == "cancel")
    assert (read_edits(tmp_path, "CD11b", (64, 64)) is not None) == (answer == "save")
    if answer == "save":
        done.correct.guard.eventFilter(window, QCloseEvent())
        assert len(questions) == 1
    assert QCoreApplication.instance() is not None
    monkeypatch.setattr(_unsaved, "ask", lambda *given, **named: "discard")  # the viewer is closed now


def test_leaving_an_image_with_unmeasured_corrections_asks_once(
    viewer: Any, done: Any, qtbot: Any, asked: list[str]
) -> None:
    add_channels(viewer, "second ")
    done.choose(
        {
            role: viewer.layers[f"second {name}"]
            for role, name in (("cell", "CD11b"), ("nucleus", "DAPI"), ("exosome", "PKH26"))
        }
    )
    run(done, qtbot)
    viewer.layers.selection.active = viewer.layers[CELLS]
    Mouse(viewer).stroke((10, 10))
    press(viewer, "Delete")
    for _ in range(2):
        viewer.layers.selection.active = viewer.layers["cells (second CD11b)"]
        viewer.layers.selection.active = viewer.layers[CELLS]
    assert asked == ["'CD11b' was corrected. Save the corrections, and measure them?"]

"""The puncta tab in real viewers: the threshold as a line to drag, and what was left out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

import fakes
import napari_viewers
from napari_viewers import FakeModels, add_channels, open_widget, run
from qtpy.QtCore import QPoint, Qt

from napari_tam._napari._judged import judge
from napari_tam._napari._left_out import COLOURS
from napari_tam.batches.run import analyse_files
from napari_tam.puncta.selection import KEPT, REASONS
from napari_tam.puncta.threshold import Threshold
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

POINTS, LEFT_OUT = "puncta (CD11b)", "left out (CD11b)"

#: Bumps that hardly stand out, puncta that do; then what other reasons leave out.
FAINT, CLEAR, UNSURE, FLANKS, HOT = 150, 140, 9, 4, 2


def two_populations(shape: tuple[int, int]) -> pd.DataFrame:
    """Return candidates of an image: contrasts around 3 and 25, and a few that are no puncta anyway."""
    rng = np.random.default_rng(4)
    number = FAINT + CLEAR + UNSURE + FLANKS + HOT
    contrast = 2 ** np.concatenate([rng.normal(np.log2(3), 0.3, FAINT), rng.normal(np.log2(25), 0.4, CLEAR)])
    return pd.DataFrame(
        {
            "y_px": rng.uniform(1, shape[0] - 2, number),
            "x_px": rng.uniform(1, shape[1] - 2, number),
            "score": [0.8] * (FAINT + CLEAR) + [0.2] * UNSURE + [0.9] * FLANKS + [0.0] * HOT,
            "contrast": [*contrast, *[30.0] * (UNSURE + FLANKS), *[0.0] * HOT],
            "intensity": 100.0,
            "peak": 20.0,
            "background": 10.0,
            "width_um": 0.5,
            "snr": 9.0,
            "reason": [KEPT] * (FAINT + CLEAR + UNSURE) + ["flank"] * FLANKS + ["hot pixel"] * HOT,
        }
    )


class TwoPopulations(fakes.PeakDetector):
    """Finds `two_populations` in every image."""

    def candidates(self, image: Any, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        return two_populations(image.shape)


@pytest.fixture
def done(viewer: Any, models: FakeModels, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A widget after its first run; its image has two populations."""
    monkeypatch.setattr(napari_viewers, "PUNCTA", two_populations((64, 64)))
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    models.calls.clear()
    widget.tabs.setCurrentIndex(1)
    widget.puncta.plot.resize(400, 150)
    return widget


def settled(widget: Any, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: widget.idle and not widget._later.isActive(), timeout=20_000)


def drag(plot: Any, qtbot: Any, start: float, *stops: float) -> None:
    """Drag from one contrast to others with the mouse."""
    places = [QPoint(round(plot.x_of(contrast)), 60) for contrast in (start, *stops)]
    qtbot.mousePress(plot, Qt.MouseButton.LeftButton, pos=places[0])
    for place in places[1:]:
        qtbot.mouseMove(plot, place)
    qtbot.mouseRelease(plot, Qt.MouseButton.LeftButton, pos=places[-1])


def above(value: float) -> int:
    """Number of true puncta from a contrast on."""
    table = two_populations((64, 64))[: FAINT + CLEAR]
    return int((table["contrast"] >= value).sum())


def test_the_automatic_threshold_is_shown_with_its_reason(viewer: Any, done: Any) -> None:
    plot, text = done.puncta.plot, done.puncta.text.text()
    assert done.form["puncta_threshold"].value is None
    assert 5 < plot.value < 16  # between the populations
    assert len(viewer.layers[POINTS].data) == CLEAR == above(plot.value)
    assert "automatic" in text
    assert "the valley between" in text
    assert plot.counts.sum() == FAINT + CLEAR  # those that only the threshold decides about
    assert not any("left out" in layer.name for layer in viewer.layers)


def test_a_dragged_line_sets_the_form_and_moves_the_puncta_at_once(
    viewer: Any, done: Any, models: FakeModels, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, plot = done.form["puncta_threshold"], done.puncta.plot
    automatic = plot.value
    found: list[float] = []
    monkeypatch.setattr(
        "napari_tam.puncta.threshold.from_populations", lambda *_, **__: found.append(0) or Threshold()
    )
    drag(plot, qtbot, 30, 20)  # beside the line: nothing is taken
    assert entry.value is None
    drag(plot, qtbot, automatic, 12, 20, 25)
    assert entry.value == plot.value == pytest.approx(25, rel=0.02)
    number = above(entry.value)
    assert 0 < number < CLEAR
    assert len(viewer.layers[POINTS].data) == number  # at once, in the same turn of the event loop
    assert f"<b>{number}</b> puncta found" in done.puncta.text.text()
    assert "set by you" in done.puncta.text.text()
    qtbot.mouseMove(plot, QPoint(10, 60))  # the line was let go
    assert entry.value == plot.value == pytest.approx(25, rel=0.02)
    settled(done, qtbot)
    assert not found  # that takes too long for a line that is dragged
    assert models.calls == []
    summary = done.session.current.analysis.summary
    assert (summary["puncta"], summary["puncta_threshold"]) == (number, entry.value)
    monkeypatch.undo()
    done.puncta.automatic.click()
    assert entry.value is None
    assert plot.value == automatic
    assert len(viewer.layers[POINTS].data) == CLEAR
    done._later.stop()


def test_a_number_in_the_form_moves_the_line(viewer: Any, done: Any) -> None:
    done.form["puncta_threshold"].value = 1
    assert done.puncta.plot.value == 1
    assert len(viewer.layers[POINTS].data) == FAINT + CLEAR
    done.form["puncta_threshold"].value = 2000  # more than the form takes, and than any contrast
    assert done.puncta.plot.value == 1000
    assert done.puncta.plot.grab().toImage().width() > 0
    assert len(viewer.layers[POINTS].data) == 0
    done._later.stop()


def test_what_was_left_out_is_coloured_by_its_reason(viewer: Any, done: Any, qtbot: Any) -> None:
    done.puncta.switch.setChecked(True)
    layer = viewer.layers[LEFT_OUT]
    assert viewer.layers.selection.active == layer  # or the status bar would not tell
    assert not layer.editable
    expected = {"contrast": FAINT, "score": UNSURE, "flank": FLANKS, "hot pixel": HOT}
    reasons = layer.features["left out"].str.partition(":")[0]
    assert reasons.value_counts().to_dict() == expected
    for reason, number in expected.items():
        assert f"{reason} ({number}): {REASONS[reason]}" in done.puncta.legend.text()
        colours = np.unique(layer.border_color[(reasons == reason).to_numpy()], axis=0)
        assert len(colours) == 1
        assert "#" + bytes((255 * colours[0, :3]).round().astype(np.uint8)).hex() == COLOURS[reason].lower()
    table = two_populations((64, 64))
    everything = {tuple(at) for at in table[["y_px", "x_px"]].to_numpy()}
    puncta = {tuple(at) for at in viewer.layers[POINTS].data}
    left_out = {tuple(at) for at in layer.data}
    assert not puncta & left_out
    assert puncta | left_out == everything
    unsure = int(np.flatnonzero(reasons == "score")[0])
    said = layer.get_status(
        layer.data_to_world(layer.data[unsure]), view_direction=None, dims_displayed=[0, 1], world=True
    )["value"]
    assert REASONS["score"] in said
    assert "contrast: 30" in said

    done.form["puncta_threshold"].value = 1  # it follows at once, also to nothing but other reasons
    assert len(layer.data) == UNSURE + FLANKS + HOT
    assert len(layer.border_color) == len(layer.features) == UNSURE + FLANKS + HOT
    settled(done, qtbot)
    assert viewer.layers[LEFT_OUT] == layer
    assert len(layer.data) == UNSURE + FLANKS + HOT
    done.puncta.switch.setChecked(False)
    assert LEFT_OUT not in viewer.layers
    done.puncta.switch.setChecked(True)
    viewer.layers.remove(LEFT_OUT)  # by the user
    assert not done.puncta.switch.isChecked()
    assert len(viewer.layers[POINTS].data) == FAINT + CLEAR


@pytest.mark.parametrize("left_out", [False, True])
def test_a_moved_threshold_is_no_correction_and_one_beside_it_is_kept(
    viewer: Any, done: Any, qtbot: Any, left_out: bool
) -> None:
    done.puncta.switch.setChecked(left_out)
    done.form["puncta_threshold"].value = 1
    assert not done.session.current.dirty
    layer = viewer.layers[POINTS]
    gone = np.array(layer.data[0])
    layer.selected_data = {0}
    layer.remove_selected()
    assert done.session.current.dirty == {"puncta"}
    assert done.correct.take_over(done.session.current)  # before the tables follow the threshold
    settled(done, qtbot)
    edits = done.session.current.edits
    added, removed = edits.of("", 0)
    assert len(added) == 0
    assert removed.tolist() == [gone.tolist()]
    assert len(viewer.layers[POINTS].data) == FAINT + CLEAR - 1


def test_what_was_left_out_is_not_among_the_results(
    viewer: Any, done: Any, models: FakeModels, qtbot: Any, tmp_path: Path
) -> None:
    done.puncta.switch.setChecked(True)
    models.device, models.hashes = "cpu", {}  # type: ignore[attr-defined]
    viewer.layers.save(str(tmp_path / "saved.results"), plugin="napari-tam")
    assert len(read_results(tmp_path / "saved.results").puncta) == CLEAR
    done.correct.update_measurements()  # nothing was corrected
    settled(done, qtbot)
    assert not done.session.current.edits.any


def test_a_line_that_is_dragged_stays_with_the_mouse_when_tables_come(
    viewer: Any, done: Any, qtbot: Any
) -> None:
    plot = done.puncta.plot
    done.form["puncta_threshold"].value = 20.0
    done._run_later()
    assert not done.idle
    done.form["puncta_threshold"].value = 30.0  # moved on while the tables of 20 are made
    qtbot.waitUntil(lambda: done.session.current.analysis.settings.puncta_threshold == 20.0, timeout=20_000)
    qtbot.waitUntil(lambda: done.session.showing == 0, timeout=20_000)
    assert plot.value == 30.0
    assert len(viewer.layers[POINTS].data) == above(30.0)
    settled(done, qtbot)
    assert done.session.current.analysis.summary["puncta"] == above(30.0)


def test_the_panel_is_about_the_chosen_image(viewer: Any, done: Any) -> None:
    assert done.puncta.isEnabled()
    done.choose({"cell": None})
    assert not done.puncta.isEnabled()
    assert done.puncta.plot.counts.size == 0
    done.choose({"cell": viewer.layers["CD11b"]})
    assert done.puncta.plot.counts.sum() == FAINT + CLEAR


def test_an_opened_folder_keeps_the_threshold_of_its_batch(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    networks = replace(fakes.models(), puncta=TwoPopulations())
    paths = [fakes.write_image(tmp_path / f"{name}.ome.tif") for name in "ab"]
    assert all(one.error is None for one in analyse_files(paths, Settings(), networks, tmp_path / "out"))
    learnt = Settings.from_yaml(tmp_path / "out" / "settings.yaml").puncta_threshold
    assert learnt is not None
    assert learnt > 4
    counted = read_results(tmp_path / "out").puncta.query("image == 'a'")
    widget = open_widget(viewer)
    widget.session.models = lambda settings: networks
    viewer.open(str(tmp_path / "out"), plugin="napari-tam")
    qtbot.waitUntil(lambda: "a" in widget.session.found and widget.idle, timeout=20_000)
    qtbot.waitUntil(lambda: widget.form["puncta_threshold"].value == learnt, timeout=20_000)
    panel = widget.puncta
    assert (panel.plot.value, panel.plot.mark) == (learnt, learnt)
    assert "found for the whole batch: the valley between" in panel.text.text()
    assert panel.plot.counts.sum() == len(counted) == CLEAR
    run(widget, qtbot)
    analysis = widget.session.found["a"].analysis
    assert analysis.settings.puncta_threshold == learnt
    assert len(analysis.puncta) == CLEAR
    assert panel.plot.counts.sum() == FAINT + CLEAR
    assert "found for the whole batch" in panel.text.text()
    widget.form["puncta_threshold"].value = 20.0
    assert f"The batch's own is {learnt:g}" in panel.text.text()
    widget._later.stop()


@given(
    contrast=st.lists(st.floats(0, 400), max_size=30),
    thresholds=st.tuples(st.floats(1, 400), st.floats(1, 400)),
    score=st.floats(0.05, 0.95),
)
def test_every_candidate_is_a_punctum_or_has_its_reason(
    contrast: list[float], thresholds: tuple[float, float], score: float
) -> None:
    number = len(contrast)
    table = pd.DataFrame(
        {
            "score": np.linspace(0, 1, number),
            "contrast": np.array(contrast, float),
            "snr": 5.0,
            "reason": np.where(np.arange(number) % 5 == 4, "flank", KEPT),
        }
    )
    low, high = (
        judge(table, Settings(puncta_score=score, puncta_threshold=value), Threshold())
        for value in sorted(thresholds)
    )
    for judged in (low, high):
        assert len(judged.puncta) + (judged.reasons != KEPT).sum() == number
        assert judged.below == (judged.reasons == "contrast").sum()
        assert len(judged.puncta) + judged.below == len(judged.contrast)
    assert len(high.puncta) <= len(low.puncta)
    assert len(high.contrast) == len(low.contrast)


@given(contrast=st.floats(1, 500), width=st.integers(120, 900))
def test_a_place_in_the_plot_is_a_contrast(contrast: float, width: int, qapp: Any) -> None:
    from napari_tam._napari._tabs._threshold_plot import ThresholdPlot

    plot = ThresholdPlot("#FFFFFF", "#000000")
    plot.resize(width, 150)
    plot.show_contrasts(np.array([1.0, 500.0]), 1.0, None)
    assert plot.contrast_at(plot.x_of(contrast)) == pytest.approx(contrast, rel=0.01)


def test_the_axis_stays_while_the_line_is_dragged(qtbot: Any) -> None:
    from napari_tam._napari._tabs._threshold_plot import ThresholdPlot

    contrast = np.array([2.0, 4.0, 8.0])
    plot = ThresholdPlot("#FFFFFF", "#000000")
    qtbot.addWidget(plot)
    plot.resize(400, 150)
    plot.show_contrasts(contrast, 300.0, None)
    plot.moved.connect(lambda value: plot.show_contrasts(contrast, value, None))  # as the form answers
    highest = plot.highest
    drag(plot, qtbot, 300, 100, 10)
    assert plot.value == pytest.approx(10, rel=0.03)
    assert plot.highest == highest
    plot.show_contrasts(contrast, plot.value, None)
    assert plot.highest < highest


def test_the_score_has_a_line_to_drag_too(viewer: Any, done: Any, qtbot: Any) -> None:
    plot, entry = done.puncta.scores, done.form["puncta_score"]
    plot.resize(400, 120)
    assert plot.value == entry.value == 0.5
    done.form["puncta_threshold"].value = 1
    assert plot.counts.sum() == FAINT + CLEAR + UNSURE
    drag(plot, qtbot, 0.5, 0.3, 0.1)
    assert entry.value == plot.value == pytest.approx(0.1, abs=0.01)
    assert len(viewer.layers[POINTS].data) == FAINT + CLEAR + UNSURE  # the unsure ones have 0.2
    drag(plot, qtbot, plot.value, 1.0)
    assert entry.value == plot.value == 0.98
    assert len(viewer.layers[POINTS].data) == 0
    assert plot.grab().toImage().width() > 0
    settled(done, qtbot)

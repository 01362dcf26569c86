"""Marks in real viewers: the threshold follows the puncta that a person clicks, and says how sure it is."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

import napari_viewers
from bundled import need
from napari_viewers import PIXEL_UM, FakeModels, open_widget, run

from napari_tam._napari._marking._panel import KEY
from napari_tam._napari._marking._region import MANY, corners_of, proposed
from napari_tam.cli.main import main
from napari_tam.networks.predictor import Predictor
from napari_tam.puncta.detect import NetworkDetector
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings
from napari_tam.train.marks_files import read_marks, read_regions, write_marks

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (180, 180)
#: A drawn field: places a grid apart, every other one bright.
PLACES = np.array([(12.0 + 12 * i, 12.0 + 12 * j) for i in range(14) for j in range(14)])
BRIGHT = np.arange(len(PLACES)) % 2 == 0
MARKS, REGION, PUNCTA = "marks (a)", "marked region (a)", "puncta (a)"
#: The part of it that is marked: 36 puncta, half of them bright.
BOX = np.array([(-0.5, -0.5), (77.5, 77.5)])


def candidates(_: Any = None) -> pd.DataFrame:
    """Return candidates at all places, whose contrast follows their light; and a few that are none."""
    rng = np.random.default_rng(2)
    number = len(PLACES)
    contrast = np.where(BRIGHT, rng.normal(25, 3, number), rng.normal(9, 2, number))
    table = pd.DataFrame({"y_px": PLACES[:, 0], "x_px": PLACES[:, 1], "contrast": contrast})
    flanks = pd.DataFrame({"y_px": PLACES[:5, 0] + 4, "x_px": PLACES[:5, 1], "contrast": 30.0})
    table = pd.concat([table.assign(reason=""), flanks.assign(reason="flank")], ignore_index=True)
    light = {"intensity": 100.0, "peak": 20.0, "background": 10.0, "width_um": 0.5, "snr": 9.0}
    return table.assign(score=0.95, **light)


def inside() -> Any:
    return (PLACES < 77.5).all(axis=1)


@pytest.fixture
def open_field(viewer: Any, models: FakeModels, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that analyses an image of a name and returns the widget."""
    monkeypatch.setattr(napari_viewers, "PUNCTA", candidates())
    models.cell_labels = np.zeros(SHAPE, np.uint16)
    models.cell_labels[5:175, 5:175] = 1
    models.nucleus_labels = np.zeros(SHAPE, np.uint16)
    place = {"scale": (PIXEL_UM, PIXEL_UM), "units": ("µm", "µm"), "translate": (10, 20)}
    widgets: list[Any] = []

    def opened(name: str, pixels: Any = None) -> Any:
        if not widgets:
            widgets.append(open_widget(viewer))
        rng = np.random.default_rng(5)
        pixels = rng.integers(100, 200, SHAPE, np.uint16) if pixels is None else pixels
        cell = viewer.add_image(rng.integers(100, 200, SHAPE, np.uint16), name=name, **place)
        light = viewer.add_image(pixels, name=f"{name} light", **place)
        widgets[0].choose({"cell": cell, "nucleus": None, "exosome": light})
        run(widgets[0], qtbot)
        return widgets[0]

    return opened


def settled(widget: Any, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: widget.idle and not widget._later.isActive(), timeout=30_000)


def found_inside(viewer: Any) -> int:
    data = np.asarray(viewer.layers[PUNCTA].data)
    return int(((data > BOX[0]) & (data < BOX[1])).all(axis=1).sum())


def begin(widget: Any, box: Any = BOX) -> None:
    """Press the button, and make a box the marked region."""
    from napari_tam._napari._marking._marks import Marked

    widget.marks.mark.click()
    marks = widget.marks.learner.here()
    marks.set(Marked(marks.now.points, (corners_of(box),)))


def click(viewer: Any, places: Any, name: str = MARKS) -> None:
    """Click as napari's tool that adds points does."""
    for place in np.atleast_2d(places):
        viewer.layers[name].add(np.asarray(place) + 0.8)
        viewer.layers[name].selected_data = set()


def test_the_threshold_moves_to_where_counts_agree_with_the_clicks(
    viewer: Any, open_field: Any, qtbot: Any
) -> None:
    widget = open_field("a")
    begin(widget)
    panel, form = widget.marks, widget.form
    automatic = form["puncta_threshold"].value
    assert panel.marking
    assert viewer.layers.selection.active == viewer.layers[MARKS]
    assert found_inside(viewer) == inside().sum() == 36
    meant = PLACES[inside() & BRIGHT]
    click(viewer, meant[:9])
    assert "<b>9 of 10</b> marks" in panel.text.text()
    assert form["puncta_threshold"].value == automatic  # nine are too few
    took = []
    for place in meant[9:]:
        start = time.process_time()
        click(viewer, place)
        took.append(time.process_time() - start)
    assert np.median(took) < 0.1
    assert form["puncta_threshold"].value == widget.puncta.plot.value
    assert 9 < widget.puncta.plot.value < 25
    assert found_inside(viewer) == pytest.approx(len(meant), abs=1)  # at once
    said = panel.text.text()
    assert f"<b>{len(meant)}</b> marks in one image" in said
    assert "<b>contrast of " in said
    assert "before: none" in said
    assert "before 0.67; count off by" in said
    assert "before 100%" in said
    assert re.search(r"Expect about (0\.9.|1\.00) elsewhere", said)
    assert "A first guess" in said
    settled(widget, qtbot)
    found = widget.session.current
    assert found_inside(viewer) == pytest.approx(len(meant), abs=1)
    assert found.analysis.settings.puncta_threshold == form["puncta_threshold"].value
    assert not found.edits.any  # marks are no corrections
    for _ in range(len(meant)):
        panel.undo.click()
    assert form["puncta_threshold"].value == automatic
    assert found_inside(viewer) == 36
    widget._later.stop()


def test_clicks_snap_and_a_second_one_takes_the_mark_back(viewer: Any, open_field: Any) -> None:
    widget = open_field("a")
    begin(widget)
    click(viewer, PLACES[3])
    assert viewer.layers[MARKS].data.tolist() == [PLACES[3].tolist()]
    click(viewer, PLACES[0] + (4, 0))  # a flank is no candidate; the punctum is too far away
    assert viewer.layers[MARKS].data[1].tolist() == [PLACES[0, 0] + 4.8, PLACES[0, 1] + 0.8]
    click(viewer, PLACES[3])
    assert len(viewer.layers[MARKS].data) == 1
    marks = widget.marks.learner.here()
    marks.step(undoing=True)
    assert len(viewer.layers[MARKS].data) == 2
    marks.step(undoing=False)
    assert len(viewer.layers[MARKS].data) == 1
    viewer.layers[MARKS].selected_data = {0}
    viewer.layers[MARKS].remove_selected()
    assert len(marks.now.points) == 0
    viewer.layers.remove(MARKS)  # by the user
    widget.marks.undo.click()
    assert len(viewer.layers[MARKS].data) == 1
    widget.marks.clear.click()
    assert len(viewer.layers[MARKS].data) == len(viewer.layers[REGION].data) == 0


def test_no_marks_change_nothing_and_marks_of_what_is_found_keep_it(
    viewer: Any, open_field: Any, qtbot: Any
) -> None:
    widget = open_field("a")
    before = widget.settings_form.settings()
    begin(widget)
    assert widget.settings_form.settings() == before
    assert not widget._later.isActive()
    click(viewer, PLACES[inside()])  # on the way, what is not clicked yet seems not to be meant
    assert widget.settings_form.settings() == before
    assert found_inside(viewer) == 36
    assert "the threshold is <b>kept</b>" in widget.marks.text.text()
    assert "(F1) <b>1.00</b>, count off by 0%" in widget.marks.text.text()
    settled(widget, qtbot)


def test_marks_outside_the_region_are_told_and_do_not_count(viewer: Any, open_field: Any) -> None:
    widget = open_field("a")
    begin(widget)
    meant = PLACES[inside() & BRIGHT]
    click(viewer, meant)
    value = widget.form["puncta_threshold"].value
    assert "outside" not in widget.marks.text.text()
    click(viewer, PLACES[~inside() & ~BRIGHT][:2])
    assert "<b>2 marks outside the marked region</b> do not count" in widget.marks.text.text()
    assert widget.form["puncta_threshold"].value == value
    viewer.layers[REGION].add_rectangles(corners_of(np.array([(-0.5, 77.5), (179.5, 179.5)])))
    assert "outside" not in widget.marks.text.text()
    assert len(widget.marks.learner.here().now.regions) == 2
    widget._later.stop()


def test_a_line_that_is_set_by_hand_is_where_marks_begin(viewer: Any, open_field: Any) -> None:
    widget = open_field("a")
    begin(widget)
    click(viewer, PLACES[inside() & BRIGHT])
    widget.form["puncta_threshold"].value = 40.0
    click(viewer, PLACES[inside() & ~BRIGHT][0])
    assert "before: 40" in widget.marks.text.text()
    assert widget.form["puncta_threshold"].value < 25
    widget._later.stop()


def test_marks_of_several_images_count_together(viewer: Any, open_field: Any, qtbot: Any) -> None:
    widget = open_field("a")
    begin(widget)
    meant = PLACES[inside() & BRIGHT]
    click(viewer, meant[:9])
    widget = open_field("b")
    begin(widget)
    assert widget.form["puncta_threshold"].value is None
    click(viewer, meant, "marks (b)")
    assert f"<b>{len(meant) + 9}</b> marks in 2 images" in widget.marks.text.text()
    assert widget.form["puncta_threshold"].value is not None
    widget._later.stop()


def test_marks_are_kept_with_the_results_and_come_back(
    viewer: Any, open_field: Any, qtbot: Any, tmp_path: Path
) -> None:
    widget = open_field("a")
    begin(widget)
    meant = PLACES[inside() & BRIGHT]
    click(viewer, meant[:-1])
    assert "Not on disk yet: choose a results folder" in widget.marks.text.text()
    widget.results.folder.value = tmp_path  # chosen afterwards
    assert len(read_marks(tmp_path / "marks" / "a_puncta.csv")) == len(meant) - 1
    click(viewer, meant[-1])
    settled(widget, qtbot)
    widget.marks.keep()
    assert read_marks(tmp_path / "marks" / "a_puncta.csv").tolist() == meant.tolist()
    assert read_regions(tmp_path / "marks" / "a_regions.csv")[0].tolist() == corners_of(BOX).tolist()
    learnt = widget.form["puncta_threshold"].value
    assert "Not on disk" not in widget.marks.text.text()
    widget.marks.learner._marks.clear()  # as in a new window
    widget.form["puncta_threshold"].value = None
    widget.marks.mark.click()
    assert len(widget.marks.learner.here().now.points) == len(meant)
    assert widget.form["puncta_threshold"].value == learnt
    widget.marks.clear.click()
    widget.marks.keep()
    assert list((tmp_path / "marks").iterdir()) == []
    widget._later.stop()


def test_saved_marks_and_settings_are_those_of_the_command_line(
    viewer: Any, open_field: Any, tmp_path: Path, models: FakeModels, capsys: Any
) -> None:
    widget = open_field("a")
    begin(widget)
    click(viewer, PLACES[inside() & BRIGHT])
    learnt, batch = widget.form["puncta_threshold"].value, tmp_path / "settings.yaml"
    batch.write_text(Settings(puncta_min_snr=2, cell_diameter_um=17).to_yaml())
    widget.marks.write_settings(batch)
    assert Settings.from_yaml(batch) == Settings(
        puncta_min_snr=2, cell_diameter_um=17, puncta_threshold=learnt
    )
    widget.marks.write_settings(tmp_path / "new.yaml")
    assert Settings.from_yaml(tmp_path / "new.yaml").puncta_threshold == learnt
    assert widget.marks.save_marks(tmp_path / "marked") == 1
    known, out = tmp_path / "before.yaml", tmp_path / "own.yaml"
    known.write_text(Settings().to_yaml())
    assert (
        main(["train", "puncta", str(tmp_path / "marked"), "--settings", str(known), "--out", str(out)]) == 0
    )
    assert Settings.from_yaml(out).puncta_threshold == learnt
    assert "18 marks in 1 image" in capsys.readouterr().out
    widget._later.stop()


def test_the_key_begins_and_ends_and_is_none_of_naparis_own(viewer: Any, open_field: Any) -> None:
    from app_model.types import KeyBinding
    from napari.utils.shortcuts import default_shortcuts

    theirs = {KeyBinding.from_str(str(key)) for keys in default_shortcuts.values() for key in keys}
    assert KeyBinding.from_str(KEY.replace("-", "+")) not in theirs
    widget = open_field("a")
    press = {str(key): do for key, do in viewer.keymap.items()}["Shift+M"]
    press(viewer)
    assert widget.marks.marking
    assert widget.marks.mark.isChecked()
    region = widget.marks.learner.here().now.regions
    assert len(region) == 1
    press(viewer)
    assert not widget.marks.marking
    assert str(viewer.layers[MARKS].mode) == "pan_zoom"
    for made in (widget.marks.mark, widget.marks.view, widget.marks.draw, widget.marks.write):
        assert made.toolTip()


def test_what_cannot_be_marked_says_why(viewer: Any, open_field: Any, errors: list[str]) -> None:
    widget = open_field("a")
    found = widget.session.current
    found.analysis = replace(found.analysis, candidates=None)
    widget.marks.mark.click()
    assert "only the puncta are known" in errors[-1]
    found.fixed = "a volume"
    widget.marks.mark.click()
    assert "marks are of one plane" in errors[-1]
    assert MARKS not in viewer.layers


def test_what_was_found_can_be_hidden(viewer: Any, open_field: Any) -> None:
    widget = open_field("a")
    widget.marks.hide_found.setChecked(True)
    assert not viewer.layers[PUNCTA].visible
    widget.marks.hide_found.setChecked(False)
    assert viewer.layers[PUNCTA].visible


def test_a_region_is_proposed_that_can_be_marked_by_hand() -> None:
    view = np.array([(-0.5, -0.5), (179.5, 179.5)])
    box = proposed(view, PLACES)
    number = int(((box[0] < PLACES) & (box[1] > PLACES)).all(axis=1).sum())
    assert 16 <= number <= MANY
    assert box.mean(axis=0) == pytest.approx(view.mean(axis=0))
    few = PLACES[:MANY]
    assert proposed(view, few).tolist() == proposed(view, few[:0]).tolist() == view.tolist()


def test_in_a_simulated_field_the_bundled_network_counts_what_was_clicked(
    viewer: Any, open_field: Any, models: FakeModels, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    rows, columns = np.indices(SHAPE)
    truth = PLACES + rng.uniform(-2, 2, PLACES.shape)
    picture = np.full(SHAPE, 60.0)
    for (y, x), bright in zip(truth, BRIGHT, strict=True):
        height = rng.normal(260, 25) if bright else rng.normal(120, 8)
        picture += height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 1.4**2))
    monkeypatch.setattr(models, "puncta", NetworkDetector(Predictor(need("puncta").load())))
    widget = open_field("a", rng.poisson(picture).astype(np.uint16))
    widget.form["puncta_threshold"].value = 1.0  # all that the network finds
    settled(widget, qtbot)
    begin(widget)
    marked = (truth < 77.5).all(axis=1)
    assert found_inside(viewer) == pytest.approx(marked.sum(), abs=2)
    click(viewer, truth[marked & BRIGHT] - 0.8)
    settled(widget, qtbot)
    assert found_inside(viewer) == pytest.approx((marked & BRIGHT).sum(), abs=1)
    # and where nobody clicked
    data = np.asarray(viewer.layers[PUNCTA].data)
    assert len(data) == pytest.approx(BRIGHT.sum(), rel=0.1)


def test_of_two_exosome_labels_the_marks_move_the_threshold_of_one(
    viewer: Any, open_field: Any, qtbot: Any
) -> None:
    widget = open_field("a")
    second = viewer.add_image(
        np.zeros(SHAPE, np.uint16), name="GFP", scale=(PIXEL_UM, PIXEL_UM), translate=(10, 20)
    )
    widget.choose({"exosome": None, "exosome_PKH26": viewer.layers["a light"], "exosome_GFP": second})
    run(widget, qtbot)
    widget.puncta.label.setCurrentIndex(1)
    widget.puncta._on_label()
    assert widget.puncta.label_shown == "GFP"
    begin(widget)
    click(viewer, PLACES[inside() & BRIGHT], "marks GFP (a)")
    thresholds = widget.form["puncta_thresholds"].value
    assert list(thresholds) == ["GFP"]
    assert 9 < thresholds["GFP"] < 25
    assert widget.form["puncta_threshold"].value is None
    assert widget.form["puncta_score"].value == 0.5
    assert len(viewer.layers["puncta GFP (a)"].data) == pytest.approx(BRIGHT.sum(), abs=3)
    assert len(widget.session.current.layers["puncta"].data) == len(PLACES)  # of the other label
    settled(widget, qtbot)
    assert widget.session.current.analysis.summary["puncta"] < 2 * len(PLACES)


def test_marks_are_not_among_the_results(
    viewer: Any, open_field: Any, models: FakeModels, qtbot: Any, tmp_path: Path
) -> None:
    widget = open_field("a")
    begin(widget)
    click(viewer, PLACES[:5])
    models.device, models.hashes = "cpu", {}  # type: ignore[attr-defined]
    viewer.layers.save(str(tmp_path / "saved.results"), plugin="napari-tam")
    assert len(read_results(tmp_path / "saved.results").puncta) == len(PLACES)


def test_marks_of_another_day_are_not_taken_away(viewer: Any, open_field: Any, tmp_path: Path) -> None:
    write_marks(tmp_path / "marks", "a", PLACES[:4], [])
    widget = open_field("a")
    widget.marks.draw.click()  # nothing is drawn
    widget.results.folder.value = tmp_path
    assert len(read_marks(tmp_path / "marks" / "a_puncta.csv")) == 4


def test_a_region_that_is_drawn_is_followed_by_marks(viewer: Any, open_field: Any) -> None:
    widget = open_field("a")
    widget.marks.draw.click()
    layer = viewer.layers[REGION]
    assert str(layer.mode) == "add_rectangle"
    layer.add(corners_of(BOX), shape_type="rectangle")
    assert widget.marks.marking
    (region,) = widget.marks.learner.here().now.regions
    assert sorted(region.tolist()) == sorted(corners_of(BOX).tolist())
    layer.add(corners_of(BOX + 90), shape_type="ellipse")
    assert len(widget.marks.learner.here().now.regions) == 2
    widget.marks.view.click()
    (region,) = widget.marks.learner.here().now.regions
    assert len(region) == 4

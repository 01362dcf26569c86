"""The plugin in real viewers: re-runs, colours, selection, plot, corrections, teaching, batch."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

import fakes
from napari_viewers import PIXEL_UM, FakeModels, add_channels, open_widget, run

from napari_tam._napari._preload import draw_letters
from napari_tam._napari._session import DIMMED, TAUGHT
from napari_tam.pipeline.edits import Edits
from napari_tam.progress import Progress
from napari_tam.results.edits import read_edits

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam._napari._widget import AnalyseWidget

CELLS, POINTS = "cells (CD11b)", "puncta (CD11b)"


@pytest.fixture
def done(viewer: Any, models: FakeModels, qtbot: Any) -> AnalyseWidget:
    """A widget after its first run."""
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    models.calls.clear()
    return widget


def settled(widget: Any, qtbot: Any) -> None:
    """Wait until a moved threshold has been followed by the tables."""
    qtbot.waitUntil(lambda: widget.idle and not widget._later.isActive(), timeout=20_000)


def alpha(viewer: Any, label: int) -> float:
    return float(viewer.layers[CELLS].colormap.color_dict[label][3])


def test_first_results_come_layer_by_layer_and_leave_the_viewer_as_it_was(done: Any, qtbot: Any) -> None:
    layers, text = done.session.viewer.layers, done.session.viewer.canvas.overlays.text
    assert {name: layers[name].visible for name in (CELLS, POINTS)} == {CELLS: True, POINTS: True}
    qtbot.waitUntil(lambda: not text.visible, timeout=2_000)
    assert text.text == ""


def test_letters_of_the_user_stay(viewer: Any, qtbot: Any) -> None:
    text = viewer.canvas.overlays.text
    text.text, text.visible = "plate 3", True
    draw_letters(viewer)
    qtbot.wait(100)
    assert (text.text, text.visible) == ("plate 3", True)


def test_opening_the_widgets_loads_nothing_that_can_wait() -> None:
    import subprocess
    import sys

    code = (
        "import sys, napari_tam._napari._widget, napari_tam._napari._batch;"
        "late = {'torch', 'cellpose', 'matplotlib.pyplot', 'scipy.spatial', 'cv2'};"
        "late |= {'napari_tam.pipeline.steps'};"
        "print(sorted(late & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert out.stdout.strip() == "[]", out.stderr


def test_a_moved_threshold_shows_its_puncta_at_once_and_segments_nothing(
    viewer: Any, models: FakeModels, done: Any, qtbot: Any
) -> None:
    before = list(viewer.layers)
    done.form["puncta_score"].value = 0.75
    assert len(viewer.layers[POINTS].data) == 2  # at once, in the same turn of the event loop
    settled(done, qtbot)
    assert models.calls == []
    assert viewer.layers[CELLS].features["puncta_count"].iloc[1] == 2
    assert viewer.layers[POINTS].features["label"].tolist() == [1, 1]
    done.form["puncta_score"].value = 0.85
    settled(done, qtbot)
    assert viewer.layers[CELLS].features["puncta_count"].iloc[1] == 1
    assert list(viewer.layers) == before  # the same layers, with the user's own colours


def test_a_moved_nucleus_diameter_enters_nuclei_and_cells(done: Any, models: FakeModels, qtbot: Any) -> None:
    done.form["nucleus_diameter_um"].value = 7.0
    run(done, qtbot)
    assert models.calls == [("nuclei", PIXEL_UM, 7.0), ("cells", PIXEL_UM, None)]


def test_the_form_has_every_setting_and_speaks_the_command_lines_yaml(viewer: Any, tmp_path: Path) -> None:
    from napari_tam.settings import Settings

    widget = open_widget(viewer)
    assert {*widget.form, "channels", "pixel_size_um"} == set(Settings.model_fields)
    assert widget.settings_form.settings() == Settings()
    assert all(entry.widget.toolTip() for entry in widget.form.values())
    chosen = Settings(puncta_score=0.61, cell_diameter_um=21.125, phenotype_border=False, cells_model="cyto3")
    (tmp_path / "in.yaml").write_text(chosen.to_yaml(), encoding="utf-8")
    widget.settings_form.load(tmp_path / "in.yaml")
    widget.settings_form.save(tmp_path / "out.yaml")
    assert Settings.from_yaml(tmp_path / "out.yaml") == chosen


def test_a_bad_value_in_the_form_is_told(done: Any, qtbot: Any, errors: list[str]) -> None:
    done.form["flow_threshold"].widget.setRange(0, 100)
    done.form["flow_threshold"].value = 50
    run(done, qtbot)
    assert "flow_threshold = 50" in errors[0]


def test_presets_change_what_they_say(viewer: Any) -> None:
    from napari_tam.presets import PRESETS
    from napari_tam.settings import Settings

    widget = open_widget(viewer)
    for number, preset in enumerate(PRESETS):
        widget.settings_form.preset.activated.emit(number)
        assert widget.settings_form.settings() == Settings(**preset.values)


def test_channels_of_one_layer_take_roles(
    viewer: Any, models: FakeModels, qtbot: Any, tmp_path: Path
) -> None:
    path = fakes.write_image(tmp_path / "plate_B02.ome.tif")
    [layer] = (
        viewer.open(path, plugin=None, stack=False)
        if False
        else [viewer.add_image(fakes.image(), name="plate_B02")]
    )
    widget = open_widget(viewer)
    from napari_tam._napari._channel import Channel

    widget.choose({"cell": Channel(layer, 0), "nucleus": Channel(layer, 1), "exosome": Channel(layer, 2)})
    widget.pixel_size_um = 0.5
    models.cell_labels = fakes.discs(fakes.RADIUS)
    models.nucleus_labels = fakes.discs(5)
    run(widget, qtbot)
    found = widget.session.found["plate_B02"].analysis
    for role, plane in zip(("cell", "nucleus", "exosome"), fakes.image(), strict=True):
        np.testing.assert_array_equal(found.field.channels[role], plane)
    models.calls.clear()
    run(widget, qtbot)
    assert models.calls == []  # the same pixels, though sliced anew


def test_names_and_pixel_size_come_from_the_file_where_the_layer_has_none(tmp_path: Path) -> None:
    from napari_tam._napari._channel import file_facts

    facts = file_facts(fakes.write_image(tmp_path / "a.ome.tif"))
    assert facts.channel_names == ("CD11b", "DAPI", "exosome")
    assert facts.pixel_um == (fakes.PIXEL_UM, fakes.PIXEL_UM)


def test_cells_are_coloured_by_a_column(viewer: Any, done: Any) -> None:
    done.results.colour_by("puncta_count")
    colours = viewer.layers[CELLS].colormap.color_dict
    assert colours[1][:3].tolist() == pytest.approx([0.993, 0.906, 0.144], abs=0.01)  # viridis' yellow end
    assert colours[2][:3].tolist() == pytest.approx([0.267, 0.005, 0.329], abs=0.01)
    assert "viridis" not in done.results.legend.text()
    assert done.results.legend.text().count("■") == 3


def test_a_click_selects_a_cell_and_its_row_and_a_row_its_cell(viewer: Any, done: Any) -> None:
    cells = viewer.layers[CELLS]
    world = cells.data_to_world((10, 10))
    done.session.click(world)
    found = done.session.current
    assert found.selected == {1}
    assert cells.selected_label == 1
    assert viewer.layers.selection.active == cells
    assert (alpha(viewer, 1), alpha(viewer, 2)) == (1, pytest.approx(DIMMED))
    cells.selected_label = 2  # what napari's table does when a row is chosen
    assert found.selected == {2}
    assert viewer.scene.camera.center[-2:] == pytest.approx(cells.data_to_world((39.5, 39.5)))
    done.session.click(cells.data_to_world((1, 1)))
    assert found.selected == frozenset()
    assert alpha(viewer, 1) == 1


def test_several_rows_of_napari_s_table_light_up(viewer: Any, done: Any, npe2pm: Any) -> None:
    with npe2pm.tmp_plugin(package="napari"):
        done.results.open_table()
        table = done.results._table
        assert table is not None
        table.table.selectRow(1)
        from qtpy.QtCore import QItemSelectionModel

        model = table.table.model()
        flags = QItemSelectionModel.SelectionFlag
        table.table.selectionModel().select(model.index(2, 0), flags.Select | flags.Rows)
        assert done.session.current.selected == {1, 2}


def test_cells_drawn_around_in_the_plot_light_up(viewer: Any, done: Any) -> None:
    done.plot.show_columns("area_um2", "puncta_count")
    assert done.plot.points[:, 0].tolist() == [2, 0]
    done.plot.choose(np.array([(1.5, 0), (2.5, 0), (2.5, 1e6), (1.5, 1e6)]))
    assert done.session.current.selected == {1}
    assert alpha(viewer, 2) == pytest.approx(DIMMED)
    done.plot.show_columns("puncta_count")
    assert len(done.plot.points) == 2


def test_painted_masks_are_measured_and_survive_a_run_and_a_new_widget(
    viewer: Any, models: FakeModels, done: Any, qtbot: Any, tmp_path: Path
) -> None:
    found = done.session.current
    found.folder = tmp_path
    area = found.analysis.table["area_um2"].tolist()
    done.correct.edit("cells")
    cells = viewer.layers[CELLS]
    assert (cells.mode, cells.selected_label) == ("paint", 3)
    cells.data[52:60, 4:12] = 3
    cells.data[5:15, 5:25] = 0
    viewer.layers[POINTS].data = np.array([[13.5, 18.0], [55.0, 58.0], [56.0, 6.0]])
    done.correct.update_measurements()
    qtbot.waitUntil(lambda: done.idle, timeout=20_000)
    assert models.calls == []
    table = done.session.current.analysis.table
    assert table["label"].tolist() == [1, 2, 3]
    assert table["area_um2"].tolist() == [area[0] / 2, area[1], 64 * PIXEL_UM**2]
    assert table["puncta_count"].tolist() == [0, 0, 1]
    assert "cells corrected by hand" in done.correct.state.text()
    kept = read_edits(tmp_path, "CD11b", (64, 64))
    assert kept is not None
    assert kept.added.tolist() == [[56.0, 6.0]]
    assert kept.removed.tolist() == [[12.0, 14.25]]
    done.form["cell_diameter_um"].value = 9
    run(done, qtbot)
    assert [name for name, *_ in models.calls] == []  # the masks are the corrected ones
    assert done.session.current.analysis.table["area_um2"].tolist() == table["area_um2"].tolist()
    done.correct.discard()
    qtbot.waitUntil(lambda: done.idle, timeout=20_000)
    assert done.session.current.analysis.table["area_um2"].tolist() == area
    assert read_edits(tmp_path, "CD11b", (64, 64)) is None


def test_saved_results_are_those_of_the_command_line(
    viewer: Any, done: Any, tmp_path: Path, models: FakeModels
) -> None:
    from napari_tam.results.folder import read_results

    done.results.folder.value = tmp_path / "out"
    models.device, models.hashes = "cpu", {}
    done.results.save()
    back = read_results(tmp_path / "out")
    table = done.session.current.analysis.table
    assert back.cells["area_um2"].tolist() == table["area_um2"].tolist()
    np.testing.assert_array_equal(back.masks("CD11b"), models.cell_labels)


def test_click_to_label_train_and_apply(
    viewer: Any, done: Any, models: FakeModels, qtbot: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from phenotypes import ellipses, field_of

    from napari_tam.phenotype import classify
    from napari_tam.train import phenotype as phenotype_training
    from napari_tam.train.phenotype import Recipe

    rng = np.random.default_rng(3)
    ratios = [1.1, 2.4] * 11
    labels = ellipses(ratios, rng)
    field = field_of(labels, rng)
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)
    scale = {"scale": (0.5, 0.5), "units": ("µm", "µm")}
    viewer.add_image(field.channels["cell"], name="actin", **scale)
    viewer.add_image(field.channels["exosome"], name="PKH26", **scale)
    models.cell_labels = labels
    run(done, qtbot)
    found = done.session.found["actin"]
    done.tabs.setCurrentWidget(done.teach)
    done.teach.active.setChecked(True)
    table = found.analysis.table
    cells = found.layers["cells"]
    for k, ratio in enumerate(ratios):
        done.teach.current.setCurrentText("M1" if ratio < 2 else "M2")
        place = table.loc[k, ["centroid_y_px", "centroid_x_px"]].to_numpy(float)
        done.session.click(cells.data_to_world(place))
    assert done.teach.count.text() == "labelled: M1: 11, M2: 11 in 1 image"
    assert found.column == TAUGHT
    done.session.click(cells.data_to_world(place))  # once more takes it back
    assert done.teach.count.text() == "labelled: M1: 11, M2: 10 in 1 image"
    done.session.click(cells.data_to_world(place))

    monkeypatch.setattr(phenotype_training, "Recipe", lambda: Recipe(steps=8, batch=16))
    monkeypatch.setattr(classify, "load_classifier", lambda name, device=None: None)
    done.teach.folder.value = tmp_path / "mine"
    done.teach.train()
    qtbot.waitUntil(lambda: done.idle, timeout=120_000)
    assert "balanced accuracy" in done.teach.report.toPlainText()
    assert "RANDOM SPLIT of a single group" in done.teach.report.toPlainText()
    monkeypatch.undo()
    assert (tmp_path / "mine" / "phenotype.safetensors").exists()
    model = classify.load_classifier(str(tmp_path / "mine"))
    assert model is not None
    assert model.classes == ("M1", "M2")


def test_corrected_masks_train_the_cell_network_which_the_form_is_offered(
    viewer: Any,
    done: Any,
    models: FakeModels,
    qtbot: Any,
    tmp_path: Path,
    monkeypatch: Any,
    errors: list[str],
) -> None:
    from types import SimpleNamespace

    training = done.correct.training
    training.folder.value = tmp_path / "mine"
    training.train()
    assert "0 of the open images have corrected cells, and two are needed" in errors[0]
    given: list[Any] = []

    def finetune(fields: Any, card: Any, recipe: Any, settings: Any, device: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        given.extend(fields)
        yield Progress("train on all fields", 0, 1)
        return SimpleNamespace(adopted=adopted, report=None)

    monkeypatch.setattr("napari_tam.train.finetune.Recipe", lambda: None)
    monkeypatch.setattr("napari_tam.train.finetune.finetune", finetune)
    monkeypatch.setattr("napari_tam.train.judgement.report_lines", lambda report: ["mean 0.5 0.6"])
    monkeypatch.setattr("napari_tam.train.judgement.save", lambda model, out: out.mkdir())
    monkeypatch.setattr(
        "napari_tam.train.judgement.verdict",
        lambda model: "better" if model.adopted else "not written: worse",
    )
    monkeypatch.setattr("napari_tam.networks.cards.bundled_cards", lambda: {"cells-fast": 1})
    # Two images whose cells were corrected, as Update measurements leaves them.
    [found] = done.session.found.values()
    corrected = replace(found.analysis, edits=Edits(cells=models.cell_labels))
    found.analysis = corrected
    field = replace(corrected.field, name="second")
    done.session.found["second"] = replace(found, name="second", analysis=replace(corrected, field=field))
    for adopted in (False, True):
        given.clear()
        training.train()
        qtbot.waitUntil(lambda: done.idle, timeout=60_000)
        assert [f.name for f in given] == ["CD11b", "second"]
        assert len({f.group for f in given}) == 2
        assert training._offer.isEnabled() is adopted
        assert (tmp_path / "mine").exists() is adopted
    assert training.report.toPlainText() == "mean 0.5 0.6\n\nbetter"
    assert done.form["cells_model"].value == "cells"  # offered, not taken
    training.use()
    assert done.form["cells_model"].value == str(tmp_path / "mine")


def test_the_batch_shows_every_file_and_opens_a_finished_one(
    viewer: Any, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        fakes.write_image(folder / f"{name}.ome.tif")
    (folder / "broken.tif").write_bytes(b"no image")
    _, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Analyse a folder")
    widget.images.value = folder
    assert widget.out.value == folder / "napari-tam results"
    widget.out.value = tmp_path / "out"
    widget._session.models = lambda settings: fakes.models()
    widget.run()
    assert not widget.idle
    qtbot.waitUntil(lambda: widget.idle, timeout=60_000)
    assert widget.statuses() == {"a": "done", "b": "done", "broken": "failed"}
    assert widget.table.item(2, 1).toolTip()
    assert widget.status_line.text().startswith("2 images analysed, 1 failed")
    assert pd.read_csv(tmp_path / "out" / "cells.csv")["image"].value_counts().to_dict() == {"a": 3, "b": 3}
    assert (tmp_path / "out" / "thresholds.csv").exists()  # the conclusions of the command line, too
    widget.open(1)
    assert "cells (b)" in viewer.layers
    np.testing.assert_array_equal(viewer.layers["cells (b)"].data > 0, fakes.discs(fakes.RADIUS) > 0)
    assert len(viewer.layers["puncta (b)"].data) == 4
    widget.open(2)
    assert "broken" in widget.status_line.text()
    widget.open(0)
    assert viewer.layers["cells (a)"].visible
    assert not viewer.layers["cells (b)"].visible
    assert errors == []


def test_a_cancelled_batch_keeps_what_is_finished(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        fakes.write_image(tmp_path / f"{name}.ome.tif")
    go_on = threading.Event()

    class Waiting(fakes.ThresholdSegmenter):
        calls = 0

        def segment(self, *given: Any) -> Any:
            type(self).calls += 1
            assert self.calls < 2 or go_on.wait(20)
            return super().segment(*given)

    _, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Analyse a folder")
    widget.images.value, widget.out.value = tmp_path, tmp_path / "out"
    widget._session.models = lambda settings: replace(fakes.models(), cells=Waiting())
    widget.run()
    qtbot.waitUntil(lambda: Waiting.calls == 2, timeout=30_000)
    widget.cancel()
    go_on.set()
    qtbot.waitUntil(lambda: widget.idle, timeout=30_000)
    assert widget.statuses() == {"a": "done", "b": "waiting", "c": "waiting"}
    assert widget.status_line.text() == "Cancelled."
    assert pd.read_csv(tmp_path / "out" / "images.csv")["status"].tolist() == [
        "ok",
        "not analysed",
        "not analysed",
    ]


def test_try_it_reaches_a_table_and_a_plot(viewer: Any, models: FakeModels, qtbot: Any, npe2pm: Any) -> None:
    widget = open_widget(viewer)
    models.cell_labels = np.zeros((1024, 1024), np.uint16)
    with npe2pm.tmp_plugin(package="napari"):
        [image, *_] = viewer.open_sample("napari-tam", "field_01")
        models.cell_labels = np.zeros(image.data.shape, np.uint16)
        models.cell_labels[5:60, 5:60] = 1
        models.nucleus_labels = np.zeros(image.data.shape, np.uint16)
        widget.try_it()
        qtbot.waitUntil(lambda: widget.idle, timeout=20_000)
        assert widget.tabs.currentWidget() is widget.plot
        assert widget.results._table is not None
    assert widget.session.current.name == "field_01"
    assert len(viewer.layers) == 6
    assert widget.session.current.folder is None  # nothing is written beside the samples


def test_closing_in_the_middle_of_a_run_disturbs_nobody(
    viewer: Any, models: FakeModels, qtbot: Any, npe2pm: Any
) -> None:
    add_channels(viewer)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
    _, batch = viewer.window.add_plugin_dock_widget("napari-tam", "Analyse a folder")
    job, session = widget.job, widget.session
    run(widget, qtbot)
    found = session.current
    models.calls.clear()
    models.go_on.clear()
    widget.form["cell_probability"].value = 0.4
    widget.run()
    qtbot.waitUntil(lambda: bool(models.calls), timeout=20_000)
    viewer.window.remove_dock_widget(dock)
    qtbot.wait(50)
    models.go_on.set()
    qtbot.waitUntil(lambda: job.idle, timeout=20_000)
    add_channels(viewer, "second ")  # what listened to the viewer is gone
    session.put(found)
    assert session is batch._session
    assert session.form_settings is None


def test_closing_leaves_no_widget_and_no_thread(
    viewer: Any, models: FakeModels, qtbot: Any, npe2pm: Any
) -> None:
    import weakref

    threads, callbacks = threading.active_count(), list(viewer.mouse_drag_callbacks)
    add_channels(viewer)
    gone = []
    for _ in range(2):
        dock, widget = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
        run(widget, qtbot)
        gone += [weakref.ref(widget), weakref.ref(widget.session)]
        viewer.window.remove_dock_widget(dock)
        del dock, widget
        qtbot.wait(50)
        gc.collect()
    assert [ref() for ref in gone] == [None] * 4
    assert threading.active_count() <= threads + 1  # the pool's idle thread
    assert list(viewer.mouse_drag_callbacks) == callbacks


@pytest.mark.slow
def test_the_numbers_are_those_of_the_command_line(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    from napari_tam._napari._layers import SAMPLES
    from napari_tam.cli.main import main
    from napari_tam.results.tables import read_csv
    from napari_tam.settings import Settings

    path = SAMPLES / "field_01.ome.tif"
    settings = Settings(puncta_score=0.6, cell_diameter_um=18.0)
    (tmp_path / "settings.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    widget = open_widget(viewer)
    viewer.open_sample("napari-tam", "field_01")
    widget.settings_form.load(tmp_path / "settings.yaml")
    widget.run()
    qtbot.waitUntil(lambda: widget.idle, timeout=240_000)
    arguments = ["analyse", str(path), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--settings", str(tmp_path / "settings.yaml")]) == 0
    cells = read_csv(tmp_path / "out" / "cells.csv")
    puncta = read_csv(tmp_path / "out" / "puncta.csv")
    analysis = widget.session.found["field_01"].analysis
    for mine, theirs in ((analysis.table, cells), (analysis.puncta, puncta)):
        assert len(mine) == len(theirs) > 0
        assert set(mine) <= set(theirs)  # the folder's has the conclusions besides
        for name in mine:
            expected = theirs[name].astype(mine[name].dtype)
            pd.testing.assert_series_equal(mine[name], expected, rtol=1e-12, check_names=False)

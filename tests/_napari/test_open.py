"""Finished images in napari: opened from a results folder they can be corrected and run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

import fakes
import tifffile
from napari_viewers import PIXEL_UM, FakeModels, add_channels, open_widget, run

from napari_tam._napari._layers import FIRST
from napari_tam._napari._open import read_found
from napari_tam.batches.run import analyse_files
from napari_tam.results.edits import read_edits
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam._napari._widget import AnalyseWidget

SETTINGS = Settings(puncta_min_snr=2.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A results folder of two images."""
    paths = [fakes.write_image(tmp_path / f"{name}.ome.tif") for name in "ab"]
    done = analyse_files(paths, SETTINGS, fakes.models(), tmp_path / "out")
    assert all(outcome.error is None for outcome in done)
    return tmp_path / "out"


def opened(viewer: Any, folder: Path, qtbot: Any) -> AnalyseWidget:
    """The panel, after it, or before it, the folder."""
    widget: AnalyseWidget = open_widget(viewer)
    widget.session.models = lambda settings: fakes.models()  # type: ignore[method-assign]
    if folder is not None and not len(viewer.layers):
        viewer.open(str(folder), plugin="napari-tam")
    qtbot.waitUntil(lambda: "a" in widget.session.found and widget.idle, timeout=20_000)
    return widget


@pytest.mark.parametrize("panel_first", [True, False])
def test_an_opened_folder_can_be_chosen_from_and_plotted(
    viewer: Any, folder: Path, qtbot: Any, panel_first: bool
) -> None:
    if not panel_first:
        viewer.open(str(folder), plugin="napari-tam")
    widget = opened(viewer, folder, qtbot)
    assert len(viewer.layers) == 6  # those that were opened, not a second set
    found = widget.session.found["a"]
    assert {kind: layer.name for kind, layer in found.layers.items()} == {
        kind: f"{kind} (a)" for kind in ("cells", "nuclei", "puncta")
    }
    row = found.analysis.table.iloc[1]
    centre = row[["centroid_y_px", "centroid_x_px"]].to_numpy(float)
    widget.session.click(found.layers["cells"].data_to_world(centre))
    assert found.selected == {row["label"]}
    assert f"cell {row['label']}: " in widget.results.image.text()
    widget.plot.draw()
    assert widget.plot.labels.tolist() == found.analysis.table["label"].tolist()
    assert widget.form["puncta_min_snr"].value == 2.5
    assert {role: channel.name for role, channel in widget.chosen().items()} == {
        role: f"a {role}" for role in ("cell", "nucleus", "exosome")
    }
    before = found.analysis.table
    run(widget, qtbot)
    again = widget.session.found["a"].analysis.table
    assert again["puncta_count"].tolist() == before["puncta_count"].tolist()
    assert len(viewer.layers) == 6


def test_corrections_in_an_opened_folder_are_kept_there_and_measured(
    viewer: Any, folder: Path, qtbot: Any
) -> None:
    widget = opened(viewer, folder, qtbot)
    found = widget.session.found["a"]
    widget.correct.edit("cells")
    found.layers["cells"].data[80:94, 4:20] = 9
    found.layers["puncta"].add([[85.0, 10.0]])
    widget.correct.update_measurements()
    qtbot.waitUntil(lambda: widget.idle, timeout=20_000)
    table = widget.session.found["a"].analysis.table.set_index("label")
    assert table.loc[9, "area_um2"] == 14 * 16 * fakes.PIXEL_UM**2
    assert table.loc[9, "puncta_count"] == 1
    kept = read_edits(folder, "a", fakes.SHAPE)
    assert kept is not None
    assert kept.added.tolist() == [[85.0, 10.0]]
    assert kept.cells is not None

    # Opened again they are newer than the folder's tables, and taken over at once.
    viewer.layers.clear()
    widget.session.found.clear()
    viewer.open(str(folder), plugin="napari-tam")
    qtbot.waitUntil(lambda: "a" in widget.session.found and widget.idle, timeout=20_000)
    qtbot.waitUntil(lambda: len(widget.session.found["a"].analysis.table) == 4, timeout=20_000)
    qtbot.waitUntil(lambda: widget.idle, timeout=20_000)
    assert widget.session.found["a"].analysis.table["puncta_count"].iloc[-1] == 1

    # A later run of the folder has them in its tables; a further punctum does not drop the first.
    paths = [folder.parent / f"{name}.ome.tif" for name in "ab"]
    list(analyse_files(paths, SETTINGS, fakes.models(), folder))
    viewer.layers.clear()
    widget.session.found.clear()
    viewer.open(str(folder), plugin="napari-tam")
    qtbot.waitUntil(lambda: "a" in widget.session.found and widget.idle, timeout=20_000)
    found = widget.session.found["a"]
    assert found.edits is found.analysis.edits
    found.layers["puncta"].add([[90.0, 15.0]])
    widget.correct.update_measurements()
    qtbot.waitUntil(lambda: widget.idle, timeout=20_000)
    assert widget.session.found["a"].edits.added.tolist() == [[85.0, 10.0], [90.0, 15.0]]
    assert widget.session.found["a"].analysis.table["puncta_count"].iloc[-1] == 2
    widget.correct.discard()
    qtbot.waitUntil(lambda: widget.idle, timeout=20_000)
    assert widget.session.found["a"].analysis.table["label"].tolist() == [1, 2, 3]


def test_discarded_corrections_are_not_taken_for_what_was_found(folder: Path) -> None:
    assert read_found(folder, "a").analysis.edits.cells is None
    labels = fakes.discs(fakes.RADIUS)
    labels[80:94, 4:20] = 9
    from napari_tam.pipeline.edits import Edits
    from napari_tam.results.edits import save_edits

    save_edits(folder, "a", Edits(cells=labels), fakes.PIXEL_UM)
    paths = [folder.parent / f"{name}.ome.tif" for name in "ab"]
    list(analyse_files(paths, SETTINGS, fakes.models(), folder))
    save_edits(folder, "a", Edits(), fakes.PIXEL_UM)
    found = read_found(folder, "a")
    assert found.edits.cells is None
    np.testing.assert_array_equal(found.analysis.edits.cells, labels)  # so that a run finds them anew


def test_results_without_their_image_say_what_cannot_be_done(
    viewer: Any, folder: Path, qtbot: Any, errors: list[str]
) -> None:
    (folder.parent / "a.ome.tif").unlink()
    widget = opened(viewer, folder, qtbot)
    found = widget.session.found["a"]
    widget.session.select(found, {2})
    assert found.selected == {2}
    found.layers["cells"].data[80:94, 4:20] = 9
    widget.correct.update_measurements()
    assert errors == [
        "a: only the results are open, and nothing can be measured without the image. "
        "Put the image back where it was, and open the results again"
    ]
    assert widget.idle
    widget.results.save()
    assert errors[1].startswith("a: only the results are open")


def test_the_folder_panel_shows_an_earlier_run(viewer: Any, folder: Path, qtbot: Any) -> None:
    widget = open_widget(viewer)
    _, batch = viewer.window.add_plugin_dock_widget("napari-tam", "Analyse a folder")
    batch.out.value = folder
    assert batch.statuses() == {"a": "done", "b": "done"}
    assert batch.report_button.isEnabled()
    assert batch.table.item(1, 2).text() == "3"
    batch.open(1)
    assert widget.session.current.name == "b"
    assert widget.chosen()["cell"].name == "b cell"
    batch.out.value = folder.parent
    assert batch.statuses() == {}


def test_an_image_that_is_opened_later_takes_the_roles(viewer: Any, models: FakeModels, qtbot: Any) -> None:
    widget = open_widget(viewer)
    add_channels(viewer)
    assert widget.chosen()["cell"].name == "CD11b"
    viewer.add_image(np.zeros((64, 64)), name="PKH26 smoothed")  # a layer more is no other image
    assert widget.chosen()["exosome"].name == "PKH26"
    viewer.layers.remove("PKH26 smoothed")
    add_channels(viewer, "second ")
    assert {role: channel.name for role, channel in widget.chosen().items()} == {
        "cell": "second CD11b",
        "nucleus": "second DAPI",
        "exosome": "second PKH26",
    }


def test_an_image_of_unnamed_channels_takes_no_roles_but_ends_those_of_the_one_before(
    viewer: Any, models: FakeModels, qtbot: Any, tmp_path: Path
) -> None:
    fakes.write_image(tmp_path / "a.ome.tif")
    for image in "bc":
        for number, pixels in enumerate(fakes.image()):
            tifffile.imwrite(tmp_path / f"{image}_ch{number:02d}.tif", pixels)
    widget = open_widget(viewer)
    viewer.open(str(tmp_path / "a.ome.tif"), plugin="napari-tam")
    run(widget, qtbot)
    viewer.open(str(tmp_path / "b_ch00.tif"), plugin="napari-tam")
    assert widget.chosen() == {}
    assert widget.pixel_size_um == 0
    assert widget.status == "Choose the layer of the cell stain and of the exosomes in the tab Analyse."
    assert {layer.name for layer in viewer.layers if layer.visible} == {f"b ch0{n}" for n in range(3)}
    widget.run()  # not the image before once more
    assert widget.idle
    channels = {"cell": "ch00", "exosome": "ch02"}
    widget.choose({role: viewer.layers[f"b {name}"] for role, name in channels.items()})
    viewer.open(str(tmp_path / "c_ch00.tif"), plugin="napari-tam")  # its channels are called alike
    assert {role: channel.name for role, channel in widget.chosen().items()} == {
        role: f"c {name}" for role, name in channels.items()
    }
    viewer.add_image(np.zeros(fakes.SHAPE), name="further")  # a layer more is no other image
    assert widget.chosen()["cell"].name == "c ch00"


def test_a_folder_whose_files_tell_nothing_is_read_as_the_image_of_the_form(
    viewer: Any, models: FakeModels, qtbot: Any, tmp_path: Path
) -> None:
    for image in "bc":
        for number, pixels in enumerate(fakes.image()):
            tifffile.imwrite(tmp_path / f"{image}_ch{number:02d}.tif", pixels)
    (tmp_path / "a.tif").write_bytes(b"broken")
    widget = open_widget(viewer)
    widget.session.models = lambda settings: fakes.models()  # type: ignore[method-assign]
    _, batch = viewer.window.add_plugin_dock_widget("napari-tam", "Analyse a folder")
    viewer.open(str(tmp_path / "b_ch00.tif"), plugin="napari-tam")
    batch.images.value, batch.out.value = tmp_path, tmp_path / "out"

    def done() -> set[str]:
        batch.run()
        qtbot.waitUntil(lambda: batch.idle, timeout=60_000)
        return set(batch.statuses().values())

    assert done() == {"failed"}
    widget.choose({"cell": viewer.layers["b ch00"], "exosome": viewer.layers["b ch02"]})
    assert done() == {"failed"}
    widget.pixel_size_um = PIXEL_UM
    assert done() == {"done", "failed"}  # the broken one
    assert "channels and pixel size as in the form" in batch.status_line.text()
    assert read_results(tmp_path / "out").images["pixel_size_um"].dropna().tolist() == [PIXEL_UM] * 2
    assert Settings.from_yaml(tmp_path / "out" / "settings.yaml").channels == {
        "cell": "ch00",
        "exosome": "ch02",
    }


def test_a_stack_of_few_planes_is_offered_as_one(viewer: Any, models: FakeModels, qtbot: Any) -> None:
    widget = open_widget(viewer)
    rng = np.random.default_rng(2)
    for name in ("CD11b", "PKH26"):
        viewer.add_image(rng.integers(100, 200, (5, 64, 64), np.uint16), name=name)
    assert {role: channel.name for role, channel in widget.chosen().items()} == {
        "cell": "CD11b",
        "exosome": "PKH26",
    }
    widget.pixel_size_um = PIXEL_UM
    viewer.dims.set_current_step(0, 3)
    run(widget, qtbot)
    assert list(widget.session.found) == ["CD11b_p003"]


def test_the_table_begins_with_what_is_asked_for_and_shows_the_clicked_cell(
    viewer: Any, models: FakeModels, qtbot: Any, npe2pm: Any
) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    features = widget.session.current.layers["cells"].features
    known = [name for name in FIRST if name in features]
    assert features.columns[: len(known) + 1].tolist() == ["index", *known]
    with npe2pm.tmp_plugin(package="napari"):
        widget.results.open_table()
        view = widget.results._table.table
        asked: list[int] = []
        view.scrollTo = lambda at, *_: asked.append(view.model().mapToSource(at).row())
        widget.session.select(widget.session.current, {2})
        assert asked == [2]


def test_the_two_panels_share_a_side_as_tabs(viewer: Any, qtbot: Any) -> None:
    first, _ = viewer.window.add_plugin_dock_widget("napari-tam", "Measure exosome uptake")
    window = first.window()
    with qtbot.waitExposed(window):
        window.show()
    qtbot.wait(300)  # napari restores its own size meanwhile
    size = window.size()
    second, _ = viewer.window.add_plugin_dock_widget("napari-tam", "Analyse a folder")
    qtbot.wait(50)
    assert second in window.tabifiedDockWidgets(first)
    assert window.size() == size


def test_a_refused_training_leaves_no_promise(
    viewer: Any, models: FakeModels, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    teach, found = widget.teach, widget.session.current
    teach.active.setChecked(True)
    assert teach.label(found, 1)
    assert widget.results.column.currentText() == "your classes"
    assert widget.results.legend.text()
    teach.folder.value = tmp_path / "model"
    teach.train()
    assert teach.report.toPlainText() == "Training …"
    qtbot.waitUntil(lambda: widget.idle, timeout=60_000)
    assert errors
    assert teach.report.toPlainText() == ""


def test_titles_say_the_unit_once() -> None:
    from napari_tam._napari._tabs._form import title

    assert title("frame_interval_min", "min") == "frame interval [min]"
    assert title("min_cell_area_um2", "µm²") == "min cell area [µm²]"
    assert title("puncta_score", "") == "puncta score"

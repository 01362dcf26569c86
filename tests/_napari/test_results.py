"""Results folders in napari: File → Open and File → Save; planes of stacks; colours; quiet loading."""

from __future__ import annotations

import gc
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

import fakes
from napari_viewers import PIXEL_UM, FakeModels, add_channels, open_widget, run

from napari_tam._napari import _preload
from napari_tam._napari._contributions._reader import open_results, results_reader
from napari_tam._napari._contributions._writer import NotSavedError
from napari_tam._napari._label_colours import CellColours, small
from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A results folder of two images."""
    paths = [fakes.write_image(tmp_path / f"{name}.ome.tif") for name in "ab"]
    assert all(
        done.error is None for done in analyse_files(paths, Settings(), fakes.models(), tmp_path / "out")
    )
    return tmp_path / "out"


def test_the_icon_is_a_picture_that_comes_with_the_package(plugin: None) -> None:
    from importlib.resources import files
    from xml.etree import ElementTree

    from npe2 import PluginManager

    manifest = PluginManager.instance().get_manifest("napari-tam")
    manifest.validate_imports()
    package, _, name = str(manifest.icon).partition(":")
    assert ElementTree.fromstring(files(package).joinpath(name).read_text()).tag.endswith("svg")


def test_a_results_folder_opens_with_its_first_image(viewer: Any, folder: Path) -> None:
    viewer.open(str(folder), plugin="napari-tam")
    names = {layer.name for layer in viewer.layers}
    assert names == {"a cell", "a nucleus", "a exosome", "cells (a)", "nuclei (a)", "puncta (a)"}
    np.testing.assert_array_equal(viewer.layers["a exosome"].data, fakes.image()[2])
    cells, puncta = viewer.layers["cells (a)"], viewer.layers["puncta (a)"]
    np.testing.assert_array_equal(cells.data, read_results(folder).masks("a"))
    assert all(tuple(layer.scale) == (fakes.PIXEL_UM,) * 2 for layer in viewer.layers)
    table = read_results(folder).cells.query("image == 'a'")
    assert cells.features["puncta_count"].iloc[1:].tolist() == table["puncta_count"].tolist()
    assert len(puncta.data) == len(read_results(folder).puncta.query("image == 'a'")) > 0
    assert isinstance(cells.colormap, CellColours)


def test_another_image_opens_by_its_mask(viewer: Any, folder: Path) -> None:
    viewer.open(str(folder / "masks" / "b_cells.tif"), plugin="napari-tam")
    assert "cells (b)" in viewer.layers
    assert "b cell" in viewer.layers


def test_without_its_image_a_result_is_masks_and_puncta(viewer: Any, folder: Path) -> None:
    from napari.utils.notifications import notification_manager

    notes: list[str] = []

    def listen(note: Any) -> None:
        notes.append(note.message)

    notification_manager.notification_ready.connect(listen)
    (folder.parent / "a.ome.tif").unlink()
    viewer.open(str(folder), plugin="napari-tam")
    assert notes[-1].startswith("Only masks and puncta of a are shown: ")
    assert {layer.name for layer in viewer.layers} == {"cells (a)", "nuclei (a)", "puncta (a)"}
    assert tuple(viewer.layers["cells (a)"].scale) == (fakes.PIXEL_UM,) * 2


def test_what_is_no_results_folder_is_left_to_others(tmp_path: Path, folder: Path) -> None:
    assert results_reader(str(tmp_path)) is None
    (tmp_path / "x_cells.tif").touch()
    assert results_reader(str(tmp_path / "x_cells.tif")) is None
    assert results_reader([str(folder)]) is None
    assert results_reader(str(folder / "images.csv")) is None


def test_a_damaged_results_folder_is_told(folder: Path) -> None:
    with pytest.raises(InputError, match="nobody was not analysed"):
        open_results(folder, "nobody")
    (folder / "masks" / "a_cells.tif").unlink()
    with pytest.raises(InputError, match="mask of the cells is not there"):
        open_results(folder)


@pytest.fixture
def widget(viewer: Any, models: FakeModels, qtbot: Any) -> Any:
    models.device, models.hashes = "cpu", {}  # type: ignore[attr-defined]
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    return widget


def test_saving_layers_writes_the_results_folder(viewer: Any, widget: Any, tmp_path: Path) -> None:
    out = tmp_path / "mine.results"
    assert viewer.layers.save(str(out), plugin="napari-tam") == [str(out)]
    results = read_results(out)
    found = widget.session.current
    assert results.images["image"].tolist() == ["CD11b"]
    assert results.cells["puncta_count"].tolist() == found.analysis.table["puncta_count"].tolist()
    np.testing.assert_array_equal(results.masks("CD11b"), found.analysis.cells)


def test_masks_that_were_not_measured_are_not_saved(viewer: Any, widget: Any, tmp_path: Path) -> None:
    viewer.layers["cells (CD11b)"].data_setitem((np.array([60]), np.array([60])), 3)
    with pytest.raises(NotSavedError, match="corrected and not measured since"):
        viewer.layers.save(str(tmp_path / "mine.results"), plugin="napari-tam")
    assert not (tmp_path / "mine.results").exists()


def test_layers_of_other_origin_are_not_saved_as_results(viewer: Any, widget: Any, tmp_path: Path) -> None:
    own = viewer.layers["puncta (CD11b)"]
    other = viewer.add_labels(np.zeros((64, 64), np.uint16), name="mine")
    viewer.layers.selection = {own, other}
    with pytest.raises(NotSavedError, match="not the results of one image"):
        viewer.layers.save(str(tmp_path / "mine.results"), selected=True, plugin="napari-tam")


def test_naparis_own_saving_stays_as_it_is(viewer: Any, widget: Any, tmp_path: Path) -> None:
    from npe2 import PluginManager

    writer, _ = PluginManager.instance().get_writer(str(tmp_path / "all"), ["image", "labels", "points"])
    assert writer is None or writer.plugin_name != "napari-tam"
    writer, _ = PluginManager.instance().get_writer(str(tmp_path / "a.tif"), ["labels"])
    assert writer is None or writer.plugin_name != "napari-tam"


def stacks(viewer: Any) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    scale, units = (0.5, PIXEL_UM, PIXEL_UM), ("µm",) * 3
    return {
        role: viewer.add_image(
            rng.integers(100, 200, (9, 64, 64), np.uint16), name=name, scale=scale, units=units
        )
        for role, name in (("cell", "CD11b"), ("exosome", "PKH26"))
    }


def test_of_a_stack_the_shown_plane_is_analysed_unless_asked_otherwise(
    viewer: Any, models: FakeModels, qtbot: Any
) -> None:
    layers = stacks(viewer)
    widget = open_widget(viewer)
    widget.choose({"cell": layers["cell"], "nucleus": None, "exosome": layers["exosome"]})
    assert not widget.picker.scope.isHidden()
    viewer.dims.set_current_step(0, 6)
    run(widget, qtbot)
    found = widget.session.found["CD11b_p006"]
    field = found.analysis.raw or found.analysis.field
    np.testing.assert_array_equal(field.channels["exosome"], layers["exosome"].data[6])
    np.testing.assert_allclose(viewer.layers["cells (CD11b_p006)"].scale, (PIXEL_UM, PIXEL_UM))
    viewer.dims.set_current_step(0, 2)  # another plane is another image
    run(widget, qtbot)
    assert {"CD11b_p002", "CD11b_p006"} == set(widget.session.found)


def test_planes_are_offered_for_stacks_only(viewer: Any) -> None:
    widget = open_widget(viewer)
    add_channels(viewer)
    assert widget.picker.scope.isHidden()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_are_those_of_naparis_own_colormap(dtype: Any) -> None:
    from napari.utils.colormaps import DirectLabelColormap

    rng = np.random.default_rng(1)
    colours = CellColours.of([1, 5, 9], rng.uniform(0, 1, (3, 4)).astype(np.float32))
    theirs = DirectLabelColormap(color_dict=dict(colours.color_dict))
    values = np.array([[0, 1, 2], [5, 9, 200]], dtype)
    np.testing.assert_array_equal(colours.map(values), theirs.map(values))
    np.testing.assert_array_equal(colours.map(values)[1, 2], np.ones(4))  # being painted


def test_labels_are_copied_and_as_small_as_they_can_be() -> None:
    labels = np.array([[0, 65_535]], np.uint32)
    assert small(labels).dtype == np.uint16
    assert small(labels + 1).dtype == np.uint32
    assert small(labels.astype(np.uint16)) is not labels


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    gc.unfreeze()  # what earlier tests loaded
    yield
    gc.unfreeze()


def test_loading_leaves_the_interpreter_as_it_was(no_torch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_preload, "link_torch", lambda: False)
    turn = sys.getswitchinterval()
    with pytest.raises(ValueError, match="no"), _preload.loading():
        assert not gc.isenabled()
        raise ValueError("no")
    assert gc.isenabled()
    assert sys.getswitchinterval() == turn
    with _preload.loading():
        pass
    assert gc.get_freeze_count() == 0  # nothing was loaded: what earlier runs left can still be freed
    with _preload.loading():
        monkeypatch.setitem(sys.modules, "loaded_just_now", ModuleType("loaded_just_now"))
    assert gc.get_freeze_count() > 0
    _preload.collect_again()
    assert gc.get_freeze_count() == 0


def test_torch_is_linked_without_the_interpreters_lock() -> None:
    if sys.platform == "win32":
        pytest.skip("PyTorch does so itself")
    assert _preload.link_torch()

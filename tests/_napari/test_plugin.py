"""The plugin in real viewers. Offscreen there is no OpenGL, so nothing is drawn; all else is napari's own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_tam
from napari_tam.errors import InputError

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

import napari_viewers
from napari_viewers import PIXEL_UM, PUNCTA, FakeModels, add_channels, open_widget, run


def test_the_manifest_is_valid_and_all_that_it_names_exists() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(Path(napari_tam.__file__).parent / "napari.yaml")
    assert manifest.name == "napari-tam"
    for command in manifest.contributions.commands or []:
        module, _, name = str(command.python_name).partition(":")
        assert callable(getattr(importlib.import_module(module), name)), command.id


def test_channels_open_as_layers_in_their_real_size(tmp_path: Path) -> None:
    from napari_tam._napari._contributions._sample_data import field_layers

    image = np.random.default_rng(1).integers(0, 4000, (3, 40, 50), np.uint16)
    pixels = {
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.5,
        "PhysicalSizeYUnit": "µm",
    }
    metadata = {"axes": "CYX", "Channel": {"Name": ["PKH26", "CD11b", "DAPI"]}, **pixels}
    tifffile.imwrite(tmp_path / "plate.ome.tif", image, metadata=metadata)
    layers = {
        arguments["name"]: (data, arguments)
        for data, arguments, _ in field_layers(tmp_path / "plate.ome.tif")
    }
    assert set(layers) == {"plate cell", "plate nucleus", "plate exosome"}
    for index, name in enumerate(("plate exosome", "plate cell", "plate nucleus")):
        data, arguments = layers[name]
        np.testing.assert_array_equal(data, image[index])
        assert arguments["scale"] == (0.5, 0.5)


@pytest.mark.parametrize("key", ["field_01", "field_02"])
def test_sample_data_opens_and_its_roles_are_guessed(viewer: Any, key: str) -> None:
    widget = open_widget(viewer)
    layers = viewer.open_sample("napari-tam", key)
    assert [layer.name for layer in layers] == [f"{key} {role}" for role in ("cell", "nucleus", "exosome")]
    assert all(str(unit) == "micrometer" for layer in layers for unit in layer.units)
    assert {role: layer.name for role, layer in widget.chosen().items()} == {
        role: f"{key} {role}" for role in ("cell", "nucleus", "exosome")
    }


def test_the_sample_co_culture_opens_with_its_markers(viewer: Any) -> None:
    layers = viewer.open_sample("napari-tam", "coculture")
    markers = [f"marker_{name}" for name in ("CD11b", "EpCAM", "CD86", "CD206")]
    roles = ("cell", "nucleus", "exosome_GFP", "exosome_PKH26", *markers)
    assert {layer.name for layer in layers} >= {f"coculture_01 {role}" for role in roles}


def test_a_run_adds_cells_nuclei_and_puncta_where_the_image_is(
    viewer: Any, models: FakeModels, qtbot: Any
) -> None:
    image, *_ = add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    assert [name for name, *_ in models.calls] == ["nuclei", "cells", "puncta"]
    assert all(pixel_um == PIXEL_UM for _, pixel_um, _ in models.calls)
    cells, nuclei, puncta = (viewer.layers[f"{kind} (CD11b)"] for kind in ("cells", "nuclei", "puncta"))
    np.testing.assert_array_equal(cells.data, models.cell_labels)
    np.testing.assert_array_equal(nuclei.data, models.nucleus_labels)
    np.testing.assert_array_equal(puncta.data, PUNCTA[["y_px", "x_px"]])
    for layer in (cells, nuclei, puncta):
        np.testing.assert_array_equal(layer.scale, image.scale)
        np.testing.assert_array_equal(layer.translate, image.translate)
        assert layer.units == image.units
    # The same place in the world: pixel (55, 58) of image and puncta.
    np.testing.assert_allclose(puncta.data_to_world(puncta.data[2]), image.data_to_world((55, 58)))


def test_the_tables_follow_labels_and_puncta(viewer: Any, models: FakeModels, qtbot: Any) -> None:
    models.cell_labels[models.cell_labels == 2] = 7  # labels with gaps
    add_channels(viewer)
    run(open_widget(viewer), qtbot)
    features = viewer.layers["cells (CD11b)"].features
    assert features["index"].tolist() == list(range(8))  # napari goes by the row's position
    assert features["puncta_count"].iloc[[1, 7]].tolist() == [2, 0]
    assert features["area_um2"].iloc[1] == 400 * PIXEL_UM**2
    assert viewer.layers["puncta (CD11b)"].features["label"].tolist() == [1, 1, 0]


def test_a_field_without_cells_and_puncta_gives_empty_layers(
    viewer: Any, models: FakeModels, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.cell_labels[:] = 0
    monkeypatch.setattr(napari_viewers, "PUNCTA", PUNCTA.iloc[:0])
    add_channels(viewer)
    run(open_widget(viewer), qtbot)
    assert len(viewer.layers["puncta (CD11b)"].data) == 0
    assert viewer.layers["cells (CD11b)"].features["index"].tolist() == [0]


def test_a_second_run_replaces_the_results_of_its_own_image_only(
    viewer: Any, models: FakeModels, qtbot: Any
) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    run(widget, qtbot)
    assert len(viewer.layers) == 6
    others = add_channels(viewer, "second ")
    widget.choose(dict(zip(("cell", "nucleus", "exosome"), others, strict=True)))
    run(widget, qtbot)
    assert len(viewer.layers) == 12
    assert "cells (CD11b)" in viewer.layers
    assert "cells (second CD11b)" in viewer.layers


def test_the_nucleus_may_be_left_out(viewer: Any, models: FakeModels, qtbot: Any) -> None:
    cell, _, exosome = add_channels(viewer)
    widget = open_widget(viewer)
    widget.choose({"cell": cell, "nucleus": None, "exosome": exosome})
    run(widget, qtbot)
    assert [name for name, *_ in models.calls] == ["cells", "puncta"]
    assert "nuclei (CD11b)" not in viewer.layers
    assert "nucleus" not in widget.chosen()  # the results were new layers, but no new images


def test_results_land_with_their_image_though_another_was_chosen_meanwhile(
    viewer: Any, models: FakeModels, qtbot: Any
) -> None:
    first, *_ = add_channels(viewer)
    widget = open_widget(viewer)
    models.go_on.clear()
    widget.run()
    qtbot.waitUntil(lambda: bool(models.calls), timeout=20_000)
    others = add_channels(viewer, "second ", scale=(1, 1), translate=(0, 0))
    widget.choose(dict(zip(("cell", "nucleus", "exosome"), others, strict=True)))
    models.go_on.set()
    qtbot.waitUntil(lambda: widget.idle, timeout=20_000)
    np.testing.assert_array_equal(viewer.layers["cells (CD11b)"].scale, first.scale)
    assert "cells (second CD11b)" not in viewer.layers


def test_cancel_stops_after_the_present_step_and_adds_nothing(
    viewer: Any, models: FakeModels, qtbot: Any
) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    models.go_on.clear()
    widget.run()
    qtbot.waitUntil(lambda: len(models.calls) == 2, timeout=20_000)
    widget.cancel()
    models.go_on.set()
    qtbot.waitUntil(lambda: widget.idle, timeout=20_000)
    assert [name for name, *_ in models.calls] == ["nuclei", "cells"]
    assert len(viewer.layers) == 3
    assert widget.status == "Cancelled."


def test_pixel_size_comes_from_a_scale_in_length_units(viewer: Any) -> None:
    add_channels(viewer, scale=(250, 250), units=("nm", "nm"))
    assert open_widget(viewer).pixel_size_um == pytest.approx(0.25)


def test_a_scale_without_length_units_is_no_pixel_size(
    viewer: Any, models: FakeModels, qtbot: Any, errors: list[str]
) -> None:
    add_channels(viewer, units=None)
    widget = open_widget(viewer)
    run(widget, qtbot)
    assert errors == ["layer 'CD11b': the pixel size is not known. Give it in the form, in µm"]
    widget.pixel_size_um = 0.5
    run(widget, qtbot)
    assert models.calls[0] == ("nuclei", 0.5, None)


def test_settings_of_the_form_reach_the_pipeline(viewer: Any, models: FakeModels, qtbot: Any) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    widget.form["cell_diameter_um"].value = 18.5
    widget.form["puncta_method"].value = "log"
    run(widget, qtbot)
    assert models.calls == [
        ("nuclei", PIXEL_UM, None),
        ("cells", PIXEL_UM, 18.5),
        ("puncta", PIXEL_UM, "log"),
    ]


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (np.zeros((64, 64, 3), np.uint8), "RGB picture"),
        (np.zeros((4, 64, 64), np.uint16), "3 dimensions"),
        (np.zeros((64, 63), np.uint16), "size or scale differs"),
        (np.zeros((64, 64), bool), "a mask"),
    ],
    ids=["rgb", "stack", "other size", "mask"],
)
def test_what_cannot_be_analysed_is_told_in_one_sentence(
    viewer: Any, models: FakeModels, qtbot: Any, errors: list[str], data: Any, part: str
) -> None:
    cell, *_ = add_channels(viewer)
    bad = viewer.add_image(data, name="bad", scale=(PIXEL_UM, PIXEL_UM) if data.ndim == 2 else None)
    widget = open_widget(viewer)
    widget.choose({"cell": cell, "nucleus": None, "exosome": bad})
    run(widget, qtbot)
    assert len(errors) == 1
    assert errors[0].startswith("layer 'bad': ")
    assert part in errors[0]
    assert not models.calls


def test_a_missing_or_doubled_channel_is_told(
    viewer: Any, models: FakeModels, qtbot: Any, errors: list[str]
) -> None:
    widget = open_widget(viewer)
    run(widget, qtbot)
    cell, *_ = add_channels(viewer)
    widget.choose({"cell": cell, "nucleus": None, "exosome": cell})
    run(widget, qtbot)
    assert "no layer is chosen for the role cell and for the role exosome" in errors[0]
    assert "two roles, cell and exosome" in errors[1]


def test_an_input_error_of_the_pipeline_is_told_without_a_traceback(
    viewer: Any, models: FakeModels, qtbot: Any, errors: list[str]
) -> None:
    models.error = InputError("the file is no model", where="my_model", fix="Choose another one")
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    assert errors == ["my_model: the file is no model. Choose another one"]
    assert len(viewer.layers) == 3


def test_pixels_that_are_not_finite_are_told(
    viewer: Any, models: FakeModels, qtbot: Any, errors: list[str]
) -> None:
    *_, exosome = add_channels(viewer)
    data = exosome.data.astype(np.float32)
    data[3, 3] = np.nan
    exosome.data = data
    run(open_widget(viewer), qtbot)
    assert "the exosome channel has pixels that are not finite numbers" in errors[0]


def test_memory_that_runs_out_is_told_in_a_sentence(
    viewer: Any, models: FakeModels, qtbot: Any, errors: list[str]
) -> None:
    models.error = RuntimeError("CUDA out of memory")  # what torch raises
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    assert "there is not enough memory for this image" in errors[0]
    assert widget.status == errors[0]


def test_a_bug_ends_the_run_and_is_told(
    viewer: Any, models: FakeModels, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.utils.notifications import notification_manager

    received: list[BaseException] = []  # napari would show them with a traceback
    monkeypatch.setattr(notification_manager, "receive_error", lambda kind, error, *_: received.append(error))
    models.error = RuntimeError("shapes differ")
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    assert [str(error) for error in received] == ["RuntimeError: shapes differ"]
    assert widget.status.startswith("Failed: RuntimeError: shapes differ. This is a bug")
    models.error = None
    run(widget, qtbot)
    assert "cells (CD11b)" in viewer.layers


def test_ticked_markers_are_measured(viewer: Any, models: FakeModels, qtbot: Any) -> None:
    cell, *_ = add_channels(viewer)
    rng = np.random.default_rng(8)
    light = rng.integers(300, 400, (64, 64), np.uint16)
    marker = viewer.add_image(
        light, name="HLA-DR", scale=cell.scale, units=cell.units, translate=cell.translate
    )
    widget = open_widget(viewer)
    widget.choose({"marker_HLA_DR": marker, "marker_CD11b": cell})
    assert {"marker_HLA_DR", "marker_CD11b"} <= set(widget.chosen())
    run(widget, qtbot)
    table = viewer.layers["cells (CD11b)"].features
    outside = np.ones((64, 64), bool)
    outside[:56, :56] = False
    means = [light[models.cell_labels == label].mean() - np.median(light[outside]) for label in (1, 2)]
    np.testing.assert_allclose(table["marker_HLA_DR_mean"][1:3], means, atol=6)
    assert table["marker_CD11b_mean"].notna().sum() == 2


def test_two_exosome_labels_have_layers_and_columns_of_their_own(
    viewer: Any, models: FakeModels, qtbot: Any, tmp_path: Any
) -> None:
    cell, _, first = add_channels(viewer)
    rng = np.random.default_rng(9)
    second = viewer.add_image(
        rng.integers(100, 200, (64, 64), np.uint16),
        name="GFP", scale=cell.scale, units=cell.units, translate=cell.translate,
    )  # fmt: skip
    widget = open_widget(viewer)
    widget.choose({"exosome_PKH26": first, "exosome_GFP": second})
    assert [role for role in widget.chosen() if role.startswith("exosome")] == [
        "exosome_PKH26",
        "exosome_GFP",
    ]
    run(widget, qtbot)
    table = viewer.layers["cells (CD11b)"].features
    assert {"puncta_count_PKH26", "puncta_count_GFP", "puncta_with_GFP_PKH26"} <= set(table.columns)
    for label in ("PKH26", "GFP"):
        assert len(viewer.layers[f"puncta {label} (CD11b)"].data) == 3
    # the puncta of one label are corrected, the other's stay
    layer = viewer.layers["puncta GFP (CD11b)"]
    layer.data = layer.data[:2]
    widget.correct.update_measurements()
    qtbot.waitUntil(lambda: widget.idle, timeout=20_000)
    found = widget.session.current
    assert found.analysis.puncta["exosome_label"].value_counts().to_dict() == {"PKH26": 3, "GFP": 2}
    assert len(found.edits.others["GFP"][1]) == 1 and not len(found.edits.removed)
    # a threshold is that of the label that is shown
    widget.puncta.show_image(found, found.analysis.settings)
    widget.puncta.label.setCurrentText("GFP")
    widget.puncta.plot.moved.emit(20.0)
    assert widget.form["puncta_thresholds"].value == {"GFP": 20.0}
    qtbot.waitUntil(lambda: widget.idle and not widget._later.isActive(), timeout=20_000)
    assert len(viewer.layers["puncta GFP (CD11b)"].data) == 0
    assert len(viewer.layers["puncta PKH26 (CD11b)"].data) == 3
    # without the second label all is as it was
    widget.choose({"exosome": first})
    assert "exosome" in widget.chosen() and "exosome_GFP" not in widget.chosen()


def test_the_line_below_the_buttons_says_what_is_still_to_be_chosen(viewer: Any) -> None:
    widget = open_widget(viewer)
    assert widget.status.startswith("Open an image")
    pixels = np.random.default_rng(0).integers(100, 200, (64, 64), np.uint16)
    cell, exosome = (viewer.add_image(pixels, name=name) for name in ("ch00", "ch01"))
    assert widget.status == ("Choose the layer of the cell stain and of the exosomes in the tab Analyse.")
    widget.choose({"cell": cell})
    assert widget.status == "Choose the layer of the exosomes in the tab Analyse."
    widget.choose({"exosome": exosome})
    assert widget.status == "Type the pixel size (µm) in the tab Analyse: the image does not tell it."
    widget.pixel_size_um = PIXEL_UM
    assert widget.status == "Press “Run”."


@pytest.mark.usefixtures("models")
def test_a_choice_changes_nothing_of_what_is_said_of_results(viewer: Any, qtbot: Any) -> None:
    add_channels(viewer)
    widget = open_widget(viewer)
    run(widget, qtbot)
    said = widget.status
    assert said != "Press “Run”."
    widget.pixel_size_um = 2 * PIXEL_UM
    assert widget.status == said

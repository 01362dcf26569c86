"""File → Open: images of all kinds as layers that keep names, colours and the pixel size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest
import tifffile
import zarr_files
from napari_viewers import open_widget, run

from napari_tam._napari._contributions._images import image_layers, image_reader
from napari_tam.batches.run import analyse_files
from napari_tam.io.images import list_images
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

ROLES = ("cell", "nucleus", "exosome")
COLOURS = ["gray", "blue", "magenta"]


def write_channels(folder: Path, sites: int = 1) -> Path:
    """Write fields as Leica does, with the pixel size beside them; return the first file."""
    (folder / "MetaData").mkdir(parents=True)
    channels = "".join(f'<ChannelDescription LUTName="{name}"/>' for name in ("CD11b", "DAPI", "PKH26"))
    for site in range(1, sites + 1):
        text = (
            f"<Data>{channels}<DimensionDescription DimID='X' Voxel='0.5' Unit='µm'/>"
            "<DimensionDescription DimID='Y' Voxel='0.5' Unit='µm'/></Data>"
        )
        (folder / "MetaData" / f"P_B02_{site}_Properties.xml").write_text(text, encoding="utf-8")
        for number, plane in enumerate(fakes.image()):
            tifffile.imwrite(folder / f"P_B02_{site}_ch0{number}.tif", plane)
    return folder / "P_B02_1_ch00.tif"


@pytest.mark.parametrize("what", ["file", "another file", "folder"])
def test_channel_files_open_as_one_image_and_run(
    viewer: Any, monkeypatch: pytest.MonkeyPatch, qtbot: Any, tmp_path: Path, what: str
) -> None:
    monkeypatch.setattr("napari_tam.pipeline.models.load_models", lambda _settings: fakes.models())
    path = write_channels(tmp_path / "in", sites=2)
    opened = {"file": path, "another file": path.with_name("P_B02_1_ch02.tif"), "folder": path.parent}[what]
    layers = viewer.open(opened, plugin="napari-tam")
    assert [layer.name for layer in layers] == [f"P_B02_1 {name}" for name in ("CD11b", "DAPI", "PKH26")]
    assert [layer.colormap.name for layer in layers] == COLOURS
    for layer, plane in zip(layers, fakes.image(), strict=True):
        np.testing.assert_array_equal(layer.data, plane)
        assert tuple(layer.scale) == (0.5, 0.5)
        assert str(layer.units[0]) == "micrometer"
    widget = open_widget(viewer)
    assert {role: layer.name for role, layer in widget.chosen().items()} == {
        role: layer.name for role, layer in zip(ROLES, layers, strict=True)
    }
    run(widget, qtbot)
    cells = viewer.layers["cells (P_B02_1)"]
    np.testing.assert_array_equal(cells.data > 0, fakes.discs(fakes.RADIUS) > 0)
    assert cells.scale[0] == 0.5


def test_a_stack_and_a_movie_keep_their_axes(viewer: Any, tmp_path: Path) -> None:
    data = np.stack([fakes.stack(3, 1, 1), fakes.stack(3, 1, 1)])
    fakes.write_image(tmp_path / "m.ome.tif", data, "TCZYX")
    cell, *_ = viewer.open(tmp_path / "m.ome.tif", plugin="napari-tam")
    np.testing.assert_array_equal(cell.data, data[:, 0])
    assert cell.name == "m CD11b"
    assert tuple(cell.scale[-2:]) == (fakes.PIXEL_UM,) * 2


def test_a_large_stack_is_read_when_it_is_shown(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_tam._napari._contributions._images.LARGE", 1)
    fakes.write_image(tmp_path / "z.ome.tif", fakes.stack(3, 1, 1), "CZYX")
    cell, *_ = viewer.open(tmp_path / "z.ome.tif", plugin="napari-tam")
    assert not isinstance(cell.data, np.ndarray)
    np.testing.assert_array_equal(np.asarray(cell.data), fakes.stack(3, 1, 1)[0])


@pytest.mark.parametrize("kind", ["zarr", "plate"])
def test_ome_zarr_opens_too(viewer: Any, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("zarr")
    path = tmp_path / "a.ome.zarr"
    if kind == "zarr":
        zarr_files.write_zarr(path, "0.4")
    else:
        zarr_files.write_plate(path, {"C/2": 2, "C/11": 1})
    layers = viewer.open(path, plugin="napari-tam")
    name = "a" if kind == "zarr" else "a_C02_s00"
    assert [layer.name for layer in layers] == [f"{name} {channel}" for channel in zarr_files.NAMES]
    assert layers[0].scale[0] == pytest.approx(fakes.PIXEL_UM)


def test_what_is_no_image_of_channels_is_left_to_napari(viewer: Any, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "picture.tif", np.zeros((64, 80, 3), np.uint8), photometric="rgb")
    [layer] = viewer.open(tmp_path / "picture.tif", plugin="napari-tam")
    assert layer.rgb
    assert image_reader(["a.tif", "b.tif"]) is None
    (tmp_path / "empty").mkdir()
    assert image_reader(str(tmp_path / "empty")) is None


def test_results_stay_results(tmp_path: Path) -> None:
    fakes.write_image(tmp_path / "a.ome.tif")
    [outcome] = analyse_files([tmp_path / "a.ome.tif"], Settings(), fakes.models(), tmp_path / "out")
    assert outcome.error is None
    assert image_reader(str(tmp_path / "out")) is None
    assert image_reader(str(tmp_path / "out" / "masks" / "a_cells.tif")) is None


def test_channels_without_a_role_have_colours_of_their_own(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        tifffile.imwrite(tmp_path / f"p_B02_s1_w{number}.tif", fakes.image()[number - 1])
    layers = image_layers(list_images([tmp_path])[0])
    assert [arguments["name"] for _, arguments, _ in layers] == [f"p_B02_s1 w{k}" for k in (1, 2, 3)]
    assert len({arguments["colormap"] for _, arguments, _ in layers}) == 3
    assert all("scale" not in arguments for _, arguments, _ in layers)

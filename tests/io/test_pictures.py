"""Colour pictures: refused with the option's name, or their colours taken for channels with a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import fakes
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.io.images import list_images, read_fields
from napari_tam.io.pictures import NO_MEASUREMENT
from napari_tam.report.cautions import cautions
from napari_tam.report.reading import read_data
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

ROLES = {"cell": "red", "nucleus": "green", "exosome": "blue"}


def settings(**others: object) -> Settings:
    return Settings.from_values({"channels": ROLES, "pixel_size_um": fakes.PIXEL_UM, **others})


def colours() -> npt.NDArray[np.uint8]:
    """Return the usual image as a picture, YXC."""
    planes = np.clip(fakes.image(), 0, 255)
    return np.ascontiguousarray(planes.astype(np.uint8).transpose(1, 2, 0))


def write(path: Path, pixels: npt.NDArray[Any], kind: str) -> Path:
    """Write a picture of a kind; `path` is its name without an ending."""
    if kind in ("png", "bmp"):
        cv2.imwrite(str(path.with_suffix(f".{kind}")), pixels[..., ::-1])
        return path.with_suffix(f".{kind}")
    path = path.with_suffix(".tif")
    if kind == "planar":
        tifffile.imwrite(path, pixels.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    elif kind == "transparent":
        alpha = np.full(pixels.shape[:2], 255, pixels.dtype)
        tifffile.imwrite(path, np.dstack([pixels, alpha]), photometric="rgb")
    elif kind == "deep":
        tifffile.imwrite(path, pixels.astype(np.uint16) * 257, photometric="rgb")
    else:
        tifffile.imwrite(path, pixels, photometric="rgb")
    return path


@pytest.mark.parametrize("kind", ["plain", "planar", "transparent", "deep", "png", "bmp"])
def test_the_colours_of_a_picture_are_channels_where_that_is_wanted(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a", colours(), kind)
    with pytest.raises(InputError, match="--rgb split"):
        list(read_fields(path, settings()))
    assert list_images([tmp_path], rgb="split") == [path]
    [field] = read_fields(path, settings(rgb="split"))
    assert field.name == "a"
    for number, role in enumerate(ROLES):
        scale = 257 if kind == "deep" else 1
        np.testing.assert_array_equal(field.channels[role] / scale, colours()[..., number])
    assert NO_MEASUREMENT in " ".join(field.notes)


def test_a_jpeg_says_so(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), colours()[..., ::-1])
    tifffile.imwrite(tmp_path / "b.tif", colours(), photometric="rgb", compression="jpeg")
    for path in list_images([tmp_path], rgb="split"):
        [field] = read_fields(path, settings(rgb="split"))
        assert "JPEG" in " ".join(field.notes)
        strongest = {role: int(plane[24, 24]) for role, plane in field.channels.items()}
        assert strongest["cell"] > 150 > strongest["exosome"]


def test_a_folder_of_pictures_names_the_option(tmp_path: Path) -> None:
    write(tmp_path / "a", colours(), "png")
    with pytest.raises(InputError, match="--rgb split"):
        list_images([tmp_path])


def test_a_grey_picture_has_one_channel(tmp_path: Path) -> None:
    grey = np.dstack([colours()[..., 0]] * 3)
    for kind in ("png", "plain"):
        with pytest.raises(InputError, match="grey picture"):
            list(read_fields(write(tmp_path / kind, grey, kind), settings(rgb="split")))
    cv2.imwrite(str(tmp_path / "one.png"), colours()[..., 0])
    with pytest.raises(InputError, match="single channel"):
        list(read_fields(tmp_path / "one.png", settings(rgb="split")))


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff no picture"])
def test_what_is_no_picture_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match="no picture"):
        list(read_fields(tmp_path / "a.jpg", settings(rgb="split")))


def test_pictures_of_one_channel_each_are_one_image(tmp_path: Path) -> None:
    for number, name in enumerate(("CD11b", "DAPI", "PKH26")):
        deep = colours()[..., number].astype(np.uint16) * 100
        cv2.imwrite(str(tmp_path / f"B02_1 {name}.png"), deep)
    cv2.imwrite(str(tmp_path / "B02_1 DAPI_cp_masks.png"), (colours()[..., 1] > 100).astype(np.uint16))
    [path] = list_images([tmp_path], rgb="split")
    [field] = read_fields(path, Settings(rgb="split", pixel_size_um=0.5))
    assert field.name == "B02_1"
    np.testing.assert_array_equal(field.channels["exosome"], colours()[..., 2].astype(np.uint16) * 100)
    assert NO_MEASUREMENT not in " ".join(field.notes)  # grey, and as deep as the camera's


def test_a_palette_that_only_colours_intensities_is_no_picture(tmp_path: Path) -> None:
    ramp = np.zeros((3, 256), np.uint16)
    ramp[1] = np.arange(256) * 257
    for number in range(3):
        tifffile.imwrite(
            tmp_path / f"s1_ch0{number}.tif", colours()[..., number], photometric="palette", colormap=ramp
        )
    [path] = list_images([tmp_path])
    [field] = read_fields(path, settings(channels={"cell": 0, "nucleus": 1, "exosome": 2}))
    np.testing.assert_array_equal(field.channels["nucleus"], colours()[..., 1])
    mixed = ramp[:, ::-1].copy()
    tifffile.imwrite(tmp_path / "mixed.tif", colours()[..., 0], photometric="palette", colormap=mixed)
    with pytest.raises(InputError, match="palette"):
        list(read_fields(tmp_path / "mixed.tif", settings()))


def test_table_and_report_say_that_intensities_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a", colours(), "png")
    [outcome] = analyse_files([path], settings(rgb="split"), fakes.models(), tmp_path / "out")
    assert outcome.error is None
    assert NO_MEASUREMENT in pd.read_csv(tmp_path / "out" / "images.csv")["notes"][0]
    assert any("no intensity here is a measurement" in text for text in cautions(read_data(tmp_path / "out")))

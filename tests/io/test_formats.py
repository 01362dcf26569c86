"""Formats beside TIFF: the same pixels, names, sizes and times, whatever library wrote the file."""

from __future__ import annotations

import logging
import shutil
import sys
import types
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest
from zarr_files import NAMES, write_plate, write_zarr

from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.export.run import export
from napari_tam.io.images import read_fields
from napari_tam.io.layout import well_of
from napari_tam.io.listing import list_images, stem_of, unique_names
from napari_tam.io.vendor import _odd_scenes, _quiet
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.io.field import Field


def is_the_image(field: Field, pixels: Any = None) -> None:
    """Check that a field is `fakes.image` (or other pixels), with its pixel size."""
    pixels = fakes.image() if pixels is None else pixels
    assert [*field.channels] == ["cell", "nucleus", "exosome"]
    for found, wanted in zip(field.channels.values(), pixels, strict=True):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == np.uint16
    assert field.pixel_size_um == pytest.approx(fakes.PIXEL_UM)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_image_is_read(tmp_path: Path, version: str) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr", version)
    [field] = read_fields(path, Settings())
    is_the_image(field)
    assert field.name == "a"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_frames_and_planes_of_an_ome_zarr(tmp_path: Path, version: str) -> None:
    data = np.stack([np.stack([fakes.image() + (3 * t + z) for z in range(3)], axis=1) for t in range(2)])
    path = write_zarr(tmp_path / "a.ome.zarr", version, data.astype(np.uint16), "tczyx")
    fields = list(read_fields(path, Settings()))
    assert [field.name for field in fields] == ["a_t0000", "a_t0001"]
    for t, field in enumerate(fields):
        is_the_image(field, fakes.image() + 3 * t + 2)  # the maximum projection
        assert field.frame_interval_min == pytest.approx(5.0)
    [first, _] = read_fields(path, Settings(z_stack="volume"))
    assert first.z_step_um == pytest.approx(0.7)
    np.testing.assert_array_equal(first.channels["cell"], data[0, 0])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_is_exported_as_ome_zarr_is_read_again(tmp_path: Path, version: str) -> None:
    pytest.importorskip("zarr")
    image = fakes.write_image(tmp_path / "a.ome.tif")
    [outcome] = analyse_files([image], Settings(), fakes.models(), tmp_path / "out")
    assert outcome.error is None
    [path] = export(tmp_path / "out", ["ome-zarr"], ome_zarr_version=version)
    [field] = read_fields(path, Settings())
    is_the_image(field)


def test_a_plate_gives_its_fields_with_their_wells(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    write = pytest.importorskip("yaozarrs.write.v05")
    v05 = pytest.importorskip("yaozarrs.v05")
    dims = pytest.importorskip("yaozarrs").DimSpec

    def image(shift: int) -> tuple[Any, Any]:
        scale = [dims(name="c")]
        scale += [dims(name=axis, scale=fakes.PIXEL_UM, unit="micrometer") for axis in "yx"]
        window = {"min": 0, "max": 65535, "start": 0, "end": 1000}
        channels = [{"color": "FFFFFF", "window": window, "label": name} for name in NAMES]
        multiscale = v05.Multiscale.from_dims(scale, name="a")
        return v05.Image(multiscales=[multiscale], omero={"channels": channels}), fakes.image() + np.uint16(
            shift
        )

    path = tmp_path / "plate1.ome.zarr"
    plate = {
        "columns": [{"name": "2"}, {"name": "11"}],
        "rows": [{"name": "B"}],
        "wells": [
            {"path": "B/2", "rowIndex": 0, "columnIndex": 0},
            {"path": "B/11", "rowIndex": 0, "columnIndex": 1},
        ],
    }
    images = {("B", "2", "0"): image(0), ("B", "2", "1"): image(1), ("B", "11", "0"): image(2)}
    write.write_plate(path, images, plate=v05.Plate(plate=plate))
    fields = list(read_fields(path, Settings()))
    assert [field.name for field in fields] == ["plate1_B02_s00", "plate1_B02_s01", "plate1_B11"]
    assert [well_of(field.name) for field in fields] == ["B02", "B02", "B11"]
    for shift, field in enumerate(fields):
        is_the_image(field, fakes.image() + shift)


def test_scenes_of_bioformats2raw_are_fields(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    source = tmp_path / "all.zarr"
    group = zarr.open_group(source, mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for number in range(2):
        write_zarr(source / str(number), "0.4", fakes.image() + np.uint16(number))
    first, second = read_fields(source, Settings())
    assert (first.name, second.name) == ("all_s00", "all_s01")
    is_the_image(second, fakes.image() + 1)


def write_czi(path: Path) -> Path:
    """Write `fakes.image` as a CZI file with Zeiss's libCZI."""
    pytest.importorskip("bioio_czi")
    czi = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(path)) as file:
        for channel, plane in enumerate(fakes.image()):
            file.write(plane[..., None], plane={"C": channel, "T": 0, "Z": 0})
        size = fakes.PIXEL_UM * 1e-6
        file.write_metadata("a", channel_names=dict(enumerate(NAMES)), scale_x=size, scale_y=size)
    return path


def test_a_czi_file_is_read_with_its_names_and_size(tmp_path: Path) -> None:
    [field] = read_fields(write_czi(tmp_path / "a.czi"), Settings())
    is_the_image(field)
    assert field.name == "a"


@pytest.mark.parametrize(
    ("ending", "extra"), [("nd2", "nd2"), ("czi", "czi"), ("lif", "lif"), ("oir", "formats")]
)
def test_a_missing_plugin_is_named_with_its_extra(
    tmp_path: Path, ending: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = "bioio_bioformats" if extra == "formats" else f"bioio_{ending}"
    monkeypatch.setitem(sys.modules, plugin, None)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match=rf"install napari-tam\[{extra}\]"):
        list(read_fields(path, Settings()))


@pytest.mark.parametrize("ending", ["nd2", "czi", "lif"])
def test_a_damaged_vendor_file_is_an_error_not_a_crash(tmp_path: Path, ending: str) -> None:
    pytest.importorskip(f"bioio_{ending}")
    path = tmp_path / f"a.{ending}"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(InputError, match=r"damaged or of an unsupported kind"):
        list(read_fields(path, Settings()))
    path.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        list(read_fields(path, Settings()))


class FakeReader:
    """Behaves as bioio's readers say they do, for what no library can write."""

    scenes = ("XYPos:0", "XYPos:1")
    channel_names = NAMES
    physical_pixel_sizes = types.SimpleNamespace(Z=0.7, Y=fakes.PIXEL_UM, X=fakes.PIXEL_UM)
    time_interval = 240.0
    scene = 0

    def __init__(self, path: Path) -> None:
        self.path = path

    def set_scene(self, scene: int) -> None:
        self.scene = scene

    @property
    def xarray_dask_data(self) -> Any:
        data = np.stack([fakes.image() + np.uint16(10 * self.scene + t) for t in range(2)])
        return types.SimpleNamespace(data=data[:, :, None], dims=("T", "C", "Z", "Y", "X"))

    @property
    def standard_metadata(self) -> Any:
        return types.SimpleNamespace(row="C", column=str(3 + self.scene))


def test_scenes_wells_and_times_of_a_vendor_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bioio_nd2", types.SimpleNamespace(Reader=FakeReader))  # type: ignore[arg-type]
    path = tmp_path / "plate.nd2"
    path.write_bytes(b"x")
    fields = list(read_fields(path, Settings()))
    names = ["plate_C03_s00_t0000", "plate_C03_s00_t0001", "plate_C04_s01_t0000", "plate_C04_s01_t0001"]
    assert [field.name for field in fields] == names
    for k, field in enumerate(fields):
        is_the_image(field, fakes.image() + 10 * (k // 2) + k % 2)
        assert field.frame_interval_min == 4.0
        assert field.frame == k % 2


def test_a_scene_of_another_kind_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An overview beside the fields, a mosaic that is not joined: usual in .lif files."""

    class Reader(FakeReader):
        scenes = ("overview", "a", "mosaic", "b")  # type: ignore[assignment]
        channel_names = NAMES

        @property
        def xarray_dask_data(self) -> Any:
            data, dims = fakes.image()[None, :, None], ("T", "C", "Z", "Y", "X")
            if self.scene == 0:
                data = data[:, :1]
            if self.scene == 2:
                data, dims = np.stack([data, data]), ("M", *dims)  # type: ignore[assignment]
            return types.SimpleNamespace(data=data, dims=dims)

        @property
        def standard_metadata(self) -> Any:
            return types.SimpleNamespace(row=None, column=None)

    monkeypatch.setitem(sys.modules, "bioio_lif", types.SimpleNamespace(Reader=Reader))  # type: ignore[arg-type]
    path = tmp_path / "x.lif"
    path.write_bytes(b"x")
    fields = read_fields(path, Settings())
    assert [next(fields).name, next(fields).name] == ["x_s01", "x_s03"]
    with pytest.raises(InputError, match="2 of 4 fields could not be read; the first is scene mosaic: axes"):
        next(fields)


def test_a_missing_extra_does_not_stop_the_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bioio_czi", None)
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE")
    fakes.write_image(tmp_path / "b.ome.tif")
    first, second = analyse_files(list_images([tmp_path]), Settings(), fakes.models(), tmp_path / "out")
    assert "napari-tam[czi]" in str(first.error)
    assert second.error is None


def test_a_folder_lists_every_format(tmp_path: Path) -> None:
    for name in ("a.tif", "b.nd2", "c.CZI", "d.lif", "e.txt", "f.png"):
        (tmp_path / name).touch()
    for name in ("g.ome.zarr", "h.zarr", "no_image"):
        (tmp_path / name).mkdir()
    (tmp_path / "g.ome.zarr" / "zarr.json").touch()
    (tmp_path / "h.zarr" / ".zattrs").touch()
    paths = list_images([tmp_path])
    assert [path.name for path in paths] == ["a.tif", "b.nd2", "c.CZI", "d.lif", "g.ome.zarr", "h.zarr"]
    assert [stem_of(path) for path in paths] == list("abcdgh")
    assert list_images([tmp_path / "h.zarr"]) == [tmp_path / "h.zarr"]
    assert [*unique_names(paths).values()] == list("abcdgh")


def test_what_a_plate_lacks_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    path = write_plate(tmp_path / "p.ome.zarr", {"A/1": 2, "A/2": 1, "AA/3": 2})
    shutil.rmtree(path / "A" / "2")
    (path / "A" / "1" / "0" / ".zattrs").write_text('{"multi')
    fields = read_fields(path, Settings())
    names = [next(fields).name for _ in range(3)]
    assert names == ["p_A01_s01", "p_AA03_s00", "p_AA03_s01"]  # as if nothing were missing
    with pytest.raises(InputError, match=r"2 of 5 fields could not be read; the first is A/1/0: .*damaged"):
        next(fields)
    outcomes = list(analyse_files([path], Settings(), fakes.models(), tmp_path / "out"))
    assert [o.error is None for o in outcomes] == [True, True, True, False]
    assert "2 of 5 fields" in str(outcomes[-1].error)


def test_scenes_keep_their_numbers_when_one_is_missing(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "all.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    group.create_group("OME").attrs["series"] = ["0", "1", "2"]
    for number in (0, 2):
        write_zarr(tmp_path / "all.zarr" / str(number), "0.4")
    fields = read_fields(tmp_path / "all.zarr", Settings())
    assert [next(fields).name, next(fields).name] == ["all_s00", "all_s02"]
    with pytest.raises(InputError, match="1, of which its metadata tell, is not in it"):
        next(fields)


def test_chunks_that_are_not_there_are_told(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr", "0.4", np.tile(fakes.image(), (1, 6, 6)))
    [whole] = read_fields(path, Settings())
    assert not [note for note in whole.notes if "chunks" in note]
    chunks = [file for file in (path / "0").rglob("*") if file.is_file() and file.name.isdecimal()]
    sorted(chunks)[-1].unlink()
    [field] = read_fields(path, Settings())
    assert f"1 of {len(chunks)} chunks are not in the folder and count as 0" in field.notes[0]


@pytest.mark.parametrize("tile_px", [256, 4096])
def test_a_chunk_that_was_cut_short_fails_its_image_only(tmp_path: Path, tile_px: int) -> None:
    paths = [
        write_zarr(tmp_path / f"{name}.ome.zarr", "0.4", np.tile(fakes.image(), (1, 6, 6))) for name in "ab"
    ]
    chunk = sorted(file for file in (paths[0] / "0").rglob("*") if file.is_file())[-1]
    chunk.write_bytes(chunk.read_bytes()[:20])
    settings = Settings(tile_px=tile_px)
    first, second = analyse_files(paths, settings, fakes.models(), tmp_path / "out")
    assert "a.ome.zarr: the file is damaged" in str(first.error)
    assert second.error is None


def test_zarr_metadata_without_an_image_are_an_error(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    path = write_zarr(tmp_path / "a.ome.zarr", "0.4")
    text = (path / ".zattrs").read_text()
    (path / ".zattrs").write_text(text.replace('"path": "0"', '"path": "s0"'))
    with pytest.raises(InputError, match="s0, of which its metadata tell, is not in it"):
        list(read_fields(path, Settings()))
    (path / ".zattrs").write_text('{"multiscales": []}')
    with pytest.raises(InputError, match="list no image"):
        list(read_fields(path, Settings()))
    zarr.create_array(tmp_path / "b.zarr", data=fakes.image())
    with pytest.raises(InputError, match="no OME metadata"):
        list(read_fields(tmp_path / "b.zarr", Settings()))


def test_a_zarr_folder_without_images_is_an_error(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(InputError, match="no OME metadata"):
        list(read_fields(tmp_path / "a.zarr", Settings()))
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        list(read_fields(tmp_path / "b.zarr", Settings()))


@pytest.mark.parametrize(
    ("axes", "kind"),
    [
        ("YX", ""),
        ("CZYX", ""),
        ("TCYX", ""),
        ("ZX", "xz scan"),
        ("CTX", "line scan"),
        ("X", "a line"),
        ("λYX", "wavelength scan"),
        ("ΛCYX", "wavelength scan"),
    ],
)
def test_a_scene_that_is_no_image_plane_is_called_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: str, kind: str
) -> None:
    class File:
        images = (types.SimpleNamespace(dims=tuple(axes), shape=(4,) * len(axes), path="Series 1"),)

        def __init__(self, path: Path) -> None:
            pass

        def __enter__(self) -> File:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setitem(sys.modules, "liffile", types.SimpleNamespace(LifFile=File))  # type: ignore[arg-type]
    assert [kind in text for text in _odd_scenes(tmp_path / "x.lif").values()] == ([True] if kind else [])
    assert _odd_scenes(tmp_path / "x.czi") == {}


def test_what_readers_log_is_for_the_debug_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), _quiet():
        try:
            raise ValueError("no node of that name")
        except ValueError:
            logging.getLogger("bioio_lif.reader").warning("Failed to extract", exc_info=True)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    logging.getLogger("bioio_lif.reader").warning("outside")
    assert caplog.records[-1].levelname == "WARNING"
    assert "no node" not in capfd.readouterr().err

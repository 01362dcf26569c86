from __future__ import annotations

import logging
import struct
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from napari_tam.errors import InputError
from napari_tam.io.images import read_fields
from napari_tam.io.tiff_metadata import to_um
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.io.field import Field

Array = npt.NDArray[Any]

#: Not square, and no side a multiple of the tiles.
HEIGHT, WIDTH = 40, 57
SAID = Settings(channels={"cell": 0, "exosome": 1}, pixel_size_um=0.2)
NAMES = ["CD11b", "PKH26", "DAPI"]


def pixels(axes: str, dtype: str = "uint16", **sizes: int) -> Array:
    """Random pixels, every plane another, using the whole range of an integer type."""
    lengths = {"T": 2, "Z": 3, "C": 3, "Y": HEIGHT, "X": WIDTH} | sizes
    shape = [lengths[axis] for axis in axes]
    rng = np.random.default_rng(len(axes))
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    if kind.kind == "f":
        return rng.normal(0, 100, shape).astype(dtype)
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max, shape, dtype=kind, endpoint=True)


def ome(path: Path, data: Array, axes: str, **more: Any) -> Path:
    n = dict(zip(axes, data.shape, strict=True)).get("C", 1)
    metadata = {
        "axes": axes,
        "PhysicalSizeX": 0.325,
        "PhysicalSizeY": 0.325,
        "Channel": {"Name": NAMES[:n]},
    } | more.pop("metadata", {})
    metadata = {key: value for key, value in metadata.items() if value is not None}
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata=metadata, **more)
    return path


def imagej(path: Path, data: Array, axes: str, **metadata: Any) -> Path:
    tifffile.imwrite(
        path,
        data,
        imagej=True,
        resolution=(1 / 0.11, 1 / 0.11),
        metadata={"axes": axes, "unit": "um"} | metadata,
    )
    return path


def plain(path: Path, data: Array, axes: str | None = None, **more: Any) -> Path:
    metadata = {"axes": axes} if axes else None
    tifffile.imwrite(path, data, photometric=more.pop("photometric", "minisblack"), metadata=metadata, **more)
    return path


def one(path: Path, settings: Settings = SAID, **more: Any) -> Field:
    (field,) = read_fields(path, settings, **more)
    return field


def refused(path: Path, settings: Settings = SAID, **more: Any) -> str:
    """Return the message with which a file is refused; it names the file and what to do."""
    with pytest.raises(InputError) as caught:
        list(read_fields(path, settings, **more))
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.fix
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(actual: Array, expected: Array) -> None:
    np.testing.assert_array_equal(actual, expected, strict=True)


# --- layouts -----------------------------------------------------------------------------------------

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float16", "float32", "float64"]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES + FLOATS)
def test_every_pixel_type_is_read_exactly(tmp_path: Path, dtype: str, byteorder: str) -> None:
    data = pixels("CYX", dtype)
    field = one(plain(tmp_path / "a.tif", data, "CYX", byteorder=byteorder))
    # The two types that arithmetic spoils become the next one that holds all their values.
    expected = data.astype({"bool": "uint8", "float16": "float32"}.get(dtype, dtype))
    same(field.channels["cell"], expected[0])
    same(field.channels["exosome"], expected[1])
    assert field.channels["cell"].dtype.isnative
    assert field.shape == (HEIGHT, WIDTH)


STORAGE: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 7},
    "one strip": {},
    "tiles": {"tile": (16, 32)},
    "zlib": {"compression": "zlib"},
    "zlib and predictor": {"compression": "zlib", "predictor": True},
    "lzw tiles": {"compression": "lzw", "tile": (16, 16)},
    "zstd": {"compression": "zstd"},
    "packbits": {"compression": "packbits"},
}


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize("layout", ["ome", "plain", "contiguous samples", "planar samples"])
def test_every_way_to_store_pixels_is_read_exactly(
    tmp_path: Path, storage: str, byteorder: str, bigtiff: bool, layout: str
) -> None:
    data = pixels("CYX")
    how = STORAGE[storage] | {"byteorder": byteorder, "bigtiff": bigtiff}
    path = tmp_path / "a.tif"
    if layout == "ome":
        ome(path, data, "CYX", **how)
    elif layout == "plain":
        plain(path, data, "CYX", **how)
    elif layout == "planar samples":
        plain(path, data, None, planarconfig="separate", **how)
    else:
        plain(path, np.moveaxis(data, 0, -1), None, planarconfig="contig", **how)
    field = one(path)
    same(field.channels["cell"], data[0])
    same(field.channels["exosome"], data[1])


@pytest.mark.parametrize("write", [ome, imagej, plain])
@pytest.mark.parametrize("axes", ["CYX", "ZCYX", "TCYX", "TZCYX"])
def test_planes_are_found_on_every_axis(tmp_path: Path, write: Any, axes: str) -> None:
    data = pixels(axes)
    fields = list(read_fields(write(tmp_path / "a.tif", data, axes), SAID))
    full = data[np.ix_(*(range(n) for n in data.shape))]
    for missing in set("TZ") - set(axes):
        full = np.expand_dims(full, "TZ".index(missing) if "T" in axes or missing == "T" else 0)
    assert [field.frame for field in fields] == list(range(full.shape[0]))
    assert [field.name for field in fields] == (["a"] if "T" not in axes else ["a_t0000", "a_t0001"])
    for field, stack in zip(fields, full, strict=True):
        same(field.channels["cell"], stack.max(axis=0)[0])
        same(field.channels["exosome"], stack.max(axis=0)[1])
        assert [note for note in field.notes if "z-planes" in note] == (
            ["3 z-planes projected (max)"] if "Z" in axes else []
        )


@pytest.mark.parametrize("axes", ["CZYX", "CTYX", "TCZYX", "ZTCYX", "CTZYX", "YXC", "ZYXC"])
def test_the_order_of_the_axes_does_not_matter(tmp_path: Path, axes: str) -> None:
    data = pixels(axes, T=2, Z=4)
    # tifffile stores the last two axes as pages, so a file declares any order in its own metadata.
    path = plain(tmp_path / "a.tif", data, axes)
    fields = list(read_fields(path, SAID))
    order = [axis for axis in "TZCYX" if axis in axes]
    full = np.transpose(data, [axes.index(axis) for axis in order])
    full = full if "T" in axes else full[None]
    full = full if "Z" in axes else full[:, None]
    assert len(fields) == len(full)
    for field, stack in zip(fields, full, strict=True):
        same(field.channels["cell"], stack[:, 0].max(axis=0))


def test_a_mean_projection_keeps_fractions(tmp_path: Path) -> None:
    data = pixels("ZCYX")
    field = one(ome(tmp_path / "a.ome.tif", data, "ZCYX"), SAID.updated(z_projection="mean"))
    same(field.channels["cell"], data[:, 0].mean(axis=0).astype(np.float32))
    assert field.notes[-1] == "3 z-planes projected (mean)"


def test_an_imagej_stack_with_a_single_page_header_is_read(tmp_path: Path) -> None:
    # ImageJ writes stacks over 4 GB like this: one page, its planes one after the other.
    data = pixels("TZCYX")
    path = imagej(tmp_path / "a.tif", data, "TZCYX")
    with tifffile.TiffFile(path) as tif:
        next_page = tif.pages.first.offset + 2 + 12 * len(tif.pages.first.tags)
    with path.open("r+b") as file:
        file.seek(next_page)
        file.write(b"\0\0\0\0")
    for frame, field in enumerate(read_fields(path, SAID)):
        same(field.channels["exosome"], data[frame, :, 1].max(axis=0))


@pytest.mark.parametrize("n_pages", [2, 6])
def test_pages_without_axes_are_channels_when_few(tmp_path: Path, n_pages: int) -> None:
    data = pixels("CYX", C=n_pages)
    field = one(plain(tmp_path / "a.tif", data))
    same(field.channels["exosome"], data[1])
    assert field.notes == (f"{n_pages} pages without an axis name were taken as channels",)


@pytest.mark.parametrize("shape", [(7, HEIGHT, WIDTH), (2, 3, HEIGHT, WIDTH)])
def test_pages_without_axes_are_refused_when_many(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, "uint16"), photometric="minisblack")
    assert "does not say which of its pages are channels" in refused(path)


def test_sixteen_bit_planes_declared_as_rgb_are_channels(tmp_path: Path) -> None:
    data = pixels("CYX")
    path = plain(tmp_path / "a.tif", data, None, photometric="rgb", planarconfig="separate")
    field = one(path)
    same(field.channels["exosome"], data[1])
    assert "declared as red, green and blue" in field.notes[0]


def test_an_imagej_lookup_table_does_not_change_the_pixels(tmp_path: Path) -> None:
    data = pixels("CYX", "uint8")
    table = np.zeros((3, 256), "uint8")
    table[1] = np.arange(256)
    path = imagej(tmp_path / "a.tif", data, "CYX", LUTs=[table] * 3, mode="color")
    same(one(path).channels["exosome"], data[1])


def test_positions_of_an_ome_file_become_fields(tmp_path: Path) -> None:
    path = tmp_path / "plate.ome.tif"
    data = [pixels("TCYX", Y=HEIGHT + i) for i in range(3)]
    with tifffile.TiffWriter(path, ome=True) as tif:
        for i, position in enumerate(data):
            names = NAMES if i != 1 else NAMES[::-1]
            metadata = {
                "axes": "TCYX",
                "PhysicalSizeX": 0.1 * (i + 1),
                "PhysicalSizeY": 0.1 * (i + 1),
                "Channel": {"Name": names},
            }
            tif.write(position, photometric="minisblack", metadata=metadata)
        tif.write(pixels("YX"), photometric="minisblack", metadata={"axes": "YX"})
    fields = list(read_fields(path, Settings()))
    assert [f.name for f in fields] == [f"plate_s{s:02d}_t{t:04d}" for s in range(3) for t in range(2)]
    assert [f.pixel_size_um for f in fields] == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    for i, field in enumerate(fields):
        s, t = divmod(i, 2)
        same(field.channels["cell"], data[s][t, 2 if s == 1 else 0])
        assert "1 of the 4 images in the file were not analysed" in field.notes


def test_further_images_of_another_layout_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = pixels("CYX")
    with tifffile.TiffWriter(path) as tif:
        tif.write(data, photometric="minisblack", metadata={"axes": "CYX"})
        tif.write(data[0, :20, :20], photometric="minisblack", metadata={"axes": "YX"})
    field = one(path)
    same(field.channels["cell"], data[0])
    assert field.notes == ("1 of the 2 images in the file were not analysed",)


OME_FILE = (
    '<?xml version="1.0"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{me}">'
    '<Image ID="Image:0" Name="a"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="57"'
    ' SizeY="40" SizeC="2" SizeZ="1" SizeT="1" PhysicalSizeX="0.2" PhysicalSizeY="0.2">'
    '<Channel ID="Channel:0:0" Name="actin"/><Channel ID="Channel:0:1" Name="PKH26"/>'
    '<TiffData FirstC="0" IFD="0" PlaneCount="1"><UUID FileName="c0.ome.tif">urn:uuid:0</UUID></TiffData>'
    '<TiffData FirstC="1" IFD="0" PlaneCount="1"><UUID FileName="c1.ome.tif">urn:uuid:1</UUID></TiffData>'
    "</Pixels></Image></OME>"
)


def test_an_ome_image_in_several_files_is_read_from_its_first(tmp_path: Path) -> None:
    data = pixels("CYX", C=2)
    for i in range(2):
        text = OME_FILE.format(me=i)
        tifffile.imwrite(
            tmp_path / f"c{i}.ome.tif", data[i], photometric="minisblack", metadata=None, description=text
        )
    field = one(tmp_path / "c0.ome.tif", Settings())
    same(field.channels["cell"], data[0])
    same(field.channels["exosome"], data[1])
    assert "begins in 'c0.ome.tif'" in refused(tmp_path / "c1.ome.tif", Settings())
    (tmp_path / "c1.ome.tif").unlink()
    assert "missing (or lies in another file)" in refused(tmp_path / "c0.ome.tif", Settings())


# --- channel names and pixel size --------------------------------------------------------------------


def test_channels_are_guessed_from_ome_names_and_noted(tmp_path: Path) -> None:
    data = pixels("CYX")
    field = one(ome(tmp_path / "a.ome.tif", data, "CYX"), Settings())
    assert list(field.channels) == ["cell", "nucleus", "exosome"]
    same(field.channels["nucleus"], data[2])
    assert field.pixel_size_um == pytest.approx(0.325)
    assert field.source == tmp_path / "a.ome.tif"
    assert field.name == "a"
    assert field.notes == (
        "channel roles guessed from the names: cell = CD11b, nucleus = DAPI, exosome = PKH26",
    )


def test_what_the_settings_say_is_not_noted(tmp_path: Path) -> None:
    settings = Settings(channels={"cell": "cd11B", "exosome": 1, "nucleus": "2"})
    field = one(ome(tmp_path / "a.ome.tif", pixels("CYX"), "CYX"), settings)
    assert field.notes == ()


@pytest.mark.parametrize(
    "labels",
    [
        NAMES * 6,
        NAMES,
        [
            f"c:{c + 1}/3 z:{z + 1}/3 t:{t + 1}/2 - {NAMES[c]}\nx"
            for t in range(2)
            for z in range(3)
            for c in range(3)
        ],
    ],
)
def test_imagej_labels_name_the_channels(tmp_path: Path, labels: list[str]) -> None:
    data = pixels("TZCYX")
    first, _ = read_fields(imagej(tmp_path / "a.tif", data, "TZCYX", Labels=labels), Settings())
    same(first.channels["nucleus"], data[0, :, 2].max(axis=0))
    assert first.pixel_size_um == pytest.approx(0.11)


@pytest.mark.parametrize(
    "labels", [["img_DAPI.tif"] * 3, ["DAPI"], ["c:1/3 - DAPI", "c:2/3 - DAPI", "c:3/3 - DAPI"]]
)
def test_imagej_labels_that_are_no_channel_names_are_ignored(tmp_path: Path, labels: list[str]) -> None:
    path = imagej(tmp_path / "a.tif", pixels("CYX"), "CYX", Labels=labels)
    assert list(one(path).channels) == ["cell", "exosome"]
    assert "0 (no name), 1 (no name), 2 (no name)" in refused(path, Settings())


UNNAMED = Settings(channels={"cell": 0, "exosome": 1})


@pytest.mark.parametrize(
    ("size", "unit"),
    [(0.2, "µm"), (200, "nm"), (2e-4, "mm"), (2e-5, "cm"), (2e-7, "m"), (2000, "Å"), (0.2, None)],
)
def test_ome_pixel_sizes_in_any_unit(tmp_path: Path, size: float, unit: str | None) -> None:
    metadata = {f"PhysicalSize{axis}": size for axis in "XY"} | {
        f"PhysicalSize{axis}Unit": unit for axis in "XY"
    }
    path = ome(tmp_path / "a.ome.tif", pixels("CYX"), "CYX", metadata=metadata)
    assert one(path, UNNAMED).pixel_size_um == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("per_unit", "unit"),
    [
        (5, "um"), (5, "\\u00B5m"), (5, "\\u00b5m"), (5, "\\u03BCm"), (5, "micron"), (5, "microns"),
        (0.005, "nm"), (5000, "mm"), (50000, "cm"), (127000, "inch"),
    ],
)  # fmt: skip
def test_imagej_pixel_sizes_in_any_unit(tmp_path: Path, per_unit: float, unit: str) -> None:
    path = tmp_path / "a.tif"
    data = pixels("CYX")
    tifffile.imwrite(
        path, data, imagej=True, resolution=(per_unit, per_unit), metadata={"axes": "CYX", "unit": unit}
    )
    assert one(path, UNNAMED).pixel_size_um == pytest.approx(0.2)


@pytest.mark.parametrize(("per_unit", "unit"), [(50_000, "CENTIMETER"), (127_000, "INCH")])
def test_plain_resolution_tags_are_believed_when_plausible(
    tmp_path: Path, per_unit: float, unit: str
) -> None:
    path = plain(
        tmp_path / "a.tif", pixels("CYX"), "CYX", resolution=(per_unit, per_unit), resolutionunit=unit
    )
    field = one(path, UNNAMED)
    assert field.pixel_size_um == pytest.approx(0.2)
    assert field.notes == ("pixel size 0.2 µm taken from the TIFF resolution",)


@pytest.mark.parametrize(
    ("per_unit", "unit"),
    [(72, "INCH"), (96, "INCH"), (300, "INCH"), (118, "CENTIMETER"), (5, "NONE"), (1, "NONE")],
)
def test_a_printers_resolution_is_no_pixel_size(tmp_path: Path, per_unit: float, unit: str) -> None:
    path = plain(
        tmp_path / "a.tif", pixels("CYX"), "CYX", resolution=(per_unit, per_unit), resolutionunit=unit
    )
    message = refused(path, UNNAMED)
    assert "does not tell its pixel size" in message
    assert "--pixel-size" in message
    assert "pixel_size_um" in message
    assert one(path, UNNAMED.updated(pixel_size_um=0.4)).pixel_size_um == 0.4


@pytest.mark.parametrize("size", [0, -1, float("nan")])
def test_a_meaningless_ome_size_counts_as_none(tmp_path: Path, size: float) -> None:
    metadata = {"PhysicalSizeX": size, "PhysicalSizeY": size}
    path = ome(tmp_path / "a.ome.tif", pixels("CYX"), "CYX", metadata=metadata)
    assert "does not tell its pixel size" in refused(path, UNNAMED)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("µm", 1),
        ("\u03bcm", 1),
        ("Âµm", 1),
        ("\ufffdm", 1),
        (" Micron ", 1),
        ("NM", 1e-3),
        ("pixel", None),
        ("", None),
    ],
)
def test_units(unit: str, factor: float | None) -> None:
    assert to_um(0.5, unit) == (None if factor is None else pytest.approx(0.5 * factor))


def test_pixels_must_be_square(tmp_path: Path) -> None:
    data = pixels("CYX")
    nearly = ome(tmp_path / "a.ome.tif", data, "CYX", metadata={"PhysicalSizeY": 0.327})
    assert one(nearly, UNNAMED).pixel_size_um == pytest.approx(0.325)
    path = ome(tmp_path / "b.ome.tif", data, "CYX", metadata={"PhysicalSizeY": 0.33})
    message = refused(path, UNNAMED)
    assert "not square: 0.325 µm wide, 0.33 µm high" in message
    assert one(path, UNNAMED.updated(pixel_size_um=0.3)).pixel_size_um == 0.3


def test_one_told_side_is_enough(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", pixels("CYX"), "CYX", metadata={"PhysicalSizeY": None})
    assert one(path, UNNAMED).pixel_size_um == pytest.approx(0.325)


def test_an_impossible_pixel_size_is_refused(tmp_path: Path) -> None:
    metadata = {"PhysicalSizeX": 2e-7, "PhysicalSizeY": 2e-7}  # metres, without saying so
    path = ome(tmp_path / "a.ome.tif", pixels("CYX"), "CYX", metadata=metadata)
    assert "2e-07 × 2e-07 µm (OME metadata) is not possible" in refused(path, UNNAMED)


def test_a_name_can_be_given(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.tif", pixels("TCYX"), "TCYX")
    assert [f.name for f in read_fields(path, SAID, name="day1_a")] == ["day1_a_t0000", "day1_a_t0001"]


# --- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"", "empty (0 bytes)"),
        (b"II", "not a TIFF"),
        (b"hello, this is text", "not a TIFF image"),
        (b"\x89PNG\r\n\x1a\n", "this is a PNG image"),
        (b"\xff\xd8\xff\xe0", "this is a JPEG image"),
        (b"ZISRAWFILE", "Zeiss CZI"),
        (b"\xda\xce\xbe\x0aJP  ", "Nikon ND2"),
        (b"II*\0\x08\0\0\0", "truncated or damaged"),
        (b"II*\0\xff\xff\xff\x7f", "damaged"),
        (b"MM\0*\0\0\0\0", "damaged"),
        (b"II+\0", "damaged"),
    ],
)
def test_what_is_no_tiff_is_refused(tmp_path: Path, start: bytes, told: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(start)
    message = refused(path)
    assert told in message
    if "damaged" not in told and start:
        assert "export it as OME-TIFF" in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "a.tif")
    assert "is a folder" in refused(tmp_path)


def test_random_bytes_behind_a_tiff_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    rng = np.random.default_rng(0)
    for _ in range(100):
        path.write_bytes(b"II*\0\x08\0\0\0" + rng.bytes(300))
        refused(path)


WRITERS: dict[str, Any] = {
    "ome": lambda path, data: ome(path, data, "CYX"),
    "ome zlib": lambda path, data: ome(path, data, "CYX", compression="zlib"),
    "imagej": lambda path, data: imagej(path, data, "CYX"),
    "shaped": lambda path, data: plain(path, data, "CYX"),
    "plain": lambda path, data: plain(path, data),
    "strips": lambda path, data: plain(path, data, rowsperstrip=7),
    "tiles lzw": lambda path, data: plain(path, data, "CYX", tile=(16, 16), compression="lzw"),
    "samples": lambda path, data: plain(path, np.moveaxis(data, 0, -1).copy(), None, planarconfig="contig"),
}


@pytest.mark.parametrize("kept", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_truncated_file_is_refused(tmp_path: Path, writer: str, kept: float) -> None:
    path = WRITERS[writer](tmp_path / "a.tif", pixels("CYX"))
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tif:
        end = max(o + n for p in tif.pages for o, n in zip(p.dataoffsets, p.databytecounts, strict=True))
    path.write_bytes(whole[: int(end * kept)])
    message = refused(path)
    assert "truncated" in message or "damaged" in message
    assert "copy or export the file again" in message


@pytest.mark.parametrize("writer", WRITERS)
def test_a_byte_that_is_missing_at_the_end_is_noticed(tmp_path: Path, writer: str) -> None:
    path = WRITERS[writer](tmp_path / "a.tif", pixels("CYX"))
    with tifffile.TiffFile(path) as tif:
        end = max(o + n for p in tif.pages for o, n in zip(p.dataoffsets, p.databytecounts, strict=True))
    path.write_bytes(path.read_bytes()[: end - 1])
    message = refused(path)
    assert "truncated" in message or "damaged" in message


def test_pixel_data_that_cannot_be_decoded_are_refused(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.tif", pixels("CYX"), "CYX", compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[1].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(200))
    assert "damaged" in refused(path)


def test_pixel_data_that_were_never_written_are_refused(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.tif", pixels("CYX"), "CYX", compression="zlib")
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[1]
        assert isinstance(page, tifffile.TiffPage)
        counts = page.tags["StripByteCounts"]
    with path.open("r+b") as file:
        file.seek(counts.valueoffset)
        file.write(bytes(4))
    assert "page 1 were never written" in refused(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axes", ["CYX", "ZCYX"])
@pytest.mark.parametrize("projection", ["max", "mean"])
def test_pixels_that_are_no_numbers_are_counted(
    tmp_path: Path, bad: float, axes: str, projection: str
) -> None:
    data = pixels(axes, "float32")
    data[..., 1, 3:5, 7] = bad  # in each z-plane
    path = ome(tmp_path / "a.ome.tif", data, axes)
    n = 2 * (3 if "Z" in axes else 1)
    message = refused(path, Settings.from_values({"z_projection": projection}))
    assert f"{n} pixels of the exosome channel (1: PKH26) are NaN or infinite" in message


def test_a_channel_that_is_not_used_may_be_anything(tmp_path: Path) -> None:
    data = pixels("CYX", "float32")
    data[2] = np.nan
    field = one(plain(tmp_path / "a.tif", data, "CYX"))
    same(field.channels["exosome"], data[1])


@pytest.mark.parametrize(("channel", "role"), [(0, "cell"), (1, "exosome")])
def test_a_constant_channel_is_refused(tmp_path: Path, channel: int, role: str) -> None:
    data = pixels("CYX")
    data[channel] = 77
    message = refused(ome(tmp_path / "a.ome.tif", data, "CYX"), Settings())
    assert f"the {role} channel ({channel}: {NAMES[channel]}) has the value 77 everywhere" in message


def test_equal_corners_do_not_make_a_channel_constant(tmp_path: Path) -> None:
    data = np.zeros((2, HEIGHT, WIDTH), "uint8")
    data[:, 20, 30] = 1
    same(one(plain(tmp_path / "a.tif", data, "CYX")).channels["cell"], data[0])


def test_a_constant_nucleus_channel_is_left_out_with_a_note(tmp_path: Path) -> None:
    data = pixels("CYX")
    data[2] = 0
    field = one(ome(tmp_path / "a.ome.tif", data, "CYX"), Settings())
    assert list(field.channels) == ["cell", "exosome"]
    assert "the nucleus channel (2: DAPI) is the same everywhere and was left out" in field.notes


@pytest.mark.parametrize(
    ("shape", "how", "told"),
    [
        ((HEIGHT, WIDTH, 3), {"photometric": "rgb"}, "colour picture (RGB)"),
        ((HEIGHT, WIDTH, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, "colour picture (RGBA)"),
        ((3, HEIGHT, WIDTH), {"photometric": "rgb", "planarconfig": "separate"}, "colour picture (RGB)"),
        ((HEIGHT, WIDTH), {"photometric": "palette", "colormap": np.zeros((3, 256), "u2")}, "colour palette"),
    ],
)
def test_colour_pictures_are_refused(
    tmp_path: Path, shape: tuple[int, ...], how: dict[str, Any], told: str
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(np.prod(shape), dtype="uint8").reshape(shape), **how)
    message = refused(path)
    assert told in message
    assert "save the original channels" in message


def test_a_sixteen_bit_rgb_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("YXC"), photometric="rgb")
    assert "colour picture" in refused(path)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint8"])
def test_a_label_mask_is_refused(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "a_masks.tif"
    tifffile.imwrite(path, pixels("YX", dtype))
    message = refused(path, Settings())
    assert "single channel" in message
    assert "label mask" in message


@pytest.mark.parametrize(("axes", "told"), [("ZYX", "z-planes"), ("TYX", "times")])
def test_channels_saved_as_another_axis_get_a_hint(tmp_path: Path, axes: str, told: str) -> None:
    message = refused(imagej(tmp_path / "a.tif", pixels(axes, T=3), axes))
    assert f"if its {told} are channels" in message


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.tif", pixels("CYX", "float32").astype("complex64"), "CYX")
    assert "complex numbers" in refused(path)


def test_a_tiny_image_is_refused(tmp_path: Path) -> None:
    message = refused(plain(tmp_path / "a.tif", pixels("CYX", Y=15), "CYX"))
    assert "15 × 57 pixels" in message
    assert "16 × 16" in message
    assert one(plain(tmp_path / "b.tif", pixels("CYX", Y=16, X=16), "CYX")).shape == (16, 16)


def test_an_image_too_large_for_the_memory_is_refused_from_its_header(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.tif", pixels("CYX"), "CYX")
    needed = HEIGHT * WIDTH * (3 * 2 + 60)
    assert one(path, available_bytes=needed).shape == (HEIGHT, WIDTH)
    message = refused(path, available_bytes=needed - 1)
    assert "40 × 57 pixels with 3 channels need about" in message
    assert "crop or bin" in message


def test_absurd_dimensions_are_refused_without_reading(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.tif", pixels("CYX"), None, compression="zlib")
    with path.open("r+b") as file, tifffile.TiffFile(path) as tif:
        for page in tif.pages:
            assert isinstance(page, tifffile.TiffPage)
            for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                file.seek(page.tags[tag].offset + 2)
                file.write(struct.pack("<HII", 4, 1, 10**6))
    tracemalloc.start()
    message = refused(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "1000000 × 1000000 pixels" in message
    assert peak < 5e6


def test_a_roleless_image_lists_its_channels(tmp_path: Path) -> None:
    path = ome(
        tmp_path / "a.ome.tif", pixels("CYX"), "CYX", metadata={"Channel": {"Name": ["x", "DAPI", "y"]}}
    )
    message = refused(path, Settings())
    assert "the cell and which the exosome" in message
    assert "0: x, 1: DAPI, 2: y" in message
    assert "--channels" in message


def test_a_bad_frame_does_not_stop_the_others(tmp_path: Path) -> None:
    data = pixels("TCYX", T=4)
    data[1, 1] = 0
    data[3, 0] = 5
    path = ome(tmp_path / "a.ome.tif", data, "TCYX")
    frames = []
    with pytest.raises(InputError) as caught:
        for field in read_fields(path, SAID):
            frames.append(field.frame)
            same(field.channels["cell"], data[field.frame, 0])
    assert frames == [0, 2]
    assert "2 of 4 fields could not be read; the first is a_t0001: the exosome channel" in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_series_cut_off_by_the_microscope_gives_the_frames_it_has(tmp_path: Path) -> None:
    data = pixels("TCYX", T=3)
    path = ome(tmp_path / "a.ome.tif", data[:2], "TCYX")
    path.write_bytes(path.read_bytes().replace(b'SizeT="2"', b'SizeT="3"'))
    frames: list[int] = []
    with pytest.raises(InputError, match=r"1 of 3 fields could not be read.*a_t0002.*is missing"):
        for field in read_fields(path, SAID):
            frames.append(field.frame)
            same(field.channels["exosome"], data[field.frame, 1])
    assert frames == [0, 1]


# --- manners -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_movie_is_read_frame_by_frame(tmp_path: Path, compression: str | None) -> None:
    data = np.zeros((20, 2, 256, 256), "uint16")
    data[:, :, ::3] = 1
    path = ome(tmp_path / "a.ome.tif", data, "TCYX", compression=compression)
    del data
    tracemalloc.start()
    count = sum(1 for _ in read_fields(path, SAID))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20
    assert peak < 5 * 2 * 256 * 256 * 2  # a fraction of the 20 frames


def test_the_file_is_free_afterwards(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.tif", pixels("TCYX"), "TCYX")
    fields = read_fields(path, SAID)
    first = next(fields)
    fields.close()  # type: ignore[attr-defined]
    path.unlink()
    assert first.channels["cell"].flags.writeable


def test_channels_are_not_shared_between_fields_or_roles(tmp_path: Path) -> None:
    data = pixels("ZYXC")
    path = plain(tmp_path / "a.tif", data, "ZYXC", planarconfig="contig")
    field = one(path)
    assert not np.shares_memory(field.channels["cell"], field.channels["exosome"])
    same(field.channels["cell"], data[..., 0].max(axis=0))
    same(field.channels["exosome"], data[..., 1].max(axis=0))


def test_tifffile_says_nothing_on_the_screen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = WRITERS["imagej"](tmp_path / "a.tif", pixels("CYX"))
    path.write_bytes(path.read_bytes()[:2000])
    refused(path)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    # Outside of our reading, the logger is as it was.
    logging.getLogger("tifffile").warning("still heard")
    assert [record.message for record in caplog.records] == ["still heard"]


VOLUME = Settings(channels={"cell": 0, "exosome": 1}, z_stack="volume")


def test_a_stack_is_read_as_a_volume_with_its_voxel_size(tmp_path: Path) -> None:
    data = pixels("ZCYX")
    size = {"PhysicalSizeZ": 500.0, "PhysicalSizeZUnit": "nm"}
    field = one(ome(tmp_path / "a.tif", data, "ZCYX", metadata=size), VOLUME)
    assert (field.planes, field.shape) == (3, (HEIGHT, WIDTH))
    assert (field.z_step_um, field.pixel_size_um) == (0.5, 0.325)
    assert np.array_equal(field.channels["exosome"], data[:, 1])
    assert field.channels["cell"].dtype == np.uint16
    assert not any("projected" in note for note in field.notes)


def test_the_distance_of_planes_is_read_from_imagej_too(tmp_path: Path) -> None:
    path = imagej(tmp_path / "a.tif", pixels("ZCYX"), "ZCYX", spacing=0.4)
    assert one(path, VOLUME).z_step_um == 0.4


def test_a_stack_without_z_spacing_is_one_sentence_unless_it_is_given(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.tif", pixels("ZCYX"), "ZCYX")
    with pytest.raises(InputError, match=r"does not tell the distance of its planes.*--z-step"):
        one(path, VOLUME)
    assert one(path, VOLUME.updated(z_step_um=0.7)).z_step_um == 0.7


@pytest.mark.parametrize("step", [0.0, -1.0, 5000.0])
def test_an_impossible_distance_of_planes_is_refused(tmp_path: Path, step: float) -> None:
    path = ome(tmp_path / "a.tif", pixels("ZCYX"), "ZCYX", metadata={"PhysicalSizeZ": step})
    with pytest.raises(InputError, match="planes"):
        one(path, VOLUME)


def test_a_single_plane_is_no_volume(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.tif", pixels("CYX"), "CYX", metadata={"PhysicalSizeZ": 0.5})
    with pytest.raises(InputError, match=r"single plane, which has no volume.*--z-stack project"):
        one(path, VOLUME)


def test_a_volume_channel_that_is_the_same_everywhere_is_refused(tmp_path: Path) -> None:
    data = pixels("ZCYX")
    data[:, 1] = 7
    path = ome(tmp_path / "a.tif", data, "ZCYX", metadata={"PhysicalSizeZ": 0.5})
    with pytest.raises(InputError, match="the value 7 everywhere"):
        one(path, VOLUME)


def test_a_volume_with_nan_is_refused_and_memory_counts_all_planes(tmp_path: Path) -> None:
    data = pixels("ZCYX", "float32")
    data[2, 1, 5, 5] = np.nan
    path = ome(tmp_path / "a.tif", data, "ZCYX", metadata={"PhysicalSizeZ": 0.5})
    with pytest.raises(InputError, match="1 pixels of the exosome channel"):
        one(path, VOLUME)
    enough_for_a_plane = HEIGHT * WIDTH * 80
    with pytest.raises(InputError, match="3 planes of"):
        one(path, VOLUME, available_bytes=enough_for_a_plane)


def interval_of(path: Path, **given: Any) -> set[float | None]:
    return {field.frame_interval_min for field in read_fields(path, SAID.updated(**given))}


@pytest.mark.parametrize(
    ("told", "minutes"),
    [
        ({"TimeIncrement": 90}, 1.5),  # seconds, unless it says otherwise
        ({"TimeIncrement": 10, "TimeIncrementUnit": "min"}, 10.0),
        ({"TimeIncrement": 0.5, "TimeIncrementUnit": "h"}, 30.0),
        ({"TimeIncrement": 500, "TimeIncrementUnit": "ms"}, 0.5 / 60),
        ({"TimeIncrement": 0}, None),
        ({"TimeIncrement": 3, "TimeIncrementUnit": "pixel"}, None),
        ({"Plane": {"DeltaT": [0, 1, 2, 60.5, 61, 62], "TheT": [0, 0, 0, 1, 1, 1]}}, 60.5 / 60),
        ({}, None),
    ],
)
def test_the_frame_interval_is_read_from_ome(
    tmp_path: Path, told: dict[str, Any], minutes: float | None
) -> None:
    path = ome(tmp_path / "a.ome.tif", pixels("TCYX"), "TCYX", metadata=told)
    [found] = interval_of(path)
    assert found == (None if minutes is None else pytest.approx(minutes))


@pytest.mark.parametrize(
    ("told", "minutes"),
    [
        ({"finterval": 120.0}, 2.0),
        ({"finterval": 2.0, "tunit": "min"}, 2.0),
        ({"fps": 7.0}, None),
        ({}, None),
    ],
)
def test_the_frame_interval_is_read_from_imagej(
    tmp_path: Path, told: dict[str, Any], minutes: float | None
) -> None:
    path = imagej(tmp_path / "a.tif", pixels("TZCYX"), "TZCYX", **told)
    assert interval_of(path) == {minutes}


def test_the_frame_interval_of_the_settings_goes_first_and_single_frames_have_none(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", pixels("TCYX"), "TCYX", metadata={"TimeIncrement": 60})
    assert interval_of(path, frame_interval_min=5.0) == {5.0}
    single = ome(tmp_path / "b.ome.tif", pixels("CYX"), "CYX", metadata={"TimeIncrement": 60})
    assert interval_of(single) == interval_of(single, frame_interval_min=5.0) == {None}

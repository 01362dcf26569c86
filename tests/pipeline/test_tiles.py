"""Large images: in tiles there are the same cells and puncta as in one piece, once each."""

from __future__ import annotations

import errno
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr_files
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.batches.run import analyse_files
from napari_tam.io.images import read_fields
from napari_tam.io.stack import Stack
from napari_tam.pipeline.edits import Edits
from napari_tam.pipeline.runner import run
from napari_tam.pipeline.tile_labels import tiles_of
from napari_tam.pipeline.tiles import is_large, pixels_at_once
from napari_tam.results.edits import save_edits
from napari_tam.results.folder import read_results, write_mask
from napari_tam.settings import Settings

if TYPE_CHECKING:
    import numpy.typing as npt

METADATA: dict[str, Any] = {
    "axes": "CYX",
    "Channel": {"Name": ["CD11b", "DAPI", "exosome"]},
    **{f"PhysicalSize{axis}": fakes.PIXEL_UM for axis in "XY"},
    **{f"PhysicalSize{axis}Unit": "µm" for axis in "XY"},
}
#: Tiles of 256 pixels that overlap by 80.
TILED = Settings(tile_px=256, tile_overlap_um=40)


def mosaic(rows: int = 8, columns: int = 6) -> npt.NDArray[np.uint16]:
    """Return many fields side by side, so that seams of 256 pixels run through cells and puncta."""
    return np.tile(fakes.image(), (1, rows, columns))


def write(path: Path, data: npt.NDArray[np.uint16], **options: Any) -> Path:
    tifffile.imwrite(path, data, ome=True, metadata=METADATA, photometric="minisblack", **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (64, 64), "compression": "zlib"},
        {"rowsperstrip": 17, "compression": "lzw"},
        {"rowsperstrip": 50},
        {"bigtiff": True, "tile": (128, 128)},
        {"byteorder": ">"},
    ],
    ids=str,
)
def test_any_part_of_any_tiff_is_read_as_it_is(tmp_path: Path, options: dict[str, Any]) -> None:
    data = np.random.default_rng(1).integers(0, 9000, (3, 500, 410)).astype(np.uint16)
    [field] = read_fields(write(tmp_path / "a.ome.tif", data, **options), TILED)
    assert is_large(field)
    assert field.shape == (500, 410)
    channels = field.channels  # the file is closed by now
    for part in (np.s_[0:64, 0:64], np.s_[3:500, 400:410], np.s_[120:140, 63:65], np.s_[:, :]):
        for plane, channel in zip(data, channels.values(), strict=True):
            found = channel[part]
            np.testing.assert_array_equal(found, plane[part])
            assert found.dtype == np.uint16
            assert found.dtype.isnative


def test_an_ome_zarr_is_read_in_parts(tmp_path: Path) -> None:
    data = mosaic(5, 4)
    path = zarr_files.write_zarr(tmp_path / "a.ome.zarr", "0.4", data)
    fields = read_fields(path, TILED)
    field = next(fields)
    assert is_large(field)
    np.testing.assert_array_equal(field.channels["exosome"][10:300, 5:9], data[2, 10:300, 5:9])


def test_tiles_give_the_same_cells_and_puncta_as_one_piece(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", mosaic(), tile=(64, 64))
    [whole] = [run(field, Settings(), fakes.models()) for field in read_fields(path, Settings())]
    [tiled] = [run(field, TILED, fakes.models()) for field in read_fields(path, TILED)]
    assert len(whole.table) == len(tiled.table) == 3 * 48
    np.testing.assert_array_equal(tiled.cells > 0, whole.cells > 0)
    assert sorted(tiled.table["label"]) == list(range(1, 145))
    # one label there is one label here
    pairs = np.unique(np.stack([whole.cells[whole.cells > 0], tiled.cells[whole.cells > 0]]), axis=1)
    assert pairs.shape[1] == 144
    number = dict(pairs.T.tolist())
    mine = tiled.table.set_index("label")
    columns = [
        "centroid_y_px",
        "area_um2",
        "perimeter_um",
        "puncta_count",
        "puncta_intensity_sum",
        "touches_border",
        "nucleus_count",
        "cell_mean",
    ]
    for row in whole.table.to_dict("records"):
        for name in columns:
            assert mine.loc[number[row["label"]], name] == pytest.approx(row[name]), name
    assert len(tiled.puncta) == len(whole.puncta) == 4 * 48
    keys = ["y_px", "x_px"]
    found, wanted = (a.puncta.sort_values(keys, ignore_index=True) for a in (tiled, whole))
    pd.testing.assert_frame_equal(found[keys], wanted[keys])
    assert found["label"].tolist() == [number.get(label, 0) for label in wanted["label"]]
    for name in ("cells", "nuclei", "puncta", "puncta_in_cells", "puncta_outside", "cells_touching_border"):
        assert tiled.summary[name] == whole.summary[name], name
    assert tiled.summary["cell_area_fraction"] == pytest.approx(whole.summary["cell_area_fraction"])
    assert "tiles" in str(tiled.summary["notes"])


@settings(max_examples=4, deadline=None)
@given(shift=st.tuples(st.integers(0, 95), st.integers(0, 127)))
def test_wherever_the_seams_run_nothing_is_lost_or_there_twice(shift: tuple[int, int]) -> None:
    import tempfile

    data = np.roll(mosaic(5, 4), shift, axis=(1, 2))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.ome.tif", data)
        [whole] = [run(field, Settings(), fakes.models()) for field in read_fields(path, Settings())]
        [tiled] = [run(field, TILED, fakes.models()) for field in read_fields(path, TILED)]
    assert len(tiled.table) == len(whole.table)
    assert len(tiled.puncta) == len(whole.puncta)
    assert tiled.table["puncta_count"].sum() == (tiled.puncta["label"] > 0).sum()
    assert sorted(tiled.table["puncta_count"]) == sorted(whole.table["puncta_count"])
    assert tiled.table["touches_border"].sum() == whole.table["touches_border"].sum()


@given(st.tuples(st.integers(16, 3000), st.integers(16, 3000)), st.integers(256, 1000), st.integers(1, 100))
def test_the_cores_cover_the_image_once(shape: tuple[int, int], side: int, margin: int) -> None:
    count = np.zeros(shape, np.uint8)
    for tile in tiles_of(shape, side, margin):
        count[tile.core] += 1
        assert all(w.start <= c.start < c.stop <= w.stop for c, w in zip(tile.core, tile.window, strict=True))
    assert (count == 1).all()


def test_a_batch_writes_a_large_image_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_tam.results.folder.TILED_MASK_PX", 1000)
    path = write(tmp_path / "a.ome.tif", mosaic(), tile=(64, 64))
    [outcome] = analyse_files([path], TILED, fakes.models(), tmp_path / "out")
    assert outcome.error is None
    found = read_results(tmp_path / "out")
    masks = found.masks("a")
    assert masks is not None
    assert outcome.analysis is not None
    np.testing.assert_array_equal(masks, outcome.analysis.cells)
    with tifffile.TiffFile(tmp_path / "out" / "masks" / "a_cells.tif") as tif:
        assert tif.pages.first.is_tiled
    assert (tmp_path / "out" / "overlays" / "a.png").stat().st_size > 1000
    assert found.images["cells"].tolist() == [144]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux for the open files")
def test_the_labels_of_a_large_image_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count(str(folder))

    path = write(tmp_path / "a.ome.tif", mosaic(5, 4))
    [tiled] = [run(field, TILED, fakes.models()) for field in read_fields(path, TILED)]
    assert mapped() == 2
    assert not list(folder.iterdir())  # nothing that a killed process would leave
    assert tiled.cells.max() == 60
    del tiled
    assert mapped() == 0


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    peaks = []
    for rows in (8, 32):
        path = write(tmp_path / f"{rows}.ome.tif", mosaic(rows, 6), tile=(128, 128), compression="zlib")
        tracemalloc.start()
        for field in read_fields(path, TILED):
            analysis = run(field, TILED, fakes.models())
            write_mask(tmp_path / "mask.tif", analysis.cells, 0.5)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # in one piece, every further pixel needs some 60 bytes; here it is what the tables hold
    assert peaks[1] - peaks[0] < 2 * (32 - 8) * 6 * fakes.SHAPE[0] * fakes.SHAPE[1], peaks


def test_a_full_disk_is_an_error_before_anything_is_analysed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    path = write(tmp_path / "a.ome.tif", mosaic(5, 4))
    [outcome] = analyse_files([path], TILED, fakes.models(), tmp_path / "out")
    assert "No space left on device" in str(outcome.error)
    assert "TMPDIR" in str(outcome.error)


def test_corrections_by_hand_are_not_lost_in_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", mosaic(5, 4))
    edits = Edits(removed=np.array([[20.0, 26.0]]))
    save_edits(tmp_path / "out", "a", edits, fakes.PIXEL_UM)
    [outcome] = analyse_files([path], TILED, fakes.models(), tmp_path / "out")
    assert "corrected by hand" in str(outcome.error)
    assert "--tile-px 512" in str(outcome.error)
    [outcome] = analyse_files([path], Settings(tile_px=512), fakes.models(), tmp_path / "out")
    assert outcome.error is None


def test_a_slide_counts_for_the_memory_as_a_tile(tmp_path: Path) -> None:
    [field] = read_fields(write(tmp_path / "a.ome.tif", mosaic(20, 15)), TILED)
    assert pixels_at_once(field, TILED) == (1.5 * 256 + 80) ** 2
    assert pixels_at_once(field, Settings(tile_px=32_768)) == 1920 * 1920


@pytest.mark.parametrize(
    "options",
    [
        {"ome": True, "tile": (64, 64), "compression": "zlib"},
        {"ome": True, "tile": (64, 64), "compression": "zlib", "bigtiff": True},
        {"ome": True, "rowsperstrip": 50, "compression": "zlib"},
        {"ome": True},
        {"ome": True, "tile": (64, 64)},
        {"imagej": True},
        {"bigtiff": True, "rowsperstrip": 32, "metadata": None},
    ],
)
def test_a_window_is_read_without_the_rest_of_its_plane(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 60_000, (3, 150, 210), np.uint16)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", **({"metadata": {"axes": "CYX"}} | options))
    with tifffile.TiffFile(path) as tif:
        stack = Stack(path, tif, tif.series[0])
        monkeypatch.setattr(stack, "plane", None)
        for channel, rows, columns in ((0, slice(0, 40), slice(0, 70)), (2, slice(61, 150), slice(50, 210))):
            window = stack.window(0, 0, 0, channel, rows, columns)
            np.testing.assert_array_equal(window, pixels[channel, rows, columns])


def test_the_background_of_tiles_is_that_of_the_whole_picture(tmp_path: Path) -> None:
    data = mosaic()
    # uneven light: each tile alone would have a background of its own
    data[2] += np.linspace(0, 60, data.shape[2]).astype(np.uint16)
    path = write(tmp_path / "a.ome.tif", data)
    [large] = read_fields(path, TILED)
    [whole] = read_fields(path, Settings(tile_px=4096))
    found = {
        name: run(field, chosen, fakes.models())
        for name, field, chosen in (("tiles", large, TILED), ("whole", whole, Settings(tile_px=4096)))
    }
    place = ["centroid_y_px", "centroid_x_px"]
    tiles, one = (
        each.table.assign(**each.table[place].round(1)).set_index(place).sort_index()
        for each in found.values()
    )
    assert len(tiles) == len(one) == 3 * 48
    for column in ("exosome_integrated", "ctcf"):
        scale = np.abs(one[column].to_numpy()).max()
        assert np.abs(tiles[column].to_numpy() - one[column].to_numpy()).max() <= 0.01 * scale
    for level in ("exosome_background", "exosome_background_mean"):
        assert found["tiles"].summary[level] == pytest.approx(found["whole"].summary[level], rel=0.01)
    assert "background of the whole picture" in str(found["tiles"].summary["notes"])

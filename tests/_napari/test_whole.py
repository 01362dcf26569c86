"""Volumes, movies and large images in a real viewer: the same tables as the command line's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
import tifffile

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

from napari_viewers import open_widget, run

from napari_tam import api
from napari_tam.columns import DECISION_COLUMNS, LAYOUT_COLUMNS, PUNCTUM_DECISION_COLUMNS
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = {f"PhysicalSize{axis}": fakes.PIXEL_UM for axis in "XY"}
PIXELS |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"}
NAMES = {"Name": ["CD11b", "DAPI", "exosome"]}

#: What the end of a batch adds to its tables, by a layout and by all images together.
OF_BATCH = {column.name for column in (*LAYOUT_COLUMNS, *DECISION_COLUMNS, *PUNCTUM_DECISION_COLUMNS)}


@pytest.fixture(autouse=True)
def fake_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_tam.pipeline.models.load_models", lambda _settings: fakes.models())


def write(path: Path, data: Any, axes: str, **more: Any) -> Path:
    tifffile.imwrite(path, data, ome=True, metadata={"axes": axes, "Channel": NAMES, **PIXELS, **more})
    return path


def write_volume(folder: Path) -> Path:
    return write(folder / "v.ome.tif", fakes.stack(9, 2, 6), "CZYX", PhysicalSizeZ=0.6)


def write_movie(folder: Path, frames: int = 8) -> Path:
    """Write a movie: the cells move, one pixel a frame, and the puncta become brighter and more."""
    planes = []
    for time in range(frames):
        spots = fakes.SPOTS[: 2 + time // 3]
        image = fakes.image(spots).astype(float)
        image[2] = 11 + (image[2] - 11) * (1.6 - np.exp(-0.5 * time))
        planes.append(np.roll(image, time, axis=2))
    data = np.stack(planes).round().astype(np.uint16)
    return write(folder / "m.ome.tif", data, "TCYX", TimeIncrement=12.0, TimeIncrementUnit="min")


def by_command_line(path: Path, out: Path, **values: Any) -> Any:
    """Return the tables that the command line writes."""
    api.batch([path], out, Settings(**values), models=fakes.models(), report=False)
    return read_results(out)


def opened(viewer: Any, path: Path, what: str, **values: Any) -> Any:
    """Open an image by the plugin's reader, and choose what of it is analysed."""
    viewer.open(path, plugin="napari-tam")
    widget = open_widget(viewer)
    for name, value in values.items():
        widget.form[name].value = value
    widget.picker.what = what
    assert widget.picker.what == what
    return widget


def assert_same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Compare tables: the same columns, in the same order, with the same values."""
    names = list(ours.columns)
    assert names == [name for name in theirs.columns if name not in OF_BATCH or name in names]
    assert len(ours) == len(theirs) > 0
    for name in names:
        mine, other = ours[name].reset_index(drop=True), theirs[name].reset_index(drop=True)
        if pd.api.types.is_numeric_dtype(mine) or pd.api.types.is_bool_dtype(mine):
            a, b = (each.astype("Float64").astype(float).to_numpy() for each in (mine, other))
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert texts(mine) == texts(other), name


def texts(values: pd.Series) -> list[str]:
    """Return the texts of a column; missing ones, as which CSV gives back empty ones, are empty."""
    return ["" if pd.isna(value) else str(value) for value in values.tolist()]


def test_a_volume_has_the_tables_of_the_command_line(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    path = write_volume(tmp_path)
    theirs = by_command_line(path, tmp_path / "out", z_stack="volume")
    widget = opened(viewer, path, "volume")
    run(widget, qtbot)
    found = widget.session.found["v"]
    assert_same(found.analysis.table, theirs.cells)
    assert_same(found.analysis.puncta, theirs.puncta)
    cells, puncta = viewer.layers["cells (v)"], viewer.layers["puncta (v)"]
    assert cells.data.shape == (9, *fakes.SHAPE)
    np.testing.assert_allclose(cells.scale, (0.6, 0.5, 0.5))
    np.testing.assert_allclose(puncta.scale, cells.scale)
    np.testing.assert_allclose(puncta.data[:, 0], 4, atol=0.3)  # where they were drawn
    assert viewer.layers["nuclei (v)"].data.any()


def test_a_movie_has_the_tables_of_the_command_line(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    path = write_movie(tmp_path)
    theirs = by_command_line(path, tmp_path / "out")
    widget = opened(viewer, path, "movie")
    run(widget, qtbot)
    found = widget.session.found["m"]
    assert_same(found.over_time, theirs.cells)
    assert_same(found.analysis.puncta.drop(columns="track"), theirs.puncta)
    assert_same(found.followed.fits, pd.read_csv(tmp_path / "out" / "kinetics.csv"))
    cells = viewer.layers["cells (m)"]
    for row in found.over_time.itertuples():  # a cell keeps its number
        at = row.frame, round(row.centroid_y_px), round(row.centroid_x_px)
        assert cells.data[at] == row.track
    tracks = viewer.layers["tracks (m)"]
    assert len(tracks.data) == len(theirs.cells)
    assert sorted(set(tracks.data[:, 0])) == [1, 2, 3]


@pytest.mark.parametrize("kind", ["one plane", "one file"])
def test_a_large_image_has_the_tables_of_the_command_line(
    viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("napari_tam._napari._pyramid.PYRAMID_FROM", 300)
    monkeypatch.setattr("napari_tam._napari._pyramid.COARSEST", 128)
    if kind == "one file":  # read when it is looked at
        monkeypatch.setattr("napari_tam._napari._contributions._images.LARGE", 1)
    data = np.tile(fakes.image(), (1, 5, 4))
    path = write(tmp_path / "l.ome.tif", data, "CYX")
    values = {"tile_px": 256, "tile_overlap_um": 40.0}
    theirs = by_command_line(path, tmp_path / "out", **values)
    widget = opened(viewer, path, "plane", **values)
    cell = viewer.layers["l CD11b"]
    assert cell.multiscale
    np.testing.assert_array_equal(np.asarray(cell.data[0]), data[0])
    run(widget, qtbot)
    found = widget.session.found["l"]
    assert "tiles" in str(found.analysis.summary["notes"])
    assert_same(found.analysis.table, theirs.cells)
    assert_same(found.analysis.puncta, theirs.puncta)
    labels = viewer.layers["cells (l)"]
    assert labels.multiscale
    assert (np.asarray(labels.data[0]) > 0).sum() == (np.tile(fakes.discs(16), (5, 4)) > 0).sum()

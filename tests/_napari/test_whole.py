"""Volumes, movies and large images in a real viewer: the same tables as the command line's."""

from __future__ import annotations

from types import SimpleNamespace
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
from napari_tam._napari._channel import Channel
from napari_tam._napari._contributions._images import image_layers
from napari_tam._napari._layers import KEY
from napari_tam._napari._results import save_results
from napari_tam._napari._whole._axes import MOVIE, PLANE, VOLUME, offered
from napari_tam._napari._whole._movie import found_movie
from napari_tam._napari._whole._run import analyse_movie
from napari_tam._napari._whole._save import save_movie
from napari_tam._napari._whole._source import Source
from napari_tam.batches.threshold import read_thresholds
from napari_tam.columns import DECISION_COLUMNS, LAYOUT_COLUMNS, PUNCTUM_DECISION_COLUMNS
from napari_tam.errors import InputError
from napari_tam.pipeline.edits import Edits
from napari_tam.results.folder import mask_path, read_results
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
    added = set() if "readout" in ours else OF_BATCH  # of kinetics.csv these are its own
    names = [name for name in ours.columns if name not in added]
    assert names == [name for name in theirs.columns if name not in added]
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


def test_a_volume_has_the_tables_of_the_command_line(
    viewer: Any, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    path = write_volume(tmp_path)
    theirs = by_command_line(path, tmp_path / "out", z_stack="volume")
    widget = opened(viewer, path, VOLUME)
    assert scopes(widget) == [PLANE, VOLUME]
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
    widget.session.click((4 * 0.6, 24 * 0.5, 30 * 0.5))
    [chosen] = found.selected
    assert cells.data[4, 24, 30] == chosen
    viewer.dims.set_point(0, 0)
    widget.session.look_at(found, chosen)
    assert viewer.dims.point[0] == pytest.approx(4 * 0.6, abs=0.31)  # the plane of its middle
    widget.correct.editor.do("delete")
    widget.correct.discard()
    widget.correct.edit("cells")
    assert "a volume is not corrected by hand" in errors[0]
    assert cells.data[4, 24, 30] == chosen
    assert not any(part.isEnabled() for part in widget.correct.buttons.values())
    before = found.analysis
    highest = float(found.analysis.puncta["snr"].max())
    widget.form["puncta_min_snr"].value = highest + 1  # above all candidates: seen at once
    assert len(puncta.data) == 0
    qtbot.waitUntil(lambda: widget.session.found["v"].analysis is not before and widget.idle, timeout=30_000)
    again = widget.session.found["v"].analysis
    assert again.cells is before.cells  # nothing was segmented again
    assert again.table["puncta_count"].sum() == 0


def test_a_movie_has_the_tables_of_the_command_line(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    path = write_movie(tmp_path)
    theirs = by_command_line(path, tmp_path / "out")
    kinetics = pd.read_csv(tmp_path / "out" / "kinetics.csv")
    widget = opened(viewer, path, MOVIE)
    assert scopes(widget) == [PLANE, MOVIE]
    widget.tabs.setCurrentWidget(widget.plot)
    widget.run()
    qtbot.waitUntil(lambda: widget.status.startswith("Frame"), timeout=20_000)
    widget.cancel()
    qtbot.waitUntil(lambda: widget.idle, timeout=20_000)
    assert widget.status == "Cancelled."
    assert len(viewer.layers) == 3
    run(widget, qtbot)
    found = widget.session.found["m"]
    assert_same(found.over_time, theirs.cells)
    assert_same(found.analysis.puncta.drop(columns="track"), theirs.puncta)
    assert_same(found.followed.fits, kinetics)
    assert found.followed.thresholds == read_thresholds(tmp_path / "out")  # one, learnt from all frames
    cells, tracks = viewer.layers["cells (m)"], viewer.layers["tracks (m)"]
    for row in found.over_time.itertuples():  # a cell keeps its number, and its track lies on it
        at = row.frame, round(row.centroid_y_px), round(row.centroid_x_px)
        assert cells.data[at] == row.track
    for track, *at in tracks.data:
        assert cells.data[tuple(np.round(at).astype(int))] == track
    assert sorted(set(tracks.data[:, 0])) == [1, 2, 3]
    assert len(tracks.features) == len(theirs.cells)
    widget.session.click((3.0, 24 * 0.5, (30 + 3) * 0.5))
    [chosen] = found.selected
    assert cells.data[3, 24, 33] == chosen
    lines = uptake_lines(widget, found)
    np.testing.assert_allclose(lines[f"track {chosen}"], intensities(theirs.cells, chosen), rtol=1e-5)
    own = kinetics[(kinetics["track"] == chosen) & (kinetics["readout"] == "puncta_intensity_sum")].iloc[0]
    assert f"fit, half-time {own['half_time_h']:.3g} h" in lines
    widget.plot.choose(np.array([(-1, -1), (9, -1), (9, 1e9), (-1, 1e9)]))  # around all of it
    assert found.selected == {1, 2, 3}
    save_results(found, tmp_path / "saved", widget.session)
    assert_same(read_results(tmp_path / "saved").cells, theirs.cells)
    assert_same(pd.read_csv(tmp_path / "saved" / "kinetics.csv"), kinetics)
    names = [sorted(each.name for each in (tmp_path / out / "masks").iterdir()) for out in ("out", "saved")]
    assert names[0] == names[1]


def test_a_volume_in_a_results_folder_is_opened_and_run_again(
    viewer: Any, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    path = write_volume(tmp_path)
    theirs = by_command_line(path, tmp_path / "out", z_stack="volume")
    viewer.open(str(tmp_path / "out"), plugin="napari-tam")
    widget = open_widget(viewer)
    qtbot.waitUntil(lambda: "v" in widget.session.found and widget.idle, timeout=20_000)
    cells, puncta = viewer.layers["cells (v)"], viewer.layers["puncta (v)"]
    np.testing.assert_array_equal(cells.data, tifffile.imread(mask_path(tmp_path / "out", "v", "cells")))
    columns = ["z_px", "y_px", "x_px"]
    np.testing.assert_allclose(puncta.data, theirs.puncta[columns].to_numpy(float), atol=1e-3)
    for name in ("v cell", "v nucleus", "v exosome", "cells (v)", "nuclei (v)", "puncta (v)"):
        np.testing.assert_allclose(viewer.layers[name].scale, (0.6, 0.5, 0.5))
    np.testing.assert_array_equal(viewer.layers["v exosome"].data, tifffile.imread(path)[2])
    assert_same(widget.session.found["v"].analysis.table, theirs.cells)
    widget.session.click((4 * 0.6, 24 * 0.5, 30 * 0.5))
    assert widget.session.found["v"].selected == {cells.data[4, 24, 30]}
    assert not cells.editable
    widget.correct.editor.do("delete")
    assert "a volume is not corrected by hand" in errors.pop()
    assert widget.picker.what == VOLUME
    run(widget, qtbot)
    assert not errors
    assert_same(widget.session.found["v"].analysis.table, theirs.cells)
    assert widget.session.found["v"].folder == tmp_path / "out"


def test_a_volume_without_its_image_is_masks_and_puncta(
    viewer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_volume(tmp_path)
    by_command_line(path, tmp_path / "out", z_stack="volume")
    path.unlink()
    viewer.open(str(tmp_path / "out"), plugin="napari-tam")
    assert "Only masks and puncta of v are shown" in capsys.readouterr().out
    assert [layer.name for layer in viewer.layers] == ["nuclei (v)", "cells (v)", "puncta (v)"]
    assert all(tuple(layer.scale) == (0.6, 0.5, 0.5) for layer in viewer.layers)


def test_a_movie_in_a_results_folder_is_opened_as_a_whole(
    viewer: Any, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    path, out = write_movie(tmp_path), tmp_path / "out"
    theirs = by_command_line(path, out)
    viewer.open(str(out), plugin="napari-tam")
    widget = open_widget(viewer)
    qtbot.waitUntil(lambda: "m" in widget.session.found and widget.idle, timeout=20_000)
    found = widget.session.found["m"]
    assert_same(found.over_time, theirs.cells)
    assert_same(found.followed.fits, pd.read_csv(out / "kinetics.csv"))
    assert found.followed.thresholds == read_thresholds(out)
    cells, tracks = viewer.layers["cells (m)"], viewer.layers["tracks (m)"]
    for row in found.over_time.itertuples():
        assert cells.data[row.frame, round(row.centroid_y_px), round(row.centroid_x_px)] == row.track
    assert sorted(set(tracks.data[:, 0])) == [1, 2, 3]
    columns = ["frame", "y_px", "x_px"]
    np.testing.assert_allclose(
        viewer.layers["puncta (m)"].data, theirs.puncta[columns].to_numpy(float), atol=1e-3
    )
    assert widget.picker.what == MOVIE
    assert not cells.editable
    assert tracks.color_by == "puncta_intensity_sum"
    widget.session.click((3.0, 24 * 0.5, (30 + 3) * 0.5))
    [chosen] = found.selected
    assert cells.data[3, 24, 33] == chosen
    widget.tabs.setCurrentWidget(widget.plot)
    assert uptake_lines(widget, found)
    run(widget, qtbot)  # and again, into the same folder
    assert not errors
    assert_same(widget.session.found["m"].over_time, theirs.cells)
    assert widget.session.found["m"].folder == out


def test_a_frame_of_a_movie_is_still_opened_alone(viewer: Any, tmp_path: Path) -> None:
    path, out = write_movie(tmp_path, frames=3), tmp_path / "out"
    by_command_line(path, out)
    viewer.open(str(mask_path(out, "m_t0001", "cells")), plugin="napari-tam")
    assert viewer.layers["cells (m_t0001)"].data.shape == fakes.SHAPE
    viewer.layers.clear()
    path.unlink()  # without its image, the first frame
    viewer.open(str(out), plugin="napari-tam")
    assert viewer.layers["cells (m_t0000)"].data.shape == fakes.SHAPE


def test_a_movie_of_stacks_is_a_volume_at_a_time_or_projected(
    viewer: Any, qtbot: Any, tmp_path: Path
) -> None:
    first = fakes.stack(5, 1, 3)
    path = write(
        tmp_path / "s.ome.tif",
        np.stack([first, np.roll(first, 1, axis=3)]),
        "TCZYX",
        PhysicalSizeZ=0.6,
    )
    widget = opened(viewer, path, VOLUME)
    assert scopes(widget) == [PLANE, VOLUME, MOVIE]
    viewer.dims.set_current_step(0, 1)
    run(widget, qtbot)
    theirs = by_command_line(path, tmp_path / "volumes", z_stack="volume").cells
    theirs = theirs[theirs["frame"] == 1].drop(columns=["track", "time_h"])
    assert_same(widget.session.found["s_t0001"].analysis.table, theirs)
    widget.picker.what = MOVIE
    run(widget, qtbot)
    assert_same(widget.session.found["s"].over_time, by_command_line(path, tmp_path / "projected").cells)
    cells = viewer.layers["cells (s)"]
    assert cells.data.shape == (2, 5, *fakes.SHAPE)
    assert viewer.dims.ndim == 4


def test_a_large_image_has_the_tables_of_the_command_line(
    viewer: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[str]
) -> None:
    monkeypatch.setattr("napari_tam._napari._pyramid.PYRAMID_FROM", 300)
    monkeypatch.setattr("napari_tam._napari._pyramid.COARSEST", 128)
    data = np.tile(fakes.image(), (1, 5, 4))
    path = write(tmp_path / "l.ome.tif", data, "CYX")
    [(held, *_), *_] = image_layers(path)
    monkeypatch.setattr("napari_tam._napari._contributions._images.LARGE", 1)  # read when it is looked at
    values = {"tile_px": 256, "tile_overlap_um": 40.0}
    theirs = by_command_line(path, tmp_path / "out", **values)
    widget = opened(viewer, path, PLANE, **values)
    assert scopes(widget) == []
    cell = viewer.layers["l CD11b"]
    assert cell.multiscale
    assert not isinstance(cell.data[0], np.ndarray)
    for ours, mine in zip(cell.data, held, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), mine)
    np.testing.assert_array_equal(held[0], data[0])
    assert abs(held[1].mean() - data[0].mean()) < 1  # a coarser picture of the same light
    run(widget, qtbot)
    found = widget.session.found["l"]
    assert "tiles" in str(found.analysis.summary["notes"])
    assert_same(found.analysis.table, theirs.cells)
    assert_same(found.analysis.puncta, theirs.puncta)
    labels = viewer.layers["cells (l)"]
    assert labels.multiscale
    assert (np.asarray(labels.data[0]) > 0).sum() == (np.tile(fakes.discs(16), (5, 4)) > 0).sum()
    widget.session.click((24 * 0.5, 30 * 0.5))
    assert found.selected == {int(labels.data[0][24, 30])}
    found.edits = Edits(removed=np.array([[20.0, 26.0]]))  # as if it had been corrected in one piece
    run(widget, qtbot)
    assert "which an analysis in tiles would not keep" in errors[0]
    assert widget.session.found["l"] is found


#: A session that has networks, and no window.
NO_WINDOW: Any = SimpleNamespace(models=lambda _settings: fakes.models())


def in_memory(movie: Any) -> Source:
    """Return a movie (TCYX) that was never a file."""
    from napari.layers import Image

    names = zip(("cell", "nucleus", "exosome"), range(3), strict=True)
    channels = {role: Channel(Image(movie[:, at], name=role)) for role, at in names}
    return Source(channels, "m", 0.5, MOVIE, None)


def driven(source: Source) -> tuple[list[Any], Any]:
    """Analyse a movie; return what was told on the way, and what was found."""
    steps = analyse_movie(NO_WINDOW, source, Settings(pixel_size_um=0.5), None)
    told = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as stop:
            return told, stop.value


def test_a_frame_that_fails_is_told_and_left_out(tmp_path: Path) -> None:
    movie = tifffile.imread(write_movie(tmp_path, 4)).astype(np.float32)
    movie[1, 0, 5, 5] = np.nan
    source = in_memory(movie)
    told, followed = driven(source)
    assert told[0].text == "Frame 1 of 4: the puncta's threshold …"
    assert [each.text for each in told if each.step == "cells"] == [
        f"Frame {n} of 4: cells …" for n in (1, 3, 4)
    ]
    assert [frame.field.name for frame in followed.frames] == ["m_t0000", "m_t0002", "m_t0003"]
    assert any("NaN" in note for note in followed.notes)
    assert followed.cells.groupby("track").size().tolist() == [3, 3, 3]  # followed over the gap
    save_movie(found_movie("m", {}, followed, source, None, 0), tmp_path / "saved", NO_WINDOW)
    assert read_results(tmp_path / "saved").cells["track"].tolist() == followed.cells["track"].tolist()
    movie[2:, 1, 5, 5] = np.nan
    with pytest.raises(InputError, match="NaN"):
        driven(in_memory(movie))


@pytest.mark.parametrize(
    ("axes", "labels", "offer"),
    [
        ("TZ", None, [PLANE, VOLUME, MOVIE]),
        ("Z", None, [PLANE, VOLUME]),
        ("T", None, [PLANE, MOVIE]),
        ("", ("time", "y", "x"), [PLANE, MOVIE]),
        ("", ("z", "y", "x"), [PLANE, VOLUME]),
        ("", None, [PLANE, VOLUME, MOVIE]),  # nobody knows: the user does
    ],
)
def test_what_is_offered_follows_from_what_is_known_of_the_axes(
    axes: str, labels: tuple[str, ...] | None, offer: list[str]
) -> None:
    from napari.layers import Image

    shape = (3,) * max(1, len(axes)) + (20, 20)
    metadata = {KEY: {"axes": axes}} if axes else {}
    layer = Image(np.zeros(shape), metadata=metadata, axis_labels=labels)
    assert offered(Channel(layer)) == offer
    assert offered(Channel(Image(np.zeros((20, 20))))) == []


def scopes(widget: Any) -> list[str]:
    """Return what the form offers to analyse; nothing where the choice is not shown."""
    scope = widget.picker.scope
    assert scope.isHidden() == (scope.count() == 0)
    return [scope.itemData(at) for at in range(scope.count())]


def uptake_lines(widget: Any, found: Any) -> dict[str, Any]:
    """Return what the plot of the uptake over time draws: label to values."""
    widget.plot.draw()
    [axes] = widget.plot._canvas.figure.axes
    return {str(line.get_label()): line.get_ydata() for line in axes.lines}


def intensities(cells: pd.DataFrame, track: int) -> Any:
    rows = cells[cells["track"] == track].sort_values("frame")
    return rows["puncta_intensity_sum"].to_numpy(float)

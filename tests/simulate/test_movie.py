"""Simulated movies: their truth is consistent, and known."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_tam.errors import InputError
from napari_tam.io.images import read_fields
from napari_tam.kinetics.fit import fit_uptake
from napari_tam.settings import Settings
from napari_tam.simulate.movie import CONDITIONS, Movie, tracks_of, write_movies
from napari_tam.simulate.parameters import MovieParameters, SceneParameters

if TYPE_CHECKING:
    from pathlib import Path

SMALL = MovieParameters(
    scene=SceneParameters(shape=(192, 224), cells_per_field=6, overlap=0.05), frames=4, leaving=0.0
)


def test_the_same_seed_gives_the_same_frames_in_any_order() -> None:
    first, second = Movie(SMALL, 3), Movie(SMALL, 3)
    late, early = first.frame(3), first.frame(0)
    assert np.array_equal(second.frame(0).image, early.image)
    assert np.array_equal(second.frame(3).image, late.image)
    assert not np.array_equal(Movie(SMALL, 4).frame(0).image, early.image)


def test_a_label_is_a_cell_in_all_frames() -> None:
    movie = Movie(SMALL, 1)
    tables = [tracks_of(movie.frame(index), index) for index in range(4)]
    # none leaves, none enters
    assert all(list(table["track"]) == [1, 2, 3, 4, 5, 6] for table in tables)
    step = SMALL.speed_um_per_min * SMALL.frame_interval_min / SMALL.scene.pixel_size_um
    for before, after in itertools.pairwise(tables):
        moved = np.hypot(before["y_px"] - after["y_px"], before["x_px"] - after["x_px"])
        assert moved.max() < 4 * step
        assert (np.abs(np.log(after["area_px"] / before["area_px"])) < 0.6).all()


def test_cells_move_as_fast_as_they_should() -> None:
    roomy = replace(SMALL.scene, shape=(1000, 1000), cells_per_field=60, cell_diameter_um=5.0)
    movie = Movie(replace(SMALL, scene=roomy, frames=12), 2)
    steps = np.diff(movie.walk.centres, axis=0) * roomy.pixel_size_um
    speed = np.sqrt((steps**2).sum(axis=2).mean()) / SMALL.frame_interval_min
    assert speed == pytest.approx(SMALL.speed_um_per_min, rel=0.1)


def test_some_cells_leave_for_good_and_keep_the_others_labels() -> None:
    fast = replace(SMALL, leaving=0.5, speed_um_per_min=2.0, persistence_min=500.0, frames=12)
    movie = Movie(fast, 5)
    present = [set(np.unique(movie.frame(index).cells)) - {0} for index in range(12)]
    assert len(present[-1]) < len(present[0])
    for before, after in itertools.pairwise(present):
        assert after <= before
    assert {1, 2, 3} <= present[-1]


def test_the_number_of_puncta_rises_at_the_known_rate() -> None:
    many = replace(SMALL.scene, shape=(600, 600), cells_per_field=30)
    movie = Movie(replace(SMALL, scene=many, frames=20, rate_per_h=1.5, plateau=200.0), 0)
    counts = np.array([sum((one.hours <= now).sum() for one in movie.arrivals) for now in movie.hours])
    fit = fit_uptake(movie.hours, counts.astype(float))
    assert fit.rate == pytest.approx(1.5, rel=0.05)
    assert fit.plateau / 30 == pytest.approx(200, rel=0.4)  # uptake varies from cell to cell
    assert (np.diff(counts) >= 0).all()


def test_puncta_lie_in_the_cells_they_are_said_to_lie_in() -> None:
    frame = Movie(replace(SMALL, plateau=60.0), 1).frame(3)
    pixel = np.floor(frame.puncta[["y_px", "x_px"]].to_numpy() + 0.5).astype(int)
    pixel = np.clip(pixel, 0, np.array(frame.cells.shape) - 1)
    assert np.array_equal(frame.puncta["cell"], frame.cells[pixel[:, 0], pixel[:, 1]])
    assert (frame.puncta["cell"] > 0).mean() > 0.7
    nuclear = frame.nuclei > 0
    assert nuclear.any()
    assert np.array_equal(frame.nuclei[nuclear], frame.cells[nuclear])


def test_written_movies_are_read_back_with_their_interval_and_truth(tmp_path: Path) -> None:
    paths = write_movies(tmp_path, 2, 3, 1, parameters=SMALL)
    assert [path.name for path in paths] == ["movie_01.ome.tif", "movie_02.ome.tif"]
    fields = list(read_fields(paths[0], Settings()))
    assert [field.name for field in fields] == ["movie_01_t0000", "movie_01_t0001", "movie_01_t0002"]
    assert {field.frame_interval_min for field in fields} == {10.0}
    assert {field.pixel_size_um for field in fields} == {0.325}
    movie = Movie(replace(SMALL, frames=3), 1)
    assert np.array_equal(fields[2].channels["exosome"], movie.frame(2).image[2])
    masks = tifffile.imread(tmp_path / "movie_01_masks.tif")
    assert np.array_equal(masks[2], movie.frame(2).cells)
    truth = pd.read_csv(tmp_path / "movie_01_tracks.csv")
    assert list(truth.columns) == ["frame", "track", "y_px", "x_px", "area_px", "puncta"]
    assert len(truth) == 3 * 6
    layout = pd.read_csv(tmp_path / "layout.csv")
    assert list(layout["condition"]) == list(CONDITIONS)
    rates = [pd.read_csv(tmp_path / f"movie_0{k}_kinetics.csv")["rate_per_h"].iloc[0] for k in (1, 2)]
    assert rates[1] == pytest.approx(CONDITIONS["inhibitor"] * rates[0])


def test_a_movie_without_frames_and_a_folder_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one frame or more"):
        write_movies(tmp_path, 1, 0, 1, parameters=SMALL)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_movies(tmp_path / "file" / "x", 1, 1, 1, parameters=SMALL)


def test_a_movie_of_one_frame_is_a_single_field(tmp_path: Path) -> None:
    [path] = write_movies(tmp_path, 1, 1, 1, parameters=SMALL)
    [field] = read_fields(path, Settings())
    assert (field.name, field.frame, field.frame_interval_min) == ("movie_01", 0, None)

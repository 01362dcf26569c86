"""Cells followed through frames: known walks give known tracks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.kinetics.tracking import follow, link, movie_of
from napari_tam.settings import Settings

DIAMETER = 20.0


def cells(frames: Any, y: Any, x: Any, area: Any = 314.0, movie: str = "m") -> pd.DataFrame:
    """Return a per-cell table with what tracking needs; pixels are 1 µm."""
    table = pd.DataFrame({"frame": frames, "centroid_y_px": y, "centroid_x_px": x})
    table.insert(0, "image", [f"{movie}_t{frame:04d}" for frame in table["frame"]])
    table.insert(1, "label", table.groupby("frame").cumcount() + 1)
    return table.assign(area_um2=area, equivalent_diameter_um=DIAMETER)


def images(frames: int, movie: str = "m", interval: float | None = 6.0, **more: Any) -> pd.DataFrame:
    names = [f"{movie}_t{frame:04d}" for frame in range(frames)] if frames > 1 else [movie]
    table = pd.DataFrame({"image": names, "source": f"{movie}.tif", "frame": range(frames), "status": "ok"})
    return table.assign(pixel_size_um=1.0, frame_interval_min=interval, **more)


def tracks(table: pd.DataFrame, **given: Any) -> list[int]:
    return list(link(table, 1.0, Settings(**given)))


def test_cells_keep_their_track_whatever_their_order_in_a_frame() -> None:
    table = cells([0, 0, 1, 1, 2, 2], [0, 50, 52, 3, 6, 55], 0.0)
    assert tracks(table) == [1, 2, 2, 1, 1, 2]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_shuffling_the_rows_changes_no_track(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, frames = 8, 6
    start = rng.uniform(0, 300, (count, 2))
    path = start + np.cumsum(rng.normal(0, 3, (frames, count, 2)), axis=0)
    frame = np.repeat(np.arange(frames), count)
    table = cells(frame, path[..., 0].ravel(), path[..., 1].ravel())
    table["first"] = tracks(table)
    mixed = table.sample(frac=1, random_state=seed % 2**32)
    again = pd.Series(tracks(mixed), index=mixed.index)
    # the numbers may differ, what belongs together may not
    assert pd.crosstab(table["first"], again).gt(0).sum(axis=1).eq(1).all()
    assert table["first"].nunique() == again.nunique()


def test_a_cell_that_was_missed_keeps_its_track_for_some_frames_only() -> None:
    table = cells([0, 3], [0.0, 1.0], 0.0)
    assert tracks(table) == [1, 1]  # missed in two frames
    assert tracks(table, track_max_missed=1) == [1, 2]
    assert tracks(cells([0, 4], 0.0, 0.0)) == [1, 2]
    assert tracks(cells([0, 2], 0.0, 0.0), track_max_missed=0) == [1, 2]


def test_nothing_moves_further_than_the_largest_movement() -> None:
    table = cells([0, 1], [0.0, 12.0], 0.0)
    assert tracks(table) == [1, 1]  # less than the diameter
    assert tracks(table, track_max_movement_um=11.0) == [1, 2]
    assert tracks(cells([0, 1], [0.0, 21.0], 0.0)) == [1, 2]


def test_between_two_candidates_the_one_of_like_size_is_taken() -> None:
    table = cells([0, 1, 1], [0.0, 6.0, -6.5], 0.0, [300.0, 900.0, 310.0])
    assert tracks(table) == [1, 2, 1]


@pytest.mark.parametrize("frames", [[3], [0, 5], [2, 2, 2]])
def test_frames_without_cells_and_single_cells_are_no_trouble(frames: list[int]) -> None:
    assert len(tracks(cells(frames, np.arange(len(frames)) * 100.0, 0.0))) == len(frames)


def test_tracks_go_on_from_movie_to_movie_and_carry_their_time() -> None:
    table = pd.concat([cells([0, 1], 0.0, 0.0), cells([0, 1], 5.0, 0.0, movie="n")], ignore_index=True)
    found = follow(pd.concat([images(2), images(2, "n", None)]), table, Settings())
    assert list(found.cells["track"]) == [1, 1, 2, 2]
    assert found.cells["track"].dtype == "Int64"
    assert found.cells["time_h"].tolist()[:2] == [0.0, 0.1]
    assert found.cells["time_h"].isna().tolist() == [False, False, True, True]
    assert list(found.cells.columns[2:5]) == ["frame", "track", "time_h"]
    assert found.movies == {"m": 2, "n": 2}
    [note] = found.notes
    assert note.startswith("n: the frame interval is neither in the file")


def test_the_frame_interval_of_the_settings_goes_before_the_files() -> None:
    found = follow(images(2), cells([0, 1], 0.0, 0.0), Settings(frame_interval_min=30.0))
    assert found.cells["time_h"].tolist() == [0.0, 0.5]
    older = images(2).drop(columns="frame_interval_min")
    assert follow(older, cells([0, 1], 0.0, 0.0), Settings()).cells["time_h"].isna().all()


def test_a_movie_with_one_frame_has_a_note_and_no_track() -> None:
    table = cells([0], 0.0, 0.0).assign(image="m")
    found = follow(images(1), table, Settings())
    assert found.cells["track"].isna().all()
    assert found.movies == {}
    assert found.notes == ("no image has more than one frame, so there is no track",)
    # one that had more, all of which failed
    left = follow(images(3).assign(status=["failed", "ok", "failed"]), cells([1], 0.0, 0.0), Settings())
    assert left.notes == ("m: one frame only, so there is no track",)
    assert left.cells["track"].isna().all()


def test_images_of_several_files_are_no_movie() -> None:
    names = ["a_t0001", "b", "c"]
    table = pd.concat([cells([0], 0.0, 0.0).assign(image=name) for name in names], ignore_index=True)
    rows = pd.concat([images(1, name) for name in names], ignore_index=True)
    assert follow(rows, table, Settings()).cells["track"].isna().all()


def test_two_positions_of_one_file_are_two_movies() -> None:
    table = pd.concat([cells([0, 1], 0.0, 0.0, movie=f"m_s0{k}") for k in range(2)], ignore_index=True)
    rows = pd.concat([images(2, f"m_s0{k}").assign(source="m.tif") for k in range(2)])
    assert list(follow(rows, table, Settings()).cells["track"]) == [1, 1, 2, 2]


def test_following_again_gives_the_same() -> None:
    first = follow(images(2), cells([0, 1], 0.0, 0.0), Settings())
    again = follow(images(2), first.cells, Settings())
    pd.testing.assert_frame_equal(first.cells, again.cells)


def test_a_movie_without_any_cell_is_no_trouble() -> None:
    empty = cells([0], 0.0, 0.0).iloc[:0]
    assert len(follow(images(2), empty, Settings()).cells) == 0


@pytest.mark.parametrize(
    ("image", "frame", "movie"),
    [("a_t0003", 3, "a"), ("a_s01_t12345", 12345, "a_s01"), ("a", 0, "a"), ("a_t0003", 0, "a_t0003")],
)
def test_a_frames_movie_is_its_name_without_the_number(image: str, frame: int, movie: str) -> None:
    assert movie_of(image, frame) == movie

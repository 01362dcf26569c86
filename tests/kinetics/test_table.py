"""Uptake kinetics of tables whose rates are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tracks import HALF, movie, plate

from napari_tam.columns import KINETICS_COLUMNS
from napari_tam.kinetics.curves import Tracks, uptake_curves
from napari_tam.kinetics.table import READOUTS, kinetics


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["track"].isna()]


def test_the_half_time_of_a_condition_is_found_with_its_interval() -> None:
    cells = pd.concat(
        [
            movie("a", condition="control", replicate="1", seed=1),
            movie("b", condition="control", replicate="2", seed=2),
            movie("c", condition="inhibitor", replicate="1", rate=0.5, seed=3),
        ],
        ignore_index=True,
    )
    found = kinetics(cells, resamples=200)
    assert list(found.columns) == [column.name for column in KINETICS_COLUMNS]
    rows = pooled(found).set_index(["condition", "readout"])
    assert len(rows) == 2 * len(READOUTS)
    for condition, half, n in (("control", HALF, 80), ("inhibitor", 2 * HALF, 40)):
        for readout in READOUTS:
            row = rows.loc[(condition, readout)]
            assert row["half_time_h"] == pytest.approx(half, rel=0.15)
            assert row["half_time_low"] < half < row["half_time_high"]
            assert row["half_time_frames"] == pytest.approx(6 * row["half_time_h"])
            assert row["rate_per_h"] == pytest.approx(np.log(2) / row["half_time_h"])
            assert (row["n"], row["movie"]) == (n, "")
    assert rows.loc[("control", "exosome_integrated"), "offset"] == pytest.approx(5000, rel=0.1)
    assert rows["note"].str.contains("bootstrap over the tracks of").all()
    single = found[found["track"].notna()]
    assert len(single) == len(READOUTS) * 120
    fitted = single["half_time_h"].dropna()
    assert len(fitted) > 100
    assert single.loc[single["half_time_h"].isna(), "note"].ne("").all()


def test_three_replicates_are_drawn_as_replicates() -> None:
    cells = pd.concat(
        [movie(name, 15, condition="x", replicate=name, seed=k) for k, name in enumerate("abc")]
    )
    found = pooled(kinetics(cells, resamples=100))
    assert found["note"].str.contains("bootstrap over 3 replicates and the tracks in them").all()


def test_without_conditions_every_movie_is_by_itself() -> None:
    cells = pd.concat([movie("a"), movie("b", rate=3.0)])
    rows = pooled(kinetics(cells, resamples=50))
    assert list(rows["movie"]) == ["a"] * len(READOUTS) + ["b"] * len(READOUTS)
    assert set(rows["condition"]) == {""}
    assert rows["half_time_h"].iloc[0] > 2 * rows["half_time_h"].iloc[-1]


def test_without_a_frame_interval_times_are_in_frames_and_the_note_says_so() -> None:
    found = pooled(kinetics(movie().assign(time_h=np.nan), resamples=50))
    assert found["half_time_frames"].to_numpy() == pytest.approx(6 * HALF, rel=0.2)
    assert found[["half_time_h", "half_time_low", "half_time_high", "rate_per_h"]].isna().all(axis=None)
    assert found["note"].str.contains("the frame interval is unknown: times are in frames").all()


def test_cells_that_come_and_go_are_no_uptake() -> None:
    # full cells are in sight late only: a mean of levels would rise
    full = movie("m", 20).assign(puncta_count=40)
    flat = pd.concat([movie("m", 20).assign(puncta_count=4), full[full["frame"] > 9].assign(track=50)])
    flat["track"] += np.where(flat["puncta_count"] == 40, full["track"].max(), 0)
    row = pooled(kinetics(flat, resamples=50)).set_index("readout").loc["puncta_count"]
    assert np.isnan(row["half_time_h"])
    assert row["note"].startswith("no rise")


def test_cells_at_the_border_and_short_tracks_are_left_out() -> None:
    cells = movie(cells=10)
    cells.loc[cells["track"] == 1, "touches_border"] = True
    cells = cells[(cells["track"] != 2) | (cells["frame"] < 4)]
    found = kinetics(cells, resamples=50)
    assert set(found["track"].dropna()) == set(range(2, 11))
    short = found[found["track"] == 2]
    assert short["note"].eq("seen whole in 4 frames: 6 or more are needed").all()
    assert short["half_time_h"].isna().all()
    assert pooled(found)["n"].eq(9).all()


def test_a_frame_that_is_missing_does_not_bend_the_curve() -> None:
    cells = movie(cells=60, seed=4)
    whole = pooled(kinetics(cells, resamples=20))
    holed = pooled(kinetics(cells[cells["frame"] != 5], resamples=20))
    assert holed["half_time_h"].to_numpy() == pytest.approx(whole["half_time_h"].to_numpy(), rel=0.05)


def test_movies_of_differing_intervals_are_not_pooled() -> None:
    cells = pd.concat([movie("a", 5, condition="x"), movie("b", 5, interval_h=0.5, condition="x")])
    found = pooled(kinetics(cells, resamples=20))
    assert found["note"].eq("its movies have differing frame intervals: not pooled").all()
    assert found["half_time_h"].isna().all()


def test_one_track_alone_makes_no_mean_curve() -> None:
    found = kinetics(movie(cells=1), resamples=20)
    assert pooled(found)["note"].eq("1 tracks: two or more are needed for a mean curve").all()


def test_a_layouts_times_are_fitted_over_replicates_without_tracks() -> None:
    found = kinetics(plate([0, 0.5, 1, 2, 4], 3), resamples=200)
    assert found["track"].isna().all()
    assert found["half_time_h"].to_numpy() == pytest.approx(HALF, rel=0.15)
    assert (found["half_time_low"] < HALF).all()
    assert (found["half_time_high"] > HALF).all()
    assert found["n"].eq(15).all()
    assert found["half_time_frames"].isna().all()
    assert (
        found["note"]
        .eq("other cells at every time; interval: bootstrap over the replicates of every time")
        .all()
    )
    alone = kinetics(plate([0, 0.5, 1, 2, 4, 8], 1))
    assert alone["note"].str.contains("interval: from the fit").all()


def test_two_times_of_a_layout_are_too_few() -> None:
    found = kinetics(plate([1, 2], 3))
    assert found["half_time_h"].isna().all()
    assert found["note"].eq("other cells at every time; 2 times: 4 or more are needed").all()
    assert len(kinetics(plate([4], 3))) == 0  # one time is no kinetics


def test_a_table_without_time_gives_no_row() -> None:
    cells = movie().drop(columns=["track", "time_h"])
    found = kinetics(cells)
    assert len(found) == 0
    assert list(found.columns) == [column.name for column in KINETICS_COLUMNS]


def test_doses_are_apart() -> None:
    cells = pd.concat([movie("a", 5, condition="x", dose=1.0), movie("b", 5, condition="x", dose=10.0)])
    rows = pooled(kinetics(cells, resamples=20))
    assert list(rows["dose"]) == [1.0] * len(READOUTS) + [10.0] * len(READOUTS)


def test_the_mean_of_tracks_that_are_whole_is_the_mean_of_their_levels() -> None:
    cells = movie(cells=12).assign(movie="m")
    tracks = Tracks.of(cells, "puncta_count")
    curve, counts = tracks.curves(np.ones((1, 12)))
    assert curve[0] == pytest.approx(cells.groupby("frame")["puncta_count"].mean().to_numpy())
    assert (counts == 12).all()


def test_the_curves_are_there_as_data() -> None:
    found = uptake_curves(movie(condition="x"), "puncta_count")
    assert list(found.columns) == ["condition", "dose", "movie", "time", "time_unit", "mean", "n"]
    assert found["time"].to_numpy() == pytest.approx(np.arange(20) / 6)
    assert set(found["time_unit"]) == {"h"}
    frames = uptake_curves(movie().assign(time_h=np.nan), "puncta_count")
    assert (set(frames["time_unit"]), frames["time"].max()) == ({"frames"}, 19)
    timed = uptake_curves(plate([0, 1, 2], 3), "puncta_count")
    assert list(timed["time"]) == [0, 1, 2]
    assert list(timed["n"]) == [3, 3, 3]
    assert uptake_curves(movie().drop(columns=["track", "time_h"]), "puncta_count").empty

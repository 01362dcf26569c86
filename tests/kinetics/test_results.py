"""``napari-tam track``: tracks and kinetics of a results folder, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fakes
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli.main import main
from napari_tam.io.layout import read_layout
from napari_tam.kinetics.results import follow_results, write_kinetics
from napari_tam.kinetics.table import READOUTS
from napari_tam.results.folder import read_results
from napari_tam.results.tables import read_csv
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 8


@pytest.fixture
def analysed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder of a movie: three cells that stand still and one punctum more in every frame."""
    monkeypatch.setattr(cli_analyse, "load_models", lambda _settings: fakes.models())
    spots = [(14.0 + 5 * (k // 3), 22.0 + 8 * (k % 3)) for k in range(FRAMES)]
    frames = [fakes.image(spots[: k + 1]) for k in range(FRAMES)]
    path = tmp_path / "m.ome.tif"
    metadata = {
        "axes": "TCYX",
        "Channel": {"Name": ["CD11b", "DAPI", "exosome"]},
        "PhysicalSizeX": fakes.PIXEL_UM,
        "PhysicalSizeY": fakes.PIXEL_UM,
        "TimeIncrement": 15,
        "TimeIncrementUnit": "min",
    }
    tifffile.imwrite(path, np.stack(frames), ome=True, metadata=metadata)
    out = tmp_path / "out"
    assert main(["analyse", str(path), "--out", str(out), "--no-overlays"]) == 0
    return out


def track(folder: Path, *options: object) -> int:
    return main(["track", str(folder), *map(str, options)])


def test_tracks_and_times_come_into_the_tables(analysed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_results(analysed)
    assert set(before.images["frame_interval_min"]) == {15.0}
    assert track(analysed) == 0
    after = read_results(analysed)
    assert sorted(after.cells["track"].unique()) == [1, 2, 3]
    assert after.cells.groupby("track")["frame"].apply(list).map(len).eq(FRAMES).all()
    assert after.cells["time_h"].to_numpy() == pytest.approx(after.cells["frame"] / 4)
    # nothing else has changed, nor has any type
    pd.testing.assert_frame_equal(after.cells, before.cells[after.cells.columns])
    stored = pd.read_parquet(analysed / "cells.parquet")
    assert list(stored.columns) == list(after.cells.columns)
    assert list(stored["track"]) == list(after.cells["track"])
    fits = pd.read_csv(analysed / "kinetics.csv")
    assert set(fits["readout"]) == set(READOUTS)
    assert set(fits["movie"]) == {"m"}
    assert read_csv(analysed / "kinetics.csv")["condition"].eq("").all()
    said = capsys.readouterr().out
    assert f"movie    m: {FRAMES} frames, 3 tracks, median length {FRAMES}" in said


def test_doing_it_again_gives_the_same_files(analysed: Path) -> None:
    names = ("cells.csv", "cells.parquet", "kinetics.csv", "settings.yaml")
    assert track(analysed) == 0
    first = {name: (analysed / name).read_bytes() for name in names}
    assert track(analysed) == 0
    assert {name: (analysed / name).read_bytes() for name in names} == first
    assert not list(analysed.glob("*.part"))


def test_the_tables_can_be_followed_without_parquet(analysed: Path) -> None:
    assert track(analysed) == 0
    first = (analysed / "cells.csv").read_text().splitlines()
    (analysed / "cells.parquet").unlink()
    assert track(analysed) == 0
    assert (analysed / "cells.csv").read_text().splitlines()[0] == first[0]
    assert (analysed / "cells.parquet").exists()


def test_options_change_the_tracks_and_are_kept(analysed: Path) -> None:
    assert track(analysed, "--frame-interval", 60, "--max-movement", 0.5, "--max-missed", 0) == 0
    assert read_results(analysed).cells["time_h"].max() == FRAMES - 1
    kept = Settings.from_yaml(analysed / "settings.yaml")
    assert (kept.frame_interval_min, kept.track_max_movement_um, kept.track_max_missed) == (60, 0.5, 0)


def test_a_layout_names_the_conditions(analysed: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout.csv"
    layout.write_text("image,condition,dose\nm*,LPS,10\n")
    assert track(analysed, "--layout", layout) == 0
    fits = pd.read_csv(analysed / "kinetics.csv")
    assert set(fits["condition"]) == {"LPS"}
    assert set(fits["dose"]) == {10}
    assert not (read_results(analysed).cells["condition"] == "LPS").any()
    assert write_kinetics(analysed, read_layout(layout))["condition"].eq("LPS").all()


def test_without_a_movie_there_is_a_note_and_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_analyse, "load_models", lambda _settings: fakes.models())
    image, out = fakes.write_image(tmp_path / "a.ome.tif"), tmp_path / "out"
    assert main(["analyse", str(image), "--out", str(out), "--no-overlays"]) == 0
    before = (out / "cells.csv").read_bytes()
    capsys.readouterr()
    assert track(out) == 0
    said = capsys.readouterr()
    assert said.out == "note     no image has more than one frame, so there is no track\n"
    assert (out / "cells.csv").read_bytes() == before
    assert not (out / "kinetics.csv").exists()


def test_an_interval_that_nobody_tells_is_not_made_up(analysed: Path) -> None:
    images = pd.read_csv(analysed / "images.csv").drop(columns="frame_interval_min")
    images.to_csv(analysed / "images.csv", index=False)
    found = follow_results(analysed, Settings())
    assert found.cells["time_h"].isna().all()
    assert any("times are in frames" in note for note in found.notes)
    fits = write_kinetics(analysed)
    assert fits["half_time_h"].isna().all()


def test_wrong_options_are_one_sentence(analysed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert track(analysed, "--frame-interval", 0) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert track(analysed / "masks") == 2
    assert "not a results folder" in capsys.readouterr().err


def test_a_movie_is_simulated_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", str(tmp_path), "--fields", "1", "--frames", "2", "--seed", "3"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "movie_01.ome.tif")
    with tifffile.TiffFile(tmp_path / "movie_01.ome.tif") as tif:
        assert tif.series[0].axes == "TCYX"
        assert tif.series[0].shape == (2, 3, 512, 512)

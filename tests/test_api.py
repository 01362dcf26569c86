"""The interface for notebooks: typed, lazy, one image or many."""

from __future__ import annotations

import runpy
import sys
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
from paths import ROOT

import napari_tam
from napari_tam.errors import InputError
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = ROOT / "examples"
ROLES = {"cell": 0, "nucleus": 1, "exosome": 2}
SETTINGS = Settings(channels=ROLES, pixel_size_um=fakes.PIXEL_UM)


@pytest.fixture(autouse=True)
def fake_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_tam.api._models", lambda _settings: fakes.models())


def test_a_file_an_array_and_a_mapping_give_the_same(tmp_path: Path) -> None:
    path = fakes.write_image(tmp_path / "a.ome.tif")
    planes = fakes.image()
    found = [
        napari_tam.analyse(path),
        napari_tam.analyse(planes, SETTINGS, name="a"),
        napari_tam.analyse({role: planes[index] for role, index in ROLES.items()}, SETTINGS, name="a"),
    ]
    for analysis in found:
        assert isinstance(analysis, napari_tam.Analysis)
        np.testing.assert_array_equal(analysis.cells, found[0].cells)
        pd.testing.assert_frame_equal(analysis.table, found[0].table)
    assert found[0].table["puncta_count"].tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("image", "settings", "sentence"),
    [
        (fakes.image(), Settings(channels=ROLES), "no pixel size"),
        (fakes.image(), Settings(pixel_size_um=0.5), "which channel is which"),
        (fakes.image()[0], SETTINGS, "its axes should be CYX"),
        (fakes.image()[:2], SETTINGS, "no channel 2 for the role exosome"),
        ({"cell": fakes.image()[0]}, SETTINGS, "no channel for the role exosome"),
        ({"cells": fakes.image()[0]}, SETTINGS, "'cells' is no channel role"),
        ({"cell": fakes.image()[0], "exosome": fakes.image()[2][:9]}, SETTINGS, "differ in size"),
        ({"cell": np.full((9, 9), np.nan), "exosome": np.zeros((9, 9))}, SETTINGS, "NaN"),
        (np.zeros((3, 0, 9)), SETTINGS, "should be a YX array"),
        (None, SETTINGS, "its axes should be CYX"),
        (fakes.image(), {"pixel_size_um": 0.5}, "a dict is no Settings"),
    ],
)
def test_what_cannot_be_analysed_is_one_sentence(image: Any, settings: Settings, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        napari_tam.analyse(image, settings)


def test_a_list_is_an_array(tmp_path: Path) -> None:
    planes = fakes.image()
    found = [napari_tam.analyse(image, SETTINGS) for image in (planes, planes.tolist())]
    pd.testing.assert_frame_equal(found[0].table, found[1].table)


@pytest.mark.parametrize(
    ("inputs", "named", "sentence"),
    [
        ([], {}, "there is no image"),
        (".", {"jobs": -1}, "jobs is -1"),
        (".", {"memory_gb": 0.0}, "memory_gb is 0.0"),
    ],
)
def test_a_batch_of_nothing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: Any, named: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fakes.write_image(tmp_path / "a.ome.tif")
    with pytest.raises(InputError, match=sentence):
        napari_tam.batch(inputs, tmp_path / "out", **named)
    assert not (tmp_path / "out").exists()


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    fakes.write_image(tmp_path / "in" / "a.ome.tif")
    assert napari_tam.batch("~/in", "~/out").folder == tmp_path / "out"


def test_a_movie_is_for_batch(tmp_path: Path) -> None:
    path = fakes.write_image(tmp_path / "m.ome.tif", np.stack([fakes.image()] * 2), "TCYX")
    with pytest.raises(InputError, match="several fields"):
        napari_tam.analyse(path)
    assert napari_tam.batch(path, tmp_path / "out", jobs=0).analysed == 2


def test_batch_tells_what_became_of_the_images_and_goes_on(tmp_path: Path) -> None:
    for name in "abc":
        fakes.write_image(tmp_path / f"{name}.ome.tif")
    (tmp_path / "b.ome.tif").write_bytes(b"broken")
    first = napari_tam.batch(tmp_path, tmp_path / "out", jobs=2)
    assert (first.analysed, first.kept, list(first.errors)) == (2, 0, ["b"])
    assert first.conclusions is not None
    again = napari_tam.batch([tmp_path], tmp_path / "out")
    assert (again.analysed, again.kept, list(again.errors)) == (0, 2, ["b"])
    assert again.results().cells["image"].unique().tolist() == ["a", "c"]


def test_the_package_hands_on_what_notebooks_need() -> None:
    assert callable(napari_tam.batch)
    assert {"analyse", "batch", "Settings"} <= set(dir(napari_tam))
    with pytest.raises(AttributeError, match="analyze"):
        napari_tam.analyze  # noqa: B018


@pytest.mark.slow
def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["notebook.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "notebook.py"), run_name="__main__")
    assert "2 analysed, then 2 kept" in capsys.readouterr().out

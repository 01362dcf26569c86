"""One diameter for the cells of a batch: learnt, kept, on record; and where each field tells its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_tam.batches import diameter as learning
from napari_tam.batches.diameter import DIAMETER_FILE, FEWEST_FIELDS, LOOKED_AT, read_diameter
from napari_tam.batches.learnt import learn_from, settled
from napari_tam.batches.part import analyse_part
from napari_tam.batches.run import analyse_files
from napari_tam.io.images import read_fields
from napari_tam.results.folder import read_results
from napari_tam.segment.common_diameter import FACTOR, agreed
from napari_tam.segment.diameter import Estimate
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.segment.segmenter import Segmentation


@dataclass
class Looking(fakes.ThresholdSegmenter):
    """Tells the diameter that the first pixel of the image says; notes with which ones cells are found."""

    doubt: str = ""
    looks: int = 0
    used: list[float | None] = field(default_factory=list)

    def estimate_diameter(self, image: Any, *_given: Any) -> Estimate:
        self.looks += 1
        return Estimate(float(image[0, 0]), self.doubt)

    def segment(self, image: Any, second: Any, pixel: float, um: float | None, *more: Any) -> Segmentation:
        self.used.append(um)
        return replace(super().segment(image, second, pixel, um, *more), diameter_um=um or float(image[0, 0]))


def plate(folder: Path, diameters: list[int]) -> list[Path]:
    """Write an image for each (unless it is there), whose first pixel tells its diameter."""
    folder.mkdir(exist_ok=True)
    paths = []
    for index, um in enumerate(diameters):
        paths.append(folder / f"f{index:02d}.ome.tif")
        if not paths[-1].exists():
            picture = fakes.image()
            picture[0, 0, 0] = um
            fakes.write_image(paths[-1], picture)
    return paths


def run(paths: list[Path], out: Path, settings: Settings | None = None, **named: Any) -> Looking:
    cells = Looking(**named.pop("cells", {}))
    settings = settings or Settings(puncta_threshold=1)
    outcomes = list(analyse_files(paths, settings, fakes.models(cells), out, **named))
    assert len(outcomes) == len(paths)
    return cells


ALIKE = [20 + index % 5 for index in range(FEWEST_FIELDS)]


def test_fields_of_a_batch_share_the_median_and_it_is_on_record(tmp_path: Path) -> None:
    out = tmp_path / "out"
    cells = run(plate(tmp_path / "in", ALIKE), out)
    assert cells.looks == LOOKED_AT
    (value,) = set(cells.used)
    assert value is not None
    assert 21 <= value <= 23
    assert read_results(out).images["cell_diameter_um"].unique().tolist() == [value]
    said = json.loads((out / "run.json").read_text())["cell_diameter"]
    assert (said["rule"], said["value_um"]) == ("batch", value)
    assert len(said["estimates_um"]) == LOOKED_AT
    assert np.median(list(said["estimates_um"].values())) == value
    assert Settings.from_yaml(out / "settings.yaml").cell_diameter_um == value
    assert settled(Settings(), out).cell_diameter_um == value
    assert settled(Settings(cell_diameter_um=30), out).cell_diameter_um == 30


@pytest.mark.parametrize(
    ("diameters", "cells", "why"),
    [
        (ALIKE[:-1], {}, "few"),
        ([12, 12, 40, 40] * 4, {}, "from 12 to 40 µm"),
        (ALIKE, {"doubt": "odd"}, "only 0 of 8"),
    ],
    ids=["few fields", "unlike each other", "unsure"],
)
def test_each_field_tells_its_own(
    tmp_path: Path, diameters: list[int], cells: dict[str, str], why: str
) -> None:
    out = tmp_path / "out"
    looking = run(plate(tmp_path / "in", diameters), out, cells=cells)
    assert set(looking.used) == {None}
    assert read_results(out).images["cell_diameter_um"].tolist() == diameters
    known = read_diameter(out)
    assert known is not None
    assert known.value_um is None
    assert why in known.reason


def test_what_is_given_is_taken_and_nothing_stays_on_record(tmp_path: Path) -> None:
    paths, out = plate(tmp_path / "in", ALIKE), tmp_path / "out"
    run(paths, out)
    cells = run(paths, out, Settings(cell_diameter_um=31, puncta_threshold=1))
    assert (cells.looks, set(cells.used)) == (0, {31.0})
    assert not (out / DIAMETER_FILE).exists()


def test_a_resumed_run_keeps_it_also_for_images_that_came_later(tmp_path: Path) -> None:
    paths, out = plate(tmp_path / "in", ALIKE), tmp_path / "out"
    value = run(paths, out).used[0]
    before = (out / DIAMETER_FILE).read_bytes()
    more = plate(tmp_path / "in", [*ALIKE, 90, 90])
    cells = run(more, out, resume=True)
    assert (cells.looks, cells.used) == (0, [value, value])
    assert (out / DIAMETER_FILE).read_bytes() == before


def test_results_of_before_there_was_one_stay_and_are_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, out = plate(tmp_path / "in", ALIKE), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(learning, "FEWEST_FIELDS", 1000)
        run(paths, out)
    (out / DIAMETER_FILE).unlink()
    cells = run(plate(tmp_path / "in", [*ALIKE, 23]), out, resume=True)
    assert (cells.looks, cells.used) == (0, [None])


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"value_um": -3}', '{"value_um": 20, "rule": "batch", "estimates_um": 3}']
)
def test_a_damaged_record_is_learnt_again(tmp_path: Path, damage: str) -> None:
    paths, out = plate(tmp_path / "in", ALIKE), tmp_path / "out"
    run(paths, out)
    before = read_diameter(out)
    (out / DIAMETER_FILE).write_text(damage)
    assert read_diameter(out) is None
    cells = run(paths, out, resume=True)
    assert read_diameter(out) == before
    assert cells.used == []  # the results hold


def test_parts_of_a_batch_share_it(tmp_path: Path) -> None:
    paths, settings = plate(tmp_path / "in", ALIKE), Settings(puncta_threshold=1)
    used, looks = [], []
    for part in (1, 2):
        cells = Looking()
        list(analyse_part((part, 2), paths, settings, fakes.models(cells), tmp_path / "parts"))
        used += cells.used
        looks.append(cells.looks)
    whole = run(paths, tmp_path / "whole")
    assert looks == [LOOKED_AT, 0]
    assert used == whole.used
    assert run(paths, tmp_path / "parts", resume=True).used == []


def test_frames_of_a_movie_share_it(tmp_path: Path) -> None:
    frames = np.stack([fakes.image() for _ in ALIKE])
    frames[:, 0, 0, 0] = ALIKE
    path = fakes.write_image(tmp_path / "movie.ome.tif", frames, axes="TCYX")
    settings = Settings(frame_interval_min=5, puncta_threshold=1)
    cells, out = Looking(), tmp_path / "out"
    assert len(list(analyse_files([path], settings, fakes.models(cells), out))) == len(ALIKE)
    assert len(set(cells.used)) == 1
    alone = learn_from(read_fields, path, "movie", settings, fakes.models(Looking()))
    assert alone.settings.cell_diameter_um == cells.used[0] == alone.diameter.value_um


def test_an_image_that_cannot_be_read_fails_once_and_the_others_tell_it(tmp_path: Path) -> None:
    paths, out = plate(tmp_path / "in", ALIKE), tmp_path / "out"
    paths[0].write_bytes(b"no image")
    cells = run(paths, out)
    assert len(set(cells.used)) == 1
    assert (read_results(out).images["status"] == "failed").sum() == 1


sizes = st.lists(st.floats(2, 200), min_size=5, max_size=12)


@given(sizes, st.floats(0.2, 5), st.randoms(use_true_random=False))
def test_scale_and_order_of_the_estimates_change_nothing_else(
    values: list[float], times: float, random: Any
) -> None:
    found = tuple((f"f{index}", um) for index, um in enumerate(values))
    result = agreed(found, 12)
    mixed = list(found)
    random.shuffle(mixed)
    assert agreed(tuple(mixed), 12).value_um == result.value_um
    edge = np.abs(np.log(np.array(values) / np.median(values)))
    if np.abs(edge - np.log(FACTOR)).min() < 1e-6:
        return  # on the edge rounding decides
    scaled = agreed(tuple((name, um * times) for name, um in found), 12)
    assert scaled.rule == result.rule
    if result.value_um is not None and scaled.value_um is not None:
        assert min(values) - 0.01 <= result.value_um <= max(values) + 0.01
        assert scaled.value_um == pytest.approx(times * result.value_um, abs=0.03)

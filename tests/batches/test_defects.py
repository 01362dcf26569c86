"""Defects of the camera in a batch: learnt once, replaced everywhere, on record; what is real stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
import tifffile
from runs import content

from napari_tam.batches.defects import RECORD_FILE
from napari_tam.batches.part import analyse_part
from napari_tam.batches.plan import plan
from napari_tam.batches.run import analyse_files
from napari_tam.batches.verify import verify
from napari_tam.correct.defects import DEFECTS_FILE, read_defects
from napari_tam.errors import InputError
from napari_tam.pipeline.models import load_models
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

#: Defects: row, column, and how bright.
DEFECTS = (
    (10, 10, 15.0),
    (30, 100, 25.0),
    (50, 60, 60.0),
    (70, 20, 300.0),
    (70, 21, 200.0),
    (88, 90, 3000.0),
)
TRUTH = {(y, x) for y, x, _ in DEFECTS}
#: Of the noise of a pixel.
SD = 5.0
PLAIN = Settings(overlays=False)

ROWS, COLUMNS = np.indices(fakes.SHAPE)


def scene(seed: int) -> np.ndarray:
    """Draw three cells, their nuclei and nine puncta at random places (C, Y, X; without noise)."""
    rng = np.random.default_rng([seed, 1])
    places = np.array([(24, 24), (24, 96), (72, 30), (72, 100)]) + rng.integers(-8, 9, (4, 2))
    planes = np.full((3, *fakes.SHAPE), 30.0)
    for y, x in rng.permutation(places)[:3]:
        away = (ROWS - y) ** 2 + (COLUMNS - x) ** 2
        planes[0] += 400 * (away < 14**2)
        planes[1] += 400 * (away < 5**2)
    for y, x in rng.uniform(4, np.array(fakes.SHAPE) - 4, (9, 2)):
        planes[2] += 400 * np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / (2 * 1.4**2))
    return planes


def seen(planes: np.ndarray, seed: int, *, defects: bool) -> np.ndarray:
    """Return what a camera sees of it."""
    picture = planes + np.random.default_rng([seed, 2]).normal(0, SD, planes.shape)
    for y, x, height in DEFECTS if defects else ():
        picture[2, y, x] += height
    return np.clip(picture.round(), 0, 65535).astype(np.uint16)


def write(folder: Path, number: int, *, defects: bool = True, same: bool = False) -> list[Path]:
    """Write so many fields, of places of their own or all of the same."""
    folder.mkdir(exist_ok=True)
    return [
        fakes.write_image(folder / f"i{k:02d}.ome.tif", seen(scene(0 if same else k), k, defects=defects))
        for k in range(number)
    ]


def run(paths: list[Path], out: Path, settings: Settings | None = None, **named: Any) -> list[Any]:
    outcomes = list(analyse_files(paths, settings or PLAIN, fakes.models(), out, **named))
    assert not [outcome.error for outcome in outcomes if outcome.error]
    return outcomes


def listed(out: Path) -> set[tuple[int, int]]:
    return {(each.y_px, each.x_px) for each in read_defects(out / DEFECTS_FILE).pixels}


def tables(out: Path) -> dict[str, Any]:
    """Return the tables, masks and pictures of a folder, without settings and records of the run."""
    found = content(out)
    records = {"settings.yaml", "puncta_threshold.json", RECORD_FILE, DEFECTS_FILE}
    return {name: value for name, value in found.items() if name not in records and "json" not in name}


def test_a_batch_finds_the_defects_and_measures_as_if_there_were_none(tmp_path: Path) -> None:
    run(write(tmp_path / "in", 24), tmp_path / "out")
    run(write(tmp_path / "whole", 24, defects=False), tmp_path / "good")
    run(write(tmp_path / "in", 24), tmp_path / "none", PLAIN.updated(defects="none"))
    assert listed(tmp_path / "out") == TRUTH
    mended, good, spoiled = (read_results(tmp_path / name) for name in ("out", "good", "none"))
    assert mended.cells["puncta_count"].tolist() == good.cells["puncta_count"].tolist()
    assert len(mended.puncta) == len(good.puncta)
    # a cell's sum, and that of its puncta: a pixel of a few got the value of its neighbours
    for name in ("exosome_integrated", "puncta_intensity_sum"):
        difference = mended.cells[name] - good.cells[name]
        assert difference.abs().median() < 0.001 * good.cells[name].mean()
        assert abs(difference.sum()) < 0.002 * good.cells[name].sum()
    assert (spoiled.cells["exosome_integrated"] - good.cells["exosome_integrated"]).max() > 2000


def test_what_was_learnt_is_on_record_and_said_of_every_image(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(write(tmp_path / "in", 12), out)
    table = pd.read_csv(out / DEFECTS_FILE)
    assert set(table["channel"]) == {"exosome"}
    assert set(table["images"]) == {12}
    assert table["seen"].between(4, 12).all()
    heights = {(y, x): height for y, x, height in DEFECTS}
    for row in table.itertuples():
        assert abs(float(row.strength) - heights[row.y_px, row.x_px]) < 3 * SD  # type: ignore[index, arg-type]
    told = json.loads((out / "run.json").read_text())["camera_defects"]
    assert told["defects"] == len(table)
    assert told["images"] == 12
    images = read_results(out).images
    assert images["findings"].str.split().map(lambda codes: "camera_defects" in codes).all()
    assert images["notes"].str.contains(f"{len(table)} in exosome", regex=False).all()


def test_images_without_defects_give_the_same_tables_as_ever(tmp_path: Path) -> None:
    paths = write(tmp_path / "in", 12, defects=False)
    run(paths, tmp_path / "auto")
    run(paths, tmp_path / "none", PLAIN.updated(defects="none"))
    assert not (tmp_path / "auto" / DEFECTS_FILE).exists()
    assert tables(tmp_path / "auto") == tables(tmp_path / "none")
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["camera_defects"]["images"] == 12


@pytest.mark.parametrize("how", ["files", "movie", "planes"])
def test_puncta_of_cells_that_stay_in_place_are_no_defects(tmp_path: Path, how: str) -> None:
    """Frames and planes in one file, or in files of their own, are one look at the camera and not many."""
    frames = [seen(scene(0), k, defects=False) for k in range(16)]
    if how == "files":
        paths = write(tmp_path / "in", 16, defects=False, same=True)
    else:
        axis = "T" if how == "movie" else "Z"
        path = fakes.write_image(tmp_path / "movie.ome.tif", np.stack(frames), f"{axis}CYX")
        paths = [path]
    settings = {"frame_interval_min": 5.0, "overlays": False}
    run(paths, tmp_path / "auto", Settings(**settings))
    run(paths, tmp_path / "none", Settings(**settings, defects="none"))
    assert not (tmp_path / "auto" / DEFECTS_FILE).exists()
    assert tables(tmp_path / "auto") == tables(tmp_path / "none")
    assert len(read_results(tmp_path / "auto").puncta) >= 5


def test_positions_of_one_file_are_different_places(tmp_path: Path) -> None:
    path = tmp_path / "positions.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for k in range(12):
            metadata = {"axes": "CYX", "Channel": {"Name": ["CD11b", "DAPI", "exosome"]}}
            metadata |= {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
            metadata |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
            writer.write(seen(scene(k), k, defects=True), metadata=metadata)
    assert len(run([path], tmp_path / "out")) == 12
    assert listed(tmp_path / "out") >= {(y, x) for y, x, height in DEFECTS if height > 3 * SD}


def test_few_images_have_no_map(tmp_path: Path) -> None:
    run(write(tmp_path / "in", 7), tmp_path / "out")
    assert not (tmp_path / "out" / DEFECTS_FILE).exists()


def test_images_of_two_sizes_are_learnt_apart(tmp_path: Path) -> None:
    paths = write(tmp_path / "in", 12)
    for k in range(12):
        small = seen(scene(50 + k), k, defects=False)[:, :64, :64]
        small[2, 5, 6] += 200
        paths.append(fakes.write_image(tmp_path / "in" / f"small{k:02d}.ome.tif", small))
    run(paths, tmp_path / "out")
    known = read_defects(tmp_path / "out" / DEFECTS_FILE)
    assert {tuple(place) for place in known.of("exosome", (64, 64))} == {(5, 6)}
    assert {tuple(place) for place in known.of("exosome", fakes.SHAPE)} <= TRUTH
    assert len(known.of("exosome", fakes.SHAPE)) >= len(TRUTH) - 1


def test_workers_and_parts_give_the_same_bytes(tmp_path: Path) -> None:
    paths = write(tmp_path / "in", 12)
    run(paths, tmp_path / "one")
    run(paths, tmp_path / "two", jobs=2)
    for number in (3, 1, 2):
        list(analyse_part((number, 3), paths, PLAIN, fakes.models(), tmp_path / "parts"))
    assert all(outcome.kept for outcome in run(paths, tmp_path / "parts", resume=True))
    assert listed(tmp_path / "one")
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(tmp_path / "parts")


def test_a_resumed_run_keeps_the_map_and_the_results(tmp_path: Path) -> None:
    paths, out = write(tmp_path / "in", 16), tmp_path / "out"
    run(paths, out)
    before = content(out)
    assert all(outcome.kept for outcome in run(paths, out, resume=True))
    assert content(out) == before
    kept = [step.todo for step in plan(paths, PLAIN, lambda _settings: fakes.models(), out)]
    assert kept == ["keep"] * 16
    (out / DEFECTS_FILE).write_text("changed by hand")
    assert all(outcome.kept for outcome in run(paths, out, resume=True))
    assert content(out) == before


def test_a_map_of_few_images_is_learnt_again_when_there_are_twice_as_many_files(tmp_path: Path) -> None:
    paths, out = write(tmp_path / "in", 24), tmp_path / "out"
    run(paths[:8], out)
    run(paths, out, resume=True)
    assert listed(out) == TRUTH


def test_verify_knows_the_map(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(write(tmp_path / "in", 12), out)

    def differing() -> set[str]:
        found = verify(out, lambda _settings: fakes.models())
        return {each.kind for each in found if each.state == "differs"}

    assert not differing()
    text = (out / DEFECTS_FILE).read_text()
    (out / DEFECTS_FILE).write_text(text.replace("exosome", "cell", 1))
    assert {"network", "result"} <= differing()


def test_the_map_of_an_earlier_run_serves_a_few_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(write(tmp_path / "in", 24), tmp_path / "out")
    settings = PLAIN.updated(defects=str(tmp_path / "out" / DEFECTS_FILE))
    known = load_models(settings)
    assert known.defects is not None
    assert known.hashes[settings.defects] == known.defects.sha256
    models = fakes.models()
    object.__setattr__(models, "defects", known.defects)
    few = write(tmp_path / "few", 2)
    list(analyse_files(few, settings, models, tmp_path / "other"))
    assert read_results(tmp_path / "other").images["findings"].str.contains("camera_defects").all()
    # asked for with its own list, a folder keeps it
    list(analyse_files(few, settings, models, tmp_path / "out"))
    assert listed(tmp_path / "out") == TRUTH
    run(few, tmp_path / "out", PLAIN.updated(defects="none"))
    assert not (tmp_path / "out" / DEFECTS_FILE).exists()
    with pytest.raises(InputError, match="list of defects"):
        load_models(settings)

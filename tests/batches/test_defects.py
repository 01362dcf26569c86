"""Defects of the camera in a batch: learnt once, replaced everywhere, on record; what is real stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
import tifffile
from cameras import DEFECTS, SD, TRUTH, scene, seen, write
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

PLAIN = Settings(overlays=False)


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
    assert len(spoiled.puncta) > len(good.puncta) + 24


def test_what_was_learnt_is_on_record_and_said_of_every_image(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(write(tmp_path / "in", 12), out)
    table = pd.read_csv(out / DEFECTS_FILE)
    assert set(table["channel"]) == {"exosome"}
    images = table["images"].unique().tolist()
    assert len(images) == 1
    assert (table["seen"].between(4, images[0])).all()
    heights = {(y, x): height for y, x, height in DEFECTS}
    for row in table.itertuples():
        assert abs(float(row.strength) - heights[row.y_px, row.x_px]) < 3 * SD  # type: ignore[index, arg-type]
    told = json.loads((out / "run.json").read_text())["camera_defects"]
    assert told["defects"] == len(table)
    assert [told["images"]] == images
    assert 8 <= told["images"] <= 12
    rows = read_results(out).images
    assert rows["findings"].str.split().map(lambda codes: "camera_defects" in codes).all()
    assert rows["notes"].str.contains(f"{len(table)} in exosome", regex=False).all()


def test_images_without_defects_give_the_same_tables_as_ever(tmp_path: Path) -> None:
    paths = write(tmp_path / "in", 12, defects=False)
    run(paths, tmp_path / "auto")
    run(paths, tmp_path / "none", PLAIN.updated(defects="none"))
    assert not (tmp_path / "auto" / DEFECTS_FILE).exists()
    assert tables(tmp_path / "auto") == tables(tmp_path / "none")
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["camera_defects"]["images"] >= 8


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
    paths, out = write(tmp_path / "in", 16), tmp_path / "out"
    run(paths[:8], out)
    few = json.loads((out / RECORD_FILE).read_text())["images"]
    run(paths, out, resume=True)
    assert json.loads((out / RECORD_FILE).read_text())["images"] > few
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

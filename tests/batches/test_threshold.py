"""One threshold for all images of a batch: from controls, from the images themselves, and kept."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest

from napari_tam.batches import threshold as learning
from napari_tam.batches.learnt import settled
from napari_tam.batches.run import analyse_files
from napari_tam.batches.sample import spread
from napari_tam.batches.threshold import THRESHOLD_FILE, read_thresholds
from napari_tam.io.layout import read_layout
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_tam.pipeline.analysis import Analysis

#: Where `grid` puts puncta, 10 px apart.
PLACES = [(8.0 + 10 * i, 8.0 + 10 * j) for i in range(9) for j in range(12)]


class Contrasts(fakes.PeakDetector):
    """The contrast of a punctum is a tenth of its peak; counts how often it looks."""

    calls, above = 0, 25.0

    def candidates(self, *given: Any) -> pd.DataFrame:
        self.calls += 1
        table = super().candidates(*given)
        return table.assign(contrast=table["peak"] / 10, score=0.8)


def grid(faint: int, clear: int, seed: int) -> np.ndarray:
    """Draw an image with so many puncta of contrast around 5, and around 20."""
    rng = np.random.default_rng(seed)
    picture = fakes.image(()).astype(float)
    rows, columns = np.indices(fakes.SHAPE)
    heights = np.concatenate(
        [50 * np.exp2(rng.normal(0, 0.2, faint)), 200 * np.exp2(rng.normal(0, 0.4, clear))]
    )
    for (y, x), height in zip(rng.permutation(PLACES), heights, strict=False):
        picture[2] += height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 1.5**2))
    return picture.round().astype(np.uint16)


def faint_and_clear(folder: Path) -> list[Path]:
    """Write three images: one with faint puncta only, one with clear ones only, and one with both."""
    folder.mkdir(exist_ok=True)
    counts = {"B02": (90, 0), "B03": (0, 90), "B04": (50, 50)}
    return [
        fakes.write_image(folder / f"{well}.ome.tif", grid(*numbers, index))
        for index, (well, numbers) in enumerate(counts.items())
    ]


def run(paths: list[Path], out: Path, settings: Settings | None = None, **named: Any) -> Contrasts:
    detector = Contrasts()
    models = replace(fakes.models(), puncta=detector)
    outcomes = list(analyse_files(paths, settings or Settings(), models, out, **named))
    assert len(outcomes) == len(paths)
    return detector


def test_all_images_share_one_threshold_and_it_is_on_record(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(faint_and_clear(tmp_path / "in"), out)
    known = read_thresholds(out).get("")
    assert known is not None
    assert known.rule == "populations"
    found = read_results(out).images.set_index("image")
    assert found["puncta_threshold"].unique().tolist() == [known.value]
    counts = found["puncta"].to_dict()
    assert counts["B02"] <= 3
    assert counts["B03"] >= 80
    assert 40 <= counts["B04"] <= 60
    said = json.loads((out / "run.json").read_text())["puncta_threshold"]
    assert (said["rule"], said["value"]) == ("populations", known.value)
    assert set(said["images"]) == {"B02", "B03", "B04"}
    assert Settings.from_yaml(out / "settings.yaml").puncta_threshold == known.value
    assert settled(Settings(), out).puncta_threshold == known.value


def test_what_was_found_on_the_way_is_not_looked_for_again(tmp_path: Path) -> None:
    assert run(faint_and_clear(tmp_path / "in"), tmp_path / "out").calls == 3


def test_a_resumed_run_keeps_the_threshold_and_the_results(tmp_path: Path) -> None:
    paths, out = faint_and_clear(tmp_path / "in"), tmp_path / "out"
    run(paths, out)
    before = (out / THRESHOLD_FILE).read_bytes()
    more = fakes.write_image(tmp_path / "in" / "B05.ome.tif", grid(0, 60, 9))
    detector = run([*paths, more], out, resume=True)
    assert detector.calls == 1
    assert (out / THRESHOLD_FILE).read_bytes() == before


def test_a_threshold_from_few_puncta_is_learnt_again_when_there_are_twice_as_many_files(
    tmp_path: Path,
) -> None:
    paths, out = faint_and_clear(tmp_path / "in"), tmp_path / "out"
    run(paths[:1], out)
    assert settled(Settings(), out).puncta_threshold == 1
    run(paths, out, resume=True)
    assert settled(Settings(), out).puncta_threshold not in (None, 1)
    images = read_results(out).images
    assert images["puncta_threshold"].nunique() == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"value": 3}', '{"value": "x", "files": []}'])
def test_a_damaged_record_is_learnt_again(tmp_path: Path, damage: str) -> None:
    paths, out = faint_and_clear(tmp_path / "in"), tmp_path / "out"
    run(paths, out)
    before = read_thresholds(out).get("")
    (out / THRESHOLD_FILE).write_text(damage)
    assert read_thresholds(out).get("") is None
    run(paths, out, resume=True)
    assert read_thresholds(out).get("") == before


def test_a_threshold_that_is_set_is_taken_and_no_other_stays_on_record(tmp_path: Path) -> None:
    paths, out = faint_and_clear(tmp_path / "in"), tmp_path / "out"
    run(paths, out)
    run(paths, out, Settings(puncta_threshold=2))
    assert not (out / THRESHOLD_FILE).exists()
    assert read_results(out).images["puncta_threshold"].unique().tolist() == [2]


def test_cells_of_control_wells_set_the_threshold(tmp_path: Path) -> None:
    paths, out = faint_and_clear(tmp_path / "in"), tmp_path / "out"
    layout = tmp_path / "layout.csv"
    layout.write_text("well,condition,control_role\nB02,dye,dye_only\nB03,EV,\nB04,EV,\n")
    few = Settings(puncta_false_per_cell=0)
    about = read_layout(layout)
    run(paths, out, few, layout=about)
    known = read_thresholds(out).get("")
    # three cells are too few to learn from
    assert known is not None
    assert known.rule == "populations"


def test_enough_cells_of_control_wells_set_the_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "FEWEST_CELLS", 3)
    paths, out = faint_and_clear(tmp_path / "in"), tmp_path / "out"
    layout = tmp_path / "layout.csv"
    layout.write_text("well,condition,control_role\nB02,dye,dye_only\nB03,EV,\nB04,EV,\n")
    about = read_layout(layout)
    run(paths, out, Settings(puncta_false_per_cell=0), layout=about)
    known = read_thresholds(out).get("")
    assert known is not None
    assert (known.rule, known.images) == ("controls", ("B02",))
    found = read_results(out)
    cells = found.cells
    assert cells.loc[cells["image"] == "B02", "puncta_count"].sum() == 0
    assert found.images.set_index("image")["puncta"]["B03"] > 60
    # another layout is another threshold
    layout.write_text("well,condition,control_role\nB02,EV,\nB03,dye,no_exosome\nB04,EV,\n")
    run(paths, out, Settings(puncta_false_per_cell=0), layout=read_layout(layout), resume=True)
    again = read_thresholds(out).get("")
    assert again is not None
    assert again.images == ("B03",)


def test_fields_of_control_wells_are_segmented_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(fakes.ThresholdSegmenter):
        calls = 0

        def segment(self, *given: Any) -> Any:
            self.calls += 1
            return super().segment(*given)

    paths = faint_and_clear(tmp_path / "in")
    layout = tmp_path / "layout.csv"
    layout.write_text("well,condition,control_role\nB02,dye,dye_only\nB03,dye,dye_only\nB04,EV,\n")
    tables = []
    for kept in (2**23, 0):  # masks of so many pixels; of none: then they are found twice, and are the same
        monkeypatch.setattr(learning, "MOST_KEPT_PX", kept)
        cells, nuclei, out = Counting(), Counting(), tmp_path / f"out{kept}"
        models = replace(fakes.models(cells, nuclei), puncta=Contrasts())
        list(analyse_files(paths, Settings(), models, out, layout=read_layout(layout)))
        assert cells.calls == nuclei.calls == (3 if kept else 5)
        tables.append([(out / name).read_bytes() for name in ("cells.csv", "puncta.csv")])
    assert tables[0] == tables[1]


def test_an_image_that_cannot_be_read_fails_once_and_the_others_tell_the_threshold(tmp_path: Path) -> None:
    paths, out = faint_and_clear(tmp_path / "in"), tmp_path / "out"
    (tmp_path / "in" / "A01.tif").write_bytes(b"no image")
    run([tmp_path / "in" / "A01.tif", *paths], out)
    known = read_thresholds(out).get("")
    assert known is not None
    assert known.rule == "populations"
    status = read_results(out).images.set_index("image")["status"]
    assert status.to_dict() == {"A01": "failed", "B02": "ok", "B03": "ok", "B04": "ok"}


def test_frames_of_a_movie_share_their_threshold(tmp_path: Path) -> None:
    frames = np.stack([grid(60, 20 * t, t) for t in range(4)])
    path = fakes.write_image(tmp_path / "movie.ome.tif", frames, axes="TCYX")
    out = tmp_path / "out"
    models = replace(fakes.models(), puncta=Contrasts())
    assert len(list(analyse_files([path], Settings(frame_interval_min=5), models, out))) == 4
    assert read_results(out).images["puncta_threshold"].nunique() == 1


def test_a_single_analysis_says_its_threshold() -> None:
    from napari_tam.io.arrays import field_of_arrays
    from napari_tam.pipeline.runner import run as analyse

    planes = grid(54, 54, 0)
    arrays = {"cell": planes[0], "nucleus": planes[1], "exosome": planes[2]}
    field = field_of_arrays(arrays, Settings(pixel_size_um=0.5), "one")
    analysis: Analysis = analyse(field, Settings(), replace(fakes.models(), puncta=Contrasts()))
    assert 5 < float(str(analysis.summary["puncta_threshold"])) < 16
    assert analysis.summary["puncta_false_share"] == pytest.approx(0.2)  # the scores are 0.8


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_any_number_of_first_items_is_spread_evenly(count: int) -> None:
    items = list(range(count))
    mixed = spread(items)
    assert sorted(mixed) == items
    for first in range(2, count):
        gaps = np.diff(sorted([*mixed[:first], count]))
        assert gaps.max() <= 3 * count / first + 1

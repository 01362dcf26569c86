"""The score of puncta from a person's marks: the line that they drew is found, and told honestly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes
import hypothesis
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import strategies as st

from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.evaluate.matching import RADIUS_PX, match_points
from napari_tam.pipeline import models as pipeline_models
from napari_tam.puncta.selection import select
from napari_tam.puncta.threshold import LOWEST, by_user
from napari_tam.settings import Settings
from napari_tam.train.lines import CONTRASTS, SCORES, choose_line
from napari_tam.train.marks import compare, read_marked
from napari_tam.train.marks_files import read_marks, read_regions, write_marks

if TYPE_CHECKING:
    from pathlib import Path

PLACES = [(10.0 + 14 * i, 10.0 + 14 * j) for i in range(6) for j in range(8)]


class Scored(fakes.PeakDetector):
    """The score of a punctum is a thousandth of its peak."""

    def candidates(self, *given: Any) -> pd.DataFrame:
        table = super().candidates(*given)
        return table.assign(score=np.clip(table["peak"] / 1000, 0, 1), contrast=20.0)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = replace(fakes.models(), puncta=Scored())
    monkeypatch.setattr(pipeline_models, "load_models", lambda _settings: made)
    return made


def marked_images(folder: Path, count: int = 4, axes: tuple[str, str] = ("y_px", "x_px")) -> Path:
    """Write images of one channel with bright and faint puncta, of which the bright ones are marked."""
    folder.mkdir()
    for index in range(count):
        rng = np.random.default_rng(index)
        places = rng.permutation(PLACES)
        rows, columns = np.indices((96, 128))
        picture = rng.normal(20, 1, (96, 128))
        for number, (y, x) in enumerate(places[:30]):
            height = rng.normal(900 if number < 12 else 620, 15)
            picture += height * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4.5)
        tifffile.imwrite(folder / f"t{index}.tif", picture.round().astype(np.uint16))
        lines = [",".join(axes), *(f"{y},{x}" for y, x in places[:12])]
        (folder / f"t{index}_puncta.csv").write_text("\n".join(lines) + "\n")
    return folder


def settings_file(folder: Path, **more: Any) -> Path:
    path = folder / "marks.yaml"
    path.write_text(Settings(channels={"exosome": "0"}, pixel_size_um=0.1, **more).to_yaml())
    return path


def run(*words: object) -> int:
    return main(["train", "puncta", *map(str, words)])


@pytest.mark.usefixtures("models")
def test_the_line_that_a_person_drew_is_found_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, out = settings_file(tmp_path, puncta_min_snr=2), tmp_path / "own.yaml"
    assert run(marked_images(tmp_path / "in"), "--settings", known, "--out", out) == 0
    said = capsys.readouterr().out
    assert "48 marks in 4 images" in said
    assert "F1 0.571, median count error 150%   with the settings as they are" in said  # 12 marked of 30
    assert "F1 1.000, median count error   0%   each image, with the line that the others tell" in said
    written = Settings.from_yaml(out)
    assert 0.66 < written.puncta_score < 0.86
    assert written == Settings.from_yaml(known).updated(puncta_score=written.puncta_score)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("count", [1, 3])
def test_settings_are_kept_where_nothing_is_gained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    out = tmp_path / "own.yaml"
    known = settings_file(tmp_path, puncta_score=0.8)
    assert run(marked_images(tmp_path / "in", count), "--settings", known, "--out", out) == 1
    said = capsys.readouterr().out
    assert "kept    the settings as they are" in said
    assert "few marks or images" in said  # 12 in one, 36 in three
    assert not out.exists()


@pytest.mark.usefixtures("models")
def test_of_one_image_marks_that_had_no_say_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, out = settings_file(tmp_path), tmp_path / "own.yaml"
    assert run(marked_images(tmp_path / "in", 1), "--settings", known, "--out", out) == 0
    said = capsys.readouterr().out
    assert "12 marks in 1 image\n" in said
    assert "marks that had no say, with the line that the others tell" in said
    assert "few marks or images" in said
    assert 0.66 < Settings.from_yaml(out).puncta_score < 0.86


@pytest.mark.usefixtures("models")
def test_only_marked_regions_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = marked_images(tmp_path / "in", 3)
    left = np.array([(-0.5, -0.5), (-0.5, 63.5), (95.5, 63.5), (95.5, -0.5)])
    inside = []
    for path in sorted(folder.glob("*_puncta.csv")):
        marks = read_marks(path)
        inside.append(int((marks[:, 1] < 63.5).sum()))
        kept = marks[(marks[:, 1] < 63.5) | (np.arange(len(marks)) == np.argmax(marks[:, 1]))]
        write_marks(folder, path.name.removesuffix("_puncta.csv"), kept, [left])
    known, out = settings_file(tmp_path), tmp_path / "own.yaml"
    assert run(folder, "--settings", known, "--out", out) == 0
    said = capsys.readouterr().out
    for index, number in enumerate(inside):  # what lies in the other half is neither missed nor false
        assert f"t{index}: {number} marks, 1 outside its marked regions: left out" in said
    assert "F1 1.000, median count error   0%   each image" in said


@pytest.mark.parametrize("axes", [("y_px", "x_px"), ("axis-0", "axis-1"), ("Y", "X"), ("y", "x")])
def test_marks_of_napari_and_imagej_are_read(tmp_path: Path, axes: tuple[str, str]) -> None:
    path = tmp_path / "a_puncta.csv"
    path.write_text(f"index,{axes[1]},{axes[0]}\n0,3.5,1\n1,7,2.25\n")
    assert read_marks(path).tolist() == [[1, 3.5], [2.25, 7]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\n1,2\n", "no columns for y and x"),
        ("y_px,x_px\n1,2\n3,far\n", "is no number"),
        ("y_px,x_px\n1,\n", "is no number"),
        ("", "cannot be read"),
    ],
)
def test_marks_that_say_no_places_are_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "a_puncta.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=why) as caught:
        read_marks(path)
    assert caught.value.where == path


def test_what_cannot_be_compared_is_told(tmp_path: Path, models: Any) -> None:
    settings = Settings(channels={"exosome": "0"}, pixel_size_um=0.1)
    folder = marked_images(tmp_path / "in", 2)

    def refused(why: str) -> None:
        with pytest.raises(InputError, match=why):
            list(read_marked(folder, settings, models))

    assert [each.name for each in read_marked(folder, settings, models)] == ["t0", "t1"]
    marks = folder / "t1_puncta.csv"
    kept = marks.read_text()
    marks.write_text(kept + "20,500\n")
    refused("a mark lies outside the image of 128 x 96 px")
    marks.rename(folder / "t7_puncta.csv")
    refused("there is no image for these marks")
    for path in folder.glob("*.csv"):
        path.unlink()
    refused("no image here has marks")


def test_an_image_without_marks_is_left_out_and_one_without_puncta_counts(
    tmp_path: Path, models: Any
) -> None:
    settings = Settings(channels={"exosome": "0"}, pixel_size_um=0.1)
    folder = marked_images(tmp_path / "in", 3)
    (folder / "t0_puncta.csv").unlink()
    (folder / "t1_puncta.csv").write_text("y_px,x_px\n")
    found = {each.name: each for each in read_marked(folder, settings, models)}
    assert set(found) == {"t1", "t2"}
    assert found["t1"].counts[0].tolist() == [0, 30, 0]
    with pytest.raises(InputError, match="no punctum is marked"):
        choose_line([found["t1"]])


def test_options_of_other_trainings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(run(tmp_path, "--out", tmp_path / "own.yaml", "--steps", "3"))
    assert stop.value.code == 2
    assert "--steps does not belong to 'napari-tam train puncta'" in capsys.readouterr().err


@hypothesis.settings(max_examples=10)
@hypothesis.given(st.integers(0, 10_000))
def test_every_line_finds_and_pairs_what_selection_and_matching_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    number = int(rng.integers(1, 40))
    table = pd.DataFrame(
        {
            "y_px": rng.uniform(0, 30, number),
            "x_px": rng.uniform(0, 30, number),
            "score": rng.uniform(0, 1, number),
            "contrast": 2 ** rng.uniform(-1, 6, number),
            "snr": rng.uniform(0, 10, number),
            "reason": rng.choice(["", "flank"], number, p=[0.8, 0.2]),
        }
    )
    marks = rng.uniform(0, 30, (int(rng.integers(1, 20)), 2))
    settings = Settings(puncta_score=0.4, puncta_min_snr=3)
    counts = compare("", table, marks, settings).counts
    lines = [(settings.puncta_score, LOWEST)]
    lines += [(float(score), LOWEST) for score in SCORES]
    lines += [(settings.puncta_score, float(contrast)) for contrast in CONTRASTS]
    assert len(counts) == len(lines)
    for (score, contrast), own in zip(lines, counts.tolist(), strict=True):
        kept = select(table, settings.updated(puncta_score=score), by_user(contrast))
        found = kept[["y_px", "x_px"]].to_numpy()
        assert own == [len(marks), len(found), len(match_points(marks, found, RADIUS_PX))]


def test_a_punctum_at_the_edge_belongs_to_where_its_mark_lies() -> None:
    table = pd.DataFrame(
        {
            "y_px": [5.0, 5.0, 5.0],
            "x_px": [9.0, 11.0, 30.0],
            "score": 0.9,
            "contrast": 9.0,
            "snr": 9.0,
            "reason": "",
        }
    )
    region = np.array([(0.0, 0.0), (0, 10), (10, 10), (10, 0)])
    over = compare("", table[1:], np.array([(5.0, 9.5)]), Settings(), regions=[region])
    assert over.counts[0].tolist() == [1, 1, 1]  # found just outside
    beyond = compare("", table[:1], np.array([(5.0, 10.5)]), Settings(), regions=[region])
    assert (beyond.counts[0].tolist(), beyond.outside) == ([0, 0, 0], 1)
    both, mark = [region, region + np.array((0.0, 25.0))], np.array([(5.0, 9.0)])
    assert compare("", table, mark, Settings(), regions=both).counts[0].tolist() == [1, 2, 1]


def test_regions_are_written_and_read_as_napari_has_them(tmp_path: Path) -> None:
    marks, region = np.array([(1.5, 2.25)]), np.array([(0.0, 0.0), (0, 10), (10, 10), (10, 0)])
    write_marks(tmp_path, "a", marks, [region, region + 20])
    assert read_marks(tmp_path / "a_puncta.csv").tolist() == marks.tolist()
    path = tmp_path / "a_regions.csv"
    first, second = read_regions(path)
    assert (first.tolist(), second.tolist()) == (region.tolist(), (region + 20).tolist())
    path.write_text(path.read_text().replace("polygon", "ellipse"))
    with pytest.raises(InputError, match="neither a rectangle nor a polygon"):
        read_regions(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no regions"):
        read_regions(path)
    write_marks(tmp_path, "a", marks, [])
    assert not path.exists()
